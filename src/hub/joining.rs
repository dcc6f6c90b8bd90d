//! How a subscription comes to the hub.

use std::{ops::Deref, sync::Arc};

use super::Interest;
use crate::domain::{Change, Control, Entry, Position};

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
    /// The documents on which the rights of its principal depend: at most one filter of each collection.
    pub watched: Vec<Arc<Interest>>,
    /// The sequence up to which its filter is what its principal's rights make of it.
    pub checked: u64,
    /// The subscription that it replaces in the same step.
    pub replaces: Option<SubscriptionId>,
}

impl Joining {
    /// Whether the rights of its principal may be others after this change.
    pub(super) fn is_doubted_by(&self, change: &Change) -> bool {
        if change.position.sequence <= self.checked {
            return false;
        }
        match &change.entry {
            Entry::Document { collection, before, after } => self.watched.iter().any(|watched| {
                let mut images = before.iter().chain(after);
                watched.collection == *collection && images.any(|image| watched.filter.matches(image))
            }),
            Entry::Control(control) => {
                control.may_change_rights(&self.collection) || watch_name(&self.watched, control)
            }
            Entry::Unreadable { collection } => {
                self.watched.iter().any(|watched| watched.collection == *collection)
            }
        }
    }
}

/// Whether rights wait for the collection that has its name from this control entry on: its documents are asked, and there were none.
pub(super) fn watch_name(watched: &[Arc<Interest>], control: &Control) -> bool {
    control.new_name().is_some_and(|name| watched.iter().any(|watched| *watched.collection.as_str() == *name))
}

impl Deref for Joining {
    type Target = Interest;

    fn deref(&self) -> &Interest {
        &self.interest
    }
}
