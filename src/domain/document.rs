//! Documents: JSON objects with an id, times and a version.

use super::{CollectionId, Data, DocumentId, Timestamp};

/// Identifies a document in a project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentKey {
    pub collection: CollectionId,
    pub id: DocumentId,
}

/// One JSON object of a collection, with what the server knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Unique in its collection.
    pub id: DocumentId,
    /// The caller's object.
    pub data: Data,
    /// When it was made; made again under its old id, it has another one.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// Writes to it, counted from 1.
    pub version: u64,
}

impl Document {
    /// The strong entity tag, quotes included. Made of version and creation time, so that a document which was made
    /// again under its old id has another one.
    pub fn entity_tag(&self) -> String {
        format!("\"{}-{:x}\"", self.version, self.created_at.0)
    }
}
