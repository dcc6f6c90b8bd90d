//! The plan of a run's subscribers, and the state that their tasks share.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::received::Received;
use crate::http::Site;
use crate::stream::Transport;

/// The subscribers, and the rooms they subscribe to.
pub struct Plan {
    pub site: Site,
    pub subscribers: usize,
    /// Subscriber `i` asks for room `i % rooms`; with `None`, all ask for everything.
    pub rooms: Option<usize>,
    pub transport: Transport,
    /// The last `stalled` subscribers read nothing for `stall`, once they are subscribed.
    pub stalled: usize,
    pub stall: Duration,
    /// The time from which `sent` counts nanoseconds.
    pub epoch: Instant,
}

impl Plan {
    /// Whether subscriber `index` reads nothing at first.
    pub fn is_stalled(&self, index: usize) -> bool {
        index + self.stalled >= self.subscribers
    }
}

/// The state that all subscribers of the thread share.
pub struct Shared {
    pub plan: Plan,
    pub received: RefCell<Received>,
    pub scratch: RefCell<Vec<u8>>,
    /// Bounds how many subscribers connect at once.
    pub opening: Semaphore,
}
