//! The signs of life of a part.

use std::{
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often work gives a sign of life.
const BEAT: Duration = Duration::from_secs(1);

/// What a part promises: to give its next sign of life within a time. Where it promises nothing it rests, and is not watched.
/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Pulse(Arc<Promise>);

/// When the next sign of life is due, in milliseconds of [`now`]; 0 for never.
#[derive(Default)]
pub(super) struct Promise(AtomicU64);

impl Pulse {
    /// Gives a sign of life, and promises the next one.
    pub fn expect_within(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.0.0.store(now().saturating_add(limit), Ordering::Relaxed);
    }

    /// Gives signs of life while work waits for something that has a bound of its own. Promises one within `limit` of each.
    pub async fn beat_during<F: Future>(&self, limit: Duration, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        loop {
            self.expect_within(limit);
            if let Ok(outcome) = tokio::time::timeout(BEAT, &mut work).await {
                return outcome;
            }
        }
    }

    /// Gives a sign of life, and promises nothing.
    pub fn rest(&self) {
        self.0.0.store(0, Ordering::Relaxed);
    }

    pub(super) fn promise(&self) -> Weak<Promise> {
        Arc::downgrade(&self.0)
    }
}

impl Promise {
    pub(super) fn is_broken(&self) -> bool {
        let due = self.0.load(Ordering::Relaxed);
        due > 0 && now() > due
    }
}

/// Returns the milliseconds since the first call, and at least 1.
pub(super) fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed().as_millis() as u64 + 1
}
