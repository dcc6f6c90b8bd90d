//! What the supervisor, its watchdog and the parts share.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Instant,
};

use tokio::sync::watch;

use super::{
    failure::{Failure, How, Part},
    faults::Faults,
    pulse::Promise,
};

/// The state of one supervisor.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) failure: watch::Sender<Option<Failure>>,
    /// The parts that do not move at the moment, the longest first.
    pub(super) stalled: Mutex<Vec<Part>>,
    pub(super) promises: Mutex<Vec<(Part, Weak<Promise>)>>,
    pub(super) probes: Mutex<Vec<Probe>>,
    /// When the server began to stop.
    pub(super) stop_began: OnceLock<Instant>,
    pub(super) faults: Faults,
}

/// Returns the part in front of which work waits that it should have taken by now.
pub(super) type Probe = Box<dyn Fn() -> Option<Part> + Send + Sync>;

impl Shared {
    /// Notes that a part has failed, unless the server stops, or another part has failed before.
    ///
    /// A panic takes the place of a part that only ended: a panic of the HTTP server ends its worker threads before it is
    /// noticed itself, and who reads the message looks for the cause.
    pub(super) fn fail(&self, part: &Part, how: How) {
        if self.stop_began.get().is_some() {
            return;
        }
        self.failure.send_if_modified(|failure| {
            let is_cause = match failure {
                None => true,
                Some(before) => how == How::Panicked && before.how != How::Panicked,
            };
            if is_cause {
                let found = Failure { part: part.clone(), how };
                tracing::error!(part = %found.part, "{found}; the process ends");
                *failure = Some(found);
            }
            is_cause
        });
    }
}

/// Locks a mutex, whoever has panicked meanwhile.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
