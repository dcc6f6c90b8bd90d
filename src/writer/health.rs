//! How the writer is, for readiness: how long the batch at hand takes, and why the last one failed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::clock_trouble::ClockTrouble;
use crate::store::{
    StoreError,
    outage::{Outage, Wording},
};

/// How the writer is. Cheap to clone.
#[derive(Clone)]
pub struct WriterHealth(Arc<Mutex<State>>, Arc<Outage>);

/// What the log says of writes.
const WRITES: Wording = Wording {
    fails: "writes fail",
    again: "writes succeed again",
    counted: "mutations",
    quiet: Duration::ZERO,
};

#[derive(Default)]
struct State {
    /// When the batch at hand began.
    begun: Option<Instant>,
    /// Why the last commit failed, until one succeeds.
    failure: Option<StoreError>,
    /// Why nothing is written because of the clock.
    clock: Option<ClockTrouble>,
}

impl Default for WriterHealth {
    fn default() -> Self {
        Self(Arc::default(), Arc::new(Outage::new(WRITES)))
    }
}

impl WriterHealth {
    /// Returns how long the batch at hand has taken; `None` if there is none.
    pub fn batch_time(&self) -> Option<Duration> {
        self.lock().begun.map(|begun| begun.elapsed())
    }

    /// Returns why the last commit failed; `None` if it did not. The writer itself looks every second whether the database is
    /// well again.
    pub fn failure(&self) -> Option<StoreError> {
        self.lock().failure.clone()
    }

    /// Returns why nothing is written because of the clock; `None` if it is right.
    pub fn clock_trouble(&self) -> Option<ClockTrouble> {
        self.lock().clock
    }

    pub(super) fn note_clock(&self, trouble: Option<ClockTrouble>) {
        self.lock().clock = trouble;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.lock().failure.is_some()
    }

    pub(super) fn begin(&self) {
        self.lock().begun = Some(Instant::now());
    }

    pub(super) fn end(&self) {
        self.lock().begun = None;
    }

    pub(super) fn note_success(&self) {
        self.lock().failure = None;
        self.1.note_success();
    }

    /// Notes that `count` mutations failed, and that nothing is written until a commit succeeds.
    pub(super) fn note_failure(&self, failure: &StoreError, count: usize) {
        self.lock().failure = Some(failure.clone());
        self.1.note_failure(failure, count);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
