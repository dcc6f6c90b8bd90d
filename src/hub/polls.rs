//! Counts the polls of the relay, so that a stream can wait for the next one.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The polls of the relay so far. A `watch` channel would wake in random order, which no simulation can repeat.
#[derive(Default)]
pub(super) struct Polls {
    /// Counts beginnings and ends, so that it is odd during a poll.
    count: AtomicU64,
    changed: Notify,
    /// When a poll last succeeded.
    success: Mutex<Option<Instant>>,
}

impl Polls {
    /// Notes that a poll begins or ends.
    pub(super) fn step(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Notes that a poll has read the ends of all logs.
    pub(super) fn note_success(&self) {
        *self.success.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns how long ago a poll last succeeded; `None` before the first.
    pub(super) fn since_success(&self) -> Option<Duration> {
        self.success.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
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
