//! A document as it is answered: all of it or the selected fields, with its joined documents.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    auth::Access,
    domain::{Document, DocumentStamp},
    query::select::Selection,
    service::populate::{Joined, Related},
    writer::Outcome,
};

/// The most bytes of a document's answer besides its data: names, times, and the members around them.
const ENVELOPE_BYTES: usize = 300;

/// Returns the most bytes that a document takes in an answer, whatever fields of it are selected. Joined documents come on
/// top.
pub fn most_bytes(document: &Document) -> usize {
    document.data.text().len() + ENVELOPE_BYTES
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentBody<'a> {
    id: &'a str,
    collection: &'a str,
    data: DataBody<'a>,
    created_at: String,
    updated_at: String,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccessBody>,
}

/// The actions that a caller may take on a document.
#[derive(Serialize)]
struct AccessBody {
    update: bool,
    delete: bool,
}

impl<'a> DocumentBody<'a> {
    /// Shows the whole document, with nothing joined.
    pub fn new(collection: &'a str, document: &'a Document) -> Self {
        Self::shown(collection, document, None, &[])
    }

    /// Shows the selected fields. Joined documents are in the data, under the name of the relation.
    pub fn shown(
        collection: &'a str,
        document: &'a Document,
        selection: Option<&Selection>,
        relations: &'a [(String, Related)],
    ) -> Self {
        Self {
            id: document.id.as_str(),
            collection,
            data: DataBody::new(document, selection, relations),
            created_at: document.created_at.to_string(),
            updated_at: document.updated_at.to_string(),
            version: document.version,
            access: None,
        }
    }

    /// Adds what the caller may do with the document, if it was asked for.
    pub fn with_access(mut self, access: Option<Access>) -> Self {
        self.access = access.map(|Access { update, delete }| AccessBody { update, delete });
        self
    }
}

/// The minimal form of a written document: all members but `data`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StampBody<'a> {
    id: &'a str,
    collection: &'a str,
    created_at: String,
    updated_at: String,
    version: u64,
}

impl<'a> StampBody<'a> {
    pub fn new(collection: &'a str, stamp: &'a DocumentStamp) -> Self {
        Self {
            id: stamp.id.as_str(),
            collection,
            created_at: stamp.created_at.to_string(),
            updated_at: stamp.updated_at.to_string(),
            version: stamp.version,
        }
    }
}

/// A written document as it is answered.
#[derive(Serialize)]
#[serde(untagged)]
pub enum WrittenBody<'a> {
    Whole(DocumentBody<'a>),
    WithoutData(StampBody<'a>),
}

impl<'a> WrittenBody<'a> {
    /// Returns the document that an operation wrote; `None` if it wrote none.
    pub fn of(outcome: &'a Outcome) -> Option<Self> {
        match outcome {
            Outcome::Document { collection, document, .. } => {
                Some(Self::Whole(DocumentBody::new(collection.as_str(), document)))
            }
            Outcome::WithoutData { collection, stamp, .. } => {
                Some(Self::WithoutData(StampBody::new(collection.as_str(), stamp)))
            }
            Outcome::Deleted { .. }
            | Outcome::Absent { .. }
            | Outcome::Collection(_)
            | Outcome::Removed { .. }
            | Outcome::Revoked
            | Outcome::Key(_)
            | Outcome::SignedIn { .. }
            | Outcome::Stolen { .. }
            | Outcome::SessionsEnded { .. }
            | Outcome::SecondFactor(_)
            | Outcome::WrongCode
            | Outcome::Settings(_)
            | Outcome::EmailTaken
            | Outcome::Done
            | Outcome::ClockAccepted => None,
        }
    }
}

enum DataBody<'a> {
    Whole(&'a RawValue),
    Selected(Map<String, Value>, &'a [(String, Related)]),
    Joined(&'a Map<String, Value>, &'a [(String, Related)]),
}

impl<'a> DataBody<'a> {
    fn new(
        document: &'a Document,
        selection: Option<&Selection>,
        relations: &'a [(String, Related)],
    ) -> Self {
        match selection {
            Some(selection) => Self::Selected(selection.of(document.data.fields()), relations),
            None if !relations.is_empty() => Self::Joined(document.data.fields(), relations),
            // A document's text is JSON by construction. `null` would be a bug, but not a crash.
            None => Self::Whole(serde_json::from_str(document.data.text()).unwrap_or(RawValue::NULL)),
        }
    }
}

impl Serialize for DataBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (fields, relations) = match self {
            Self::Whole(text) => return text.serialize(serializer),
            Self::Selected(fields, relations) => (fields, relations),
            Self::Joined(fields, relations) => (*fields, relations),
        };
        let mut members = serializer.serialize_map(None)?;
        for (name, value) in fields {
            if !relations.iter().any(|(relation, _)| relation == name) {
                members.serialize_entry(name, value)?;
            }
        }
        for (name, related) in *relations {
            members.serialize_entry(name, &RelatedBody(related))?;
        }
        members.end()
    }
}

/// The documents at the other end of a relation: one, null, or a list.
pub struct RelatedBody<'a>(pub &'a Related);

impl Serialize for RelatedBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Related::One(joined) => joined.as_deref().map(joined_body).serialize(serializer),
            Related::Many(joined) => serializer.collect_seq(joined.iter().map(|joined| joined_body(joined))),
        }
    }
}

fn joined_body(joined: &Joined) -> DocumentBody<'_> {
    DocumentBody::shown(joined.collection.name.as_str(), &joined.document, None, &joined.relations)
}
