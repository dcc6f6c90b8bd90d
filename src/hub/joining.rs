//! How a subscription comes to the hub.

use std::{ops::Deref, sync::Arc};

use super::Interest;
use crate::domain::Position;

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
pub struct Joining {
    pub id: SubscriptionId,
    pub interest: Arc<Interest>,
    /// The position after which it wants every change; `None` is now.
    pub position: Option<Position>,
    /// The subscription that it replaces in the same step.
    pub replaces: Option<SubscriptionId>,
}

impl Deref for Joining {
    type Target = Interest;

    fn deref(&self) -> &Interest {
        &self.interest
    }
}
