//! The time of the last write, for work that yields to writers.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// When a mutation was last submitted in this process; initially never. Cheap to clone.
#[derive(Clone, Default)]
pub struct Activity(Arc<AtomicU64>);

impl Activity {
    /// Notes a write.
    pub fn note(&self) {
        self.0.store(now(), Ordering::Relaxed);
    }

    /// Returns whether the last write is at most `time` ago, in whole milliseconds.
    pub fn is_within(&self, time: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last > 0 && now().saturating_sub(last) <= time.as_millis() as u64
    }
}

/// Milliseconds since the first call, plus one: 0 stands for never.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed().as_millis() as u64 + 1
}
