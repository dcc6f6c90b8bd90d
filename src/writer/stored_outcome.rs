//! The form in which an outcome is stored under an idempotency key: what answering again needs.
//!
//! Small data is stored with the outcome. Larger data is left out, because the change log has it under the sequence of the
//! change. A repetition is then answered from there, or without the data if the log no longer has the entry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{Committed, Outcome};
use crate::domain::{
    Collection, CollectionId, CollectionName, Data, Document, DocumentId, DocumentStamp, Position, Schema,
    Timestamp,
    cursor::{Cursor, Epoch},
    json,
};

/// The most bytes of documents' texts that are stored with an outcome.
const INLINE_BYTES: usize = 2048;

/// The outcome of one operation.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Stored {
    #[serde(rename_all = "camelCase")]
    Document {
        collection: String,
        id: String,
        is_new: bool,
        created_at: i64,
        updated_at: i64,
        version: u64,
        /// Outcomes of an earlier version of Coir always have the data and no sequence.
        #[serde(default)]
        sequence: u64,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "json::member")]
        data: Option<Value>,
    },
    Deleted {
        collection: String,
        id: String,
    },
    Absent {
        id: String,
    },
    #[serde(rename_all = "camelCase")]
    Collection {
        id: String,
        name: String,
        created_at: i64,
        schema: Option<String>,
    },
    Removed {
        collection: String,
    },
    Revoked,
    ClockAccepted,
}

#[derive(Serialize, Deserialize)]
struct StoredCommitted {
    outcomes: Vec<Stored>,
    epoch: String,
    sequence: u64,
    at: i64,
}

/// Returns the text to store for an outcome.
///
/// # Errors
/// None in practice: documents were parsed from JSON, so they can be written as JSON.
pub fn to_text(committed: &Committed) -> serde_json::Result<String> {
    let bytes = |outcome: &Outcome| match outcome {
        Outcome::Document { document, .. } => document.data.text().len(),
        _ => 0,
    };
    if committed.outcomes.iter().map(bytes).sum::<usize>() > INLINE_BYTES {
        return to_whole_text(&committed.clone().without_data());
    }
    to_whole_text(committed)
}

fn to_whole_text(committed: &Committed) -> serde_json::Result<String> {
    let document =
        |collection: &CollectionName, stamp: &DocumentStamp, is_new, sequence, data| Stored::Document {
            collection: collection.to_string(),
            id: stamp.id.to_string(),
            is_new,
            created_at: stamp.created_at.0,
            updated_at: stamp.updated_at.0,
            version: stamp.version,
            sequence,
            data,
        };
    let outcomes = committed.outcomes.iter().map(|outcome| match outcome {
        Outcome::Document { collection, document: written, is_new, sequence } => {
            let data = Some(written.data.value().clone());
            document(collection, &written.stamp(), *is_new, *sequence, data)
        }
        Outcome::WithoutData { collection, stamp, is_new, sequence } => {
            document(collection, stamp, *is_new, *sequence, None)
        }
        Outcome::Deleted { collection, id } => {
            Stored::Deleted { collection: collection.to_string(), id: id.to_string() }
        }
        Outcome::Absent { id } => Stored::Absent { id: id.to_string() },
        Outcome::Collection(collection) => Stored::Collection {
            id: collection.id.to_string(),
            name: collection.name.to_string(),
            created_at: collection.created_at.0,
            schema: collection.schema.as_ref().map(|schema| schema.text().to_owned()),
        },
        Outcome::Removed { collection } => Stored::Removed { collection: collection.to_string() },
        // Nothing that has an idempotency key does this. What is stored is what a client may be told again, which tokens are not.
        Outcome::Revoked
        | Outcome::Key(_)
        | Outcome::SignedIn { .. }
        | Outcome::Stolen { .. }
        | Outcome::SessionsEnded { .. }
        | Outcome::SecondFactor(_)
        | Outcome::Settings(_)
        | Outcome::EmailTaken
        | Outcome::WrongCode
        | Outcome::Done => Stored::Revoked,
        Outcome::ClockAccepted => Stored::ClockAccepted,
    });
    serde_json::to_string(&StoredCommitted {
        outcomes: outcomes.collect(),
        epoch: committed.cursor.epoch.to_text(),
        sequence: committed.cursor.position.sequence,
        at: committed.cursor.position.at.0,
    })
}

/// Reads a stored text. Returns `None` if this version cannot read it.
pub fn from_text(text: &str) -> Option<Committed> {
    let stored: StoredCommitted = serde_json::from_str(text).ok()?;
    let position = Position { sequence: stored.sequence, at: Timestamp(stored.at) };
    Some(Committed {
        outcomes: stored.outcomes.into_iter().map(to_outcome).collect::<Option<_>>()?,
        cursor: Cursor { epoch: Epoch::from_stored(&stored.epoch), position },
    })
}

fn to_outcome(stored: Stored) -> Option<Outcome> {
    Some(match stored {
        Stored::Document { collection, id, is_new, created_at, updated_at, version, sequence, data } => {
            let collection = CollectionName::from_stored(&collection);
            let (id, created_at) = (DocumentId::from_stored(&id), Timestamp(created_at));
            let updated_at = Timestamp(updated_at);
            match data {
                Some(data) => {
                    let data = Data::from_value(data).ok()?;
                    let document = Arc::new(Document { id, data, created_at, updated_at, version });
                    Outcome::Document { collection, document, is_new, sequence }
                }
                None => {
                    let stamp = DocumentStamp { id, created_at, updated_at, version };
                    Outcome::WithoutData { collection, stamp, is_new, sequence }
                }
            }
        }
        Stored::Deleted { collection, id } => Outcome::Deleted {
            collection: CollectionName::from_stored(&collection),
            id: DocumentId::from_stored(&id),
        },
        Stored::Absent { id } => Outcome::Absent { id: DocumentId::from_stored(&id) },
        Stored::Collection { id, name, created_at, schema } => Outcome::Collection(Arc::new(Collection {
            id: CollectionId::from_stored(&id),
            name: CollectionName::from_stored(&name),
            created_at: Timestamp(created_at),
            schema: schema.as_deref().map(Schema::from_stored),
        })),
        Stored::Removed { collection } => {
            Outcome::Removed { collection: CollectionId::from_stored(&collection) }
        }
        Stored::Revoked => Outcome::Revoked,
        Stored::ClockAccepted => Outcome::ClockAccepted,
    })
}
