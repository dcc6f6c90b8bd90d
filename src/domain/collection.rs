//! Collections: named sets of documents.

use std::sync::Arc;

use super::{CollectionId, CollectionName, Schema, Timestamp};

/// A named set of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Stays the same through renames.
    pub id: CollectionId,
    /// Unique in the project.
    pub name: CollectionName,
    pub created_at: Timestamp,
    pub schema: Option<Arc<Schema>>,
}
