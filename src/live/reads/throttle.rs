//! Throttles catch-up work, so that a thousand reconnecting clients cannot starve writers on a small machine.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::writer::Activity;

/// While somebody writes, one millisecond of work is followed by so many of rest.
const REST: u32 = 3;
/// A write this long ago still counts as somebody writing.
const RECENT: Duration = Duration::from_millis(20);
/// The longest piece of work.
const SLICE: Duration = Duration::from_millis(5);
/// A timer can't measure less. Shorter rests are added up until they reach it.
const LEAST_REST: Duration = Duration::from_millis(1);

/// Lets as many tasks work at once as there are processors, and makes them rest while somebody writes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Throttle {
    permits: Arc<Semaphore>,
    count: u32,
    activity: Activity,
    free_at: Arc<Mutex<Instant>>,
}

/// The right to work for a moment. Must not be held while waiting for anything.
pub struct WorkPermit {
    throttle: Throttle,
    begun: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Throttle {
    /// Makes a throttle that is in force while `activity` is recent.
    pub(super) fn new(activity: Activity) -> Self {
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(64) as u32);
        Self {
            permits: Arc::new(Semaphore::new(count as usize)),
            count,
            activity,
            free_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits for a permit. Those who asked first get it first.
    pub(super) async fn permit(&self) -> WorkPermit {
        // The semaphore is never closed, so a permit always comes.
        let permit = self.permits.clone().acquire_owned().await.ok();
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if free_at.saturating_duration_since(Instant::now()) >= LEAST_REST {
            tokio::time::sleep_until(free_at).await;
        }
        WorkPermit { throttle: self.clone(), begun: Instant::now(), _permit: permit }
    }
}

impl WorkPermit {
    /// Whether it was held for so long that others must have their turn.
    pub fn is_used_up(&self) -> bool {
        self.begun.elapsed() >= SLICE
    }
}

impl Drop for WorkPermit {
    fn drop(&mut self) {
        if !self.throttle.activity.is_within(RECENT) {
            return;
        }
        let rest = self.begun.elapsed() * REST / self.throttle.count;
        let mut free_at = self.throttle.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_followed_by_rest_while_somebody_writes() {
        let activity = Activity::default();
        let throttle = Throttle::new(activity.clone());
        let wait = async || {
            let begun = Instant::now();
            let permit = throttle.permit().await;
            let waited = begun.elapsed();
            tokio::time::advance(Duration::from_millis(10)).await;
            drop(permit);
            waited
        };
        assert_eq!((wait().await, wait().await), (Duration::ZERO, Duration::ZERO));
        activity.note();
        assert_eq!(wait().await, Duration::ZERO);
        let waited = wait().await;
        assert!(waited >= Duration::from_millis(10) * REST / throttle.count, "{waited:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((wait().await, wait().await), (Duration::ZERO, Duration::ZERO));
    }
}
