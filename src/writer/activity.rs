//! When somebody last wrote.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// When somebody last wrote, in this process; never, at first. Cheap to clone.
#[derive(Clone, Default)]
pub struct Activity(Arc<AtomicU64>);

impl Activity {
    /// Notes that somebody writes.
    pub fn note(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    /// Whether somebody wrote in the last so many milliseconds.
    pub fn is_within(&self, time: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last > 0 && now().saturating_sub(last) <= time.as_millis() as u64
    }
}

/// Milliseconds since a moment before the first that is asked about.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed().as_millis() as u64 + 1
}
