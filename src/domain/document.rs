//! Documents: JSON objects with an id, times and a version.

use super::{CollectionId, Data, DocumentId, Timestamp};

/// Identifies a document in a project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    pub collection: CollectionId,
    pub id: DocumentId,
}

/// A JSON object of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Unique in its collection.
    pub id: DocumentId,
    pub data: Data,
    /// A document that is deleted and created again under its id gets a later time.
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts the writes to it, from 1.
    pub version: u64,
}

/// A document without its data: which version of it there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentStamp {
    pub id: DocumentId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u64,
}

impl Document {
    /// Returns the strong entity tag, with its quotes. It is made of the version and the creation time, so that a document
    /// that was deleted and created again has another one.
    pub fn entity_tag(&self) -> String {
        format!("\"{}-{:x}\"", self.version, self.created_at.0)
    }

    /// Returns everything but the data.
    pub fn stamp(&self) -> DocumentStamp {
        let Self { id, created_at, updated_at, version, .. } = self;
        DocumentStamp { id: id.clone(), created_at: *created_at, updated_at: *updated_at, version: *version }
    }
}

impl DocumentStamp {
    /// Returns the entity tag of the document.
    pub fn entity_tag(&self) -> String {
        format!("\"{}-{:x}\"", self.version, self.created_at.0)
    }
}
