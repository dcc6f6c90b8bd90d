//! Counts the polls of the relay, so that a stream can wait for the next one.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The polls of the relay so far. A `watch` channel would wake in random order, which no simulation can repeat.
#[derive(Default)]
pub(super) struct Polls {
    /// Counts beginnings and ends, so that it is odd during a poll.
    count: AtomicU64,
    changed: Notify,
}

impl Polls {
    /// Notes that a poll begins or ends.
    pub(super) fn step(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Waits for the end of a poll that began after this call.
    pub(super) async fn next(&self) {
        // A poll that is under way may have read the ends before the caller did.
        let end = (self.count.load(Ordering::Acquire) + 3) & !1;
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::Acquire) >= end {
                return;
            }
            changed.await;
        }
    }
}
