//! Where costly work runs that strangers may ask for, so that everybody else's work comes first and theirs still moves.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// The least time from the beginning of one piece of work in the prompt lane to that of the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// Two lanes. Work in the idle lane runs while the processors have nothing else to do, which may be never. The prompt lane takes
/// two pieces of work a second, one at a time, so that somebody can sign in while the server is busy. Cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    prompt: Lane,
    idle: Lane,
    /// When the prompt lane takes the next piece of work.
    due: Arc<Mutex<Instant>>,
}

#[derive(Clone)]
struct Lane {
    threads: Handle,
    places: Arc<Semaphore>,
}

/// A place in a lane, which is free again when this is dropped.
struct Place {
    threads: Handle,
    permit: OwnedSemaphorePermit,
}

impl Lanes {
    /// Makes the lanes of two runtimes whose threads do nothing else. Those of `idle` run only while a processor is free.
    pub fn new(prompt: Handle, idle: Handle) -> Self {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let lane = |threads, places| Lane { threads, places: Arc::new(Semaphore::new(places)) };
        Self {
            prompt: lane(prompt, 1),
            // Half of the processors: what fills the caches slows others down, too.
            idle: lane(idle, (count / 2).max(1)),
            due: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Returns how many pieces of work can run at a time. To be asked before any work runs.
    pub fn places(&self) -> usize {
        self.prompt.places.available_permits() + self.idle.places.available_permits()
    }

    /// Runs work in the lane that has room first. Once it has begun, it runs to its end, also if this is dropped. `None` if the work
    /// panics, or the threads are stopping.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = tokio::select! {
            biased;
            place = self.enter_prompt() => place,
            place = self.idle.enter() => place,
        };
        let Place { threads, permit } = place?;
        let task = threads.spawn(async move {
            let _permit = permit;
            work()
        });
        task.await.ok()
    }

    async fn enter_prompt(&self) -> Option<Place> {
        let place = self.prompt.enter().await?;
        let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due > Instant::now() {
            sleep_until(due).await;
        }
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + INTERVAL;
        Some(place)
    }
}

impl Lane {
    /// Waits for a place. `None` cannot happen while the lane is there: nobody closes it.
    async fn enter(&self) -> Option<Place> {
        let permit = self.places.clone().acquire_owned().await.ok()?;
        Some(Place { threads: self.threads.clone(), permit })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Work goes on while the idle lane stands, as it does on a busy machine, and no faster than it may.
    #[tokio::test]
    async fn work_goes_on_while_the_idle_lane_stands() {
        let idle = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let lanes = Lanes::new(Handle::current(), idle.handle().clone());
        let (open, closed) = mpsc::channel::<()>();
        idle.spawn(async move { closed.recv() });
        let standing: Vec<_> = (1..lanes.places()).collect();
        // The first piece is prompt. The next ones take all places of the idle lane, where they stand.
        lanes.run(|| ()).await.unwrap();
        let stuck: Vec<_> = standing
            .iter()
            .map(|_| {
                tokio::spawn({
                    let lanes = lanes.clone();
                    async move { lanes.run(|| ()).await.is_some() }
                })
            })
            .collect();
        while lanes.idle.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        for _ in 0..2 {
            lanes.run(|| ()).await.unwrap();
        }
        assert!(begun.elapsed() >= INTERVAL, "{:?}", begun.elapsed());
        assert!(stuck.iter().all(|task| !task.is_finished()));
        drop(open);
        for task in stuck {
            assert!(task.await.unwrap());
        }
        idle.shutdown_background();
    }
}
