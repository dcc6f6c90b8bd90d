//! The subscriptions that get the events of a filter.

use std::sync::Arc;

use crate::hub::{Interest, SubscriptionId};

/// A subscription that gets the events of a filter.
#[derive(Clone)]
pub struct Recipient {
    pub id: SubscriptionId,
    pub interest: Arc<Interest>,
}

/// The recipients of a filter. Most filters have one, which takes no list of its own.
pub(super) enum Recipients {
    One(Recipient),
    #[expect(clippy::box_collection, reason = "a list by itself would make every filter larger")]
    Many(Box<Vec<Recipient>>),
}

impl Recipients {
    pub(super) fn all(&self) -> &[Recipient] {
        match self {
            Self::One(recipient) => std::slice::from_ref(recipient),
            Self::Many(recipients) => recipients,
        }
    }

    pub(super) fn add(&mut self, recipient: Recipient) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(vec![first.clone(), recipient])),
            Self::Many(recipients) => recipients.push(recipient),
        }
    }
}
