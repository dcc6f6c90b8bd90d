//! The outcome of a mutation, and its stored form under an idempotency key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    Collection, CollectionId, CollectionName, Data, Document, DocumentId, Position, Schema, Timestamp,
    cursor::{Cursor, Epoch},
};

/// The outcome of a committed mutation.
#[derive(Clone, Debug)]
pub struct Committed {
    /// One for each operation.
    pub outcomes: Vec<Outcome>,
    /// The position of its last change; the last position of the log if it changed nothing.
    pub cursor: Cursor,
}

/// The outcome of one operation.
#[derive(Clone, Debug)]
pub enum Outcome {
    Document {
        collection: CollectionName,
        document: Arc<Document>,
        /// Whether it was created.
        is_new: bool,
    },
    Deleted {
        collection: CollectionName,
        id: DocumentId,
    },
    /// The document to delete did not exist, which is no error.
    Absent {
        id: DocumentId,
    },
    /// The collection after the operation.
    Collection(Arc<Collection>),
    Removed {
        collection: CollectionId,
    },
    Revoked,
}

/// An outcome in its stored form.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum StoredOutcome {
    #[serde(rename_all = "camelCase")]
    Document {
        collection: String,
        id: String,
        is_new: bool,
        created_at: i64,
        updated_at: i64,
        version: u64,
        data: Value,
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
}

#[derive(Serialize, Deserialize)]
struct StoredCommitted {
    outcomes: Vec<StoredOutcome>,
    epoch: String,
    sequence: u64,
    at: i64,
}

impl Committed {
    /// Returns the text to store under an idempotency key.
    pub fn to_stored(&self) -> serde_json::Result<String> {
        let outcomes = self.outcomes.iter().map(|outcome| match outcome {
            Outcome::Document { collection, document, is_new } => StoredOutcome::Document {
                collection: collection.to_string(),
                id: document.id.to_string(),
                is_new: *is_new,
                created_at: document.created_at.0,
                updated_at: document.updated_at.0,
                version: document.version,
                data: Value::Object(document.data.fields().clone()),
            },
            Outcome::Deleted { collection, id } => {
                StoredOutcome::Deleted { collection: collection.to_string(), id: id.to_string() }
            }
            Outcome::Absent { id } => StoredOutcome::Absent { id: id.to_string() },
            Outcome::Collection(collection) => StoredOutcome::Collection {
                id: collection.id.to_string(),
                name: collection.name.to_string(),
                created_at: collection.created_at.0,
                schema: collection.schema.as_ref().map(|schema| schema.text().to_owned()),
            },
            Outcome::Removed { collection } => StoredOutcome::Removed { collection: collection.to_string() },
            Outcome::Revoked => StoredOutcome::Revoked,
        });
        serde_json::to_string(&StoredCommitted {
            outcomes: outcomes.collect(),
            epoch: self.cursor.epoch.to_text(),
            sequence: self.cursor.position.sequence,
            at: self.cursor.position.at.0,
        })
    }

    /// Reads a stored text. Returns `None` if this version cannot read it.
    pub fn from_stored(text: &str) -> Option<Self> {
        let stored: StoredCommitted = serde_json::from_str(text).ok()?;
        let outcome = |outcome| {
            Some(match outcome {
                StoredOutcome::Document { collection, id, is_new, created_at, updated_at, version, data } => {
                    let document = Document {
                        id: DocumentId::from_stored(&id),
                        data: Data::from_value(data).ok()?,
                        created_at: Timestamp(created_at),
                        updated_at: Timestamp(updated_at),
                        version,
                    };
                    let collection = CollectionName::from_stored(&collection);
                    Outcome::Document { collection, document: Arc::new(document), is_new }
                }
                StoredOutcome::Deleted { collection, id } => Outcome::Deleted {
                    collection: CollectionName::from_stored(&collection),
                    id: DocumentId::from_stored(&id),
                },
                StoredOutcome::Absent { id } => Outcome::Absent { id: DocumentId::from_stored(&id) },
                StoredOutcome::Collection { id, name, created_at, schema } => {
                    Outcome::Collection(Arc::new(Collection {
                        id: CollectionId::from_stored(&id),
                        name: CollectionName::from_stored(&name),
                        created_at: Timestamp(created_at),
                        schema: schema.as_deref().map(Schema::from_stored),
                    }))
                }
                StoredOutcome::Removed { collection } => {
                    Outcome::Removed { collection: CollectionId::from_stored(&collection) }
                }
                StoredOutcome::Revoked => Outcome::Revoked,
            })
        };
        let position = Position { sequence: stored.sequence, at: Timestamp(stored.at) };
        Some(Self {
            outcomes: stored.outcomes.into_iter().map(outcome).collect::<Option<_>>()?,
            cursor: Cursor { epoch: Epoch::from_stored(&stored.epoch), position },
        })
    }
}
