//! What subscriptions want to hear of. Equal ones share it.

use std::sync::Arc;

use crate::{
    domain::{CollectionId, KeyId, ProjectId},
    query::Filter,
    wire::Form,
};

/// The documents that a subscription wants to hear of, and how.
pub struct Interest {
    pub project: ProjectId,
    /// The collection, through every rename.
    pub collection: CollectionId,
    pub filter: Arc<Filter>,
    /// How its events are written.
    pub form: Form,
    /// The collection's name in its events; see [`Form::label`]. In the documented protocol it is the name or id that the
    /// client asked with.
    pub label: Arc<str>,
    /// The key of its principal.
    pub key: KeyId,
}
