//! How a subscription comes to the hub.

use std::sync::Arc;

use crate::{
    domain::{CollectionId, Position, ProjectId},
    query::Filter,
    wire::Form,
};

/// Identifies one joining of a subscription. After it fell back to the log it joins again under another id, so that
/// deliveries that were under way are recognised as stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    /// The shard that its connection is on.
    pub shard: u32,
    /// Counted by that shard.
    pub serial: u64,
}

/// The request of a subscription to be served by the hub.
#[derive(Clone, Debug)]
pub struct Joining {
    pub id: SubscriptionId,
    pub project: ProjectId,
    /// The collection, through every rename.
    pub collection: CollectionId,
    pub filter: Arc<Filter>,
    /// How its events are written.
    pub form: Form,
    /// The collection's name in its events.
    pub label: Arc<str>,
    /// The position after which it wants every change; `None` is now.
    pub position: Option<Position>,
    /// The subscription that it replaces in the same step.
    pub replaces: Option<SubscriptionId>,
}
