//! Collections: named sets of documents.

use std::sync::Arc;

use super::{CollectionId, CollectionName, Schema, Timestamp};

/// A named set of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Stays the same when the name changes.
    pub id: CollectionId,
    /// Unique in the project.
    pub name: CollectionName,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its documents must look like.
    pub schema: Option<Arc<Schema>>,
}
