//! The supervisor: what the parts of the server, readiness and the process ask.

use std::{
    future::Future,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    failure::{Failure, How, Part},
    faults::Faults,
    pulse::Pulse,
    state::{Shared, lock},
    watchdog,
};

/// How often the thread of [`Supervisor::when_stuck`] looks.
const LOOK: Duration = Duration::from_millis(250);

/// Watches the parts of one server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Supervisor(pub(super) Arc<Shared>);

impl Supervisor {
    /// Makes a supervisor with a watchdog, which ends when the last clone is dropped.
    ///
    /// # Errors
    /// That of the thread.
    pub fn start() -> std::io::Result<Self> {
        let supervisor = Self(Arc::new(Shared { faults: Faults::from_environment(), ..Shared::default() }));
        watchdog::start(Arc::downgrade(&supervisor.0))?;
        Ok(supervisor)
    }

    /// Wraps the future of a part. If it ends before [`Supervisor::stop`], in whatever way, that is a failure.
    pub fn watch<P, F>(&self, part: P, future: F) -> impl Future<Output = ()> + use<P, F>
    where
        P: Into<Part>,
        F: Future<Output = ()>,
    {
        let ending = Ending { supervisor: self.clone(), part: part.into() };
        async move { ending.supervisor.0.faults.endure(&ending.part, future).await }
    }

    /// Makes a pulse, by which a part promises its next sign of life.
    pub fn pulse(&self, part: impl Into<Part>) -> Pulse {
        let pulse = Pulse::default();
        let mut promises = lock(&self.0.promises);
        promises.retain(|(_, promise)| promise.strong_count() > 0);
        promises.push((part.into(), pulse.promise()));
        pulse
    }

    /// Adds a look at a queue, which the watchdog takes several times a second. It must be short and wait for nobody.
    pub fn add_probe(&self, probe: impl Fn() -> Option<Part> + Send + Sync + 'static) {
        lock(&self.0.probes).push(Box::new(probe));
    }

    /// Notes that the server stops, so that parts may end.
    pub fn stop(&self) {
        // The first stop counts.
        let _ = self.0.stop_began.set(Instant::now());
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.0.stop_began.get().is_some()
    }

    /// Returns for how long the server has been stopping; `None` while it doesn't.
    pub fn stopping_for(&self) -> Option<Duration> {
        self.0.stop_began.get().map(Instant::elapsed)
    }

    /// Waits for the first failure. [`Supervisor::trouble`] names the cause a moment later, if it was noticed after its
    /// consequence.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.0.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match failed {
            Some(failure) => failure,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Calls `end` when `limit` has passed since the first failure, on a thread that needs no runtime.
    ///
    /// # Errors
    /// That of the thread.
    pub fn when_stuck(
        &self,
        limit: Duration,
        end: impl FnOnce(&Failure) + Send + 'static,
    ) -> std::io::Result<()> {
        let watched = Arc::downgrade(&self.0);
        let wait = move || {
            loop {
                // A server that was stopped is gone.
                let Some(shared) = watched.upgrade() else { return };
                let has_failed = shared.failure.borrow().is_some();
                drop(shared);
                thread::sleep(if has_failed { limit } else { LOOK });
                if !has_failed {
                    continue;
                }
                let failure = watched.upgrade().and_then(|shared| shared.failure.borrow().clone());
                if let Some(failure) = failure {
                    end(&failure);
                }
                return;
            }
        };
        thread::Builder::new().name("coir-exit".to_owned()).spawn(wait).map(drop)
    }

    /// Says why the server can't do its work, if it can't: a part that failed, or one that does not move at the moment.
    pub fn trouble(&self) -> Option<Failure> {
        let failure = self.0.failure.borrow().clone();
        failure.or_else(|| {
            let part = lock(&self.0.stalled).first()?.clone();
            Some(Failure { part, how: How::Stalled })
        })
    }
}

/// Lives as long as the future of a part.
struct Ending {
    supervisor: Supervisor,
    part: Part,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let how = if thread::panicking() { How::Panicked } else { How::Ended };
        self.supervisor.0.fail(&self.part, how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_before_the_stop_is_the_failure() {
        let supervisor = Supervisor::default();
        let failing = tokio::spawn(supervisor.watch("relay", async { panic!("as asked") }));
        assert!(failing.await.is_err());
        tokio::spawn(supervisor.watch("writer", async {})).await.unwrap();
        let failure = supervisor.failed().await;
        assert_eq!((&*failure.part, failure.how), ("relay", How::Panicked));
        assert_eq!(supervisor.trouble(), Some(failure));
    }

    #[tokio::test]
    async fn a_panic_is_the_failure_also_where_a_part_that_it_ended_was_noticed_first() {
        let supervisor = Supervisor::default();
        supervisor.watch("worker thread 0", async {}).await;
        assert_eq!(&*supervisor.failed().await.part, "worker thread 0");
        let failing = tokio::spawn(supervisor.watch("HTTP server", async { panic!("as asked") }));
        assert!(failing.await.is_err());
        assert_eq!(&*supervisor.trouble().unwrap().part, "HTTP server");
        let failing = tokio::spawn(supervisor.watch("relay", async { panic!("as asked") }));
        assert!(failing.await.is_err());
        assert_eq!(&*supervisor.trouble().unwrap().part, "HTTP server", "the first panic stays");
    }

    #[tokio::test]
    async fn parts_may_end_while_the_server_stops_and_their_end_counts_also_if_they_never_began() {
        let supervisor = Supervisor::default();
        drop(supervisor.watch("writer", async {}));
        assert_eq!(supervisor.trouble().unwrap().how, How::Ended);

        let supervisor = Supervisor::default();
        supervisor.stop();
        supervisor.watch("writer", async {}).await;
        assert_eq!(supervisor.trouble(), None);
    }
}
