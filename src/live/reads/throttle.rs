//! How much of the processors those take who catch up: as much as there is while nobody writes, and a part of it while
//! somebody does. A thousand clients that come back together would otherwise be all that a small machine works for.

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

/// While somebody writes, work of one millisecond is followed by so many of rest.
const REST: u32 = 3;
/// How long ago a write may be.
const RECENT: Duration = Duration::from_millis(20);
/// Rests are not shorter than a timer can tell: they are saved up.
const LEAST_REST: Duration = Duration::from_millis(1);

/// Lets so many work at once as there are processors, and has them rest. Cheap to clone.
#[derive(Clone)]
pub(super) struct Leases {
    places: Arc<Semaphore>,
    count: u32,
    activity: Activity,
    free_at: Arc<Mutex<Instant>>,
}

/// The right to work for a moment. Not to be kept while waiting for anything.
pub struct Lease {
    leases: Leases,
    begun: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

impl Leases {
    /// Rests where this activity is recent.
    pub(super) fn new(activity: Activity) -> Self {
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(64) as u32);
        Self {
            places: Arc::new(Semaphore::new(count as usize)),
            count,
            activity,
            free_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits for the right to work: those who asked first come first.
    pub(super) async fn next(&self) -> Lease {
        // Never closed, so a place always comes.
        let place = self.places.clone().acquire_owned().await.ok();
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        if free_at.saturating_duration_since(Instant::now()) >= LEAST_REST {
            tokio::time::sleep_until(free_at).await;
        }
        Lease { leases: self.clone(), begun: Instant::now(), _place: place }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.leases.activity.is_within(RECENT) {
            return;
        }
        let rest = self.begun.elapsed() * REST / self.leases.count;
        let mut free_at = self.leases.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Instant::now()) + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_followed_by_rest_while_somebody_writes() {
        let activity = Activity::default();
        let leases = Leases::new(activity.clone());
        let wait = async || {
            let begun = Instant::now();
            let lease = leases.next().await;
            let waited = begun.elapsed();
            tokio::time::advance(Duration::from_millis(10)).await;
            drop(lease);
            waited
        };
        assert_eq!((wait().await, wait().await), (Duration::ZERO, Duration::ZERO));
        activity.note();
        assert_eq!(wait().await, Duration::ZERO);
        let waited = wait().await;
        assert!(waited >= Duration::from_millis(10) * REST / leases.count, "{waited:?}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((wait().await, wait().await), (Duration::ZERO, Duration::ZERO));
    }
}
