//! What a subscription is to the hub, and what one change means to it.

use std::sync::Arc;

use crate::{
    domain::{CollectionId, Position, ProjectId},
    query::Filter,
    wire::Form,
};

/// Identifies one joining of a subscription. After it fell back to the log it joins again under another id, so that
/// deliveries that were on their way are known to be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    /// The shard that its connection is on.
    pub shard: u32,
    /// Counted by that shard.
    pub serial: u64,
}

/// A standing interest, as the hub keeps it.
#[derive(Clone, Debug)]
pub struct Joining {
    /// Where its events go.
    pub id: SubscriptionId,
    /// The project.
    pub project: ProjectId,
    /// The collection, through every rename.
    pub collection: CollectionId,
    /// Which documents.
    pub filter: Arc<Filter>,
    /// How its events are written.
    pub form: Form,
    /// The name or id that it was asked with, which its events carry.
    pub asked_name: Arc<str>,
    /// The place from which it wants every change; `None` is now.
    pub position: Option<Position>,
    /// The subscription whose place it takes in the same step.
    pub replaces: Option<SubscriptionId>,
}
