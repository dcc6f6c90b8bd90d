//! What the log of the server says while the database refuses work: a line when that begins, one for each cause, a sum once a
//! minute, and a line when it is over. Without this each refused request would be a line.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::error::{StoreError, Trouble};

/// How often an outage that goes on is told again.
const SUM: Duration = Duration::from_secs(60);
/// The most causes of one outage that are told.
const MAX_CAUSES: usize = 8;

/// The words for one kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Wording {
    /// A sentence, such as "writes fail".
    pub fails: &'static str,
    /// A sentence, such as "writes succeed again".
    pub again: &'static str,
    /// What is counted, such as "mutations".
    pub counted: &'static str,
    /// An outage is over when work succeeds and none has failed for so long. Other connections may still be broken.
    pub quiet: Duration,
}

/// Watches one kind of work.
#[derive(Debug)]
pub struct Outage {
    wording: Wording,
    /// Whether `state` is there, so that success costs next to nothing.
    is_on: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    begun: Instant,
    /// When work failed last.
    last: Instant,
    /// When the log was told last.
    told_at: Instant,
    count: usize,
    causes: Vec<String>,
}

impl Outage {
    pub fn new(wording: Wording) -> Self {
        Self { wording, is_on: AtomicBool::new(false), state: Mutex::new(None) }
    }

    /// Notes that `count` pieces of work were refused.
    pub fn note_failure(&self, err: &StoreError, count: usize) {
        let Wording { fails, counted, .. } = self.wording;
        let now = Instant::now();
        let mut state = self.lock();
        let state = state.get_or_insert_with(|| State {
            begun: now,
            last: now,
            told_at: now,
            count: 0,
            causes: Vec::new(),
        });
        self.is_on.store(true, Ordering::Release);
        state.last = now;
        state.count += count;
        let cause = match err.trouble() {
            Trouble::Failing => err.to_string(),
            trouble => format!("{trouble:?}"),
        };
        if !state.causes.contains(&cause) && state.causes.len() < MAX_CAUSES {
            state.causes.push(cause);
            tracing::error!("{fails}: {err}; the log counts what fails from now on");
        } else if state.told_at.elapsed() >= SUM {
            let (count, seconds) = (state.count, state.begun.elapsed().as_secs());
            tracing::error!(count, seconds, "{fails} since {seconds} s, so far {count} {counted}: {err}");
        } else {
            return;
        }
        state.told_at = now;
    }

    /// Notes that work has succeeded.
    pub fn note_success(&self) {
        if !self.is_on.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        let Some(State { begun, count, .. }) =
            state.take_if(|state| state.last.elapsed() >= self.wording.quiet)
        else {
            return;
        };
        self.is_on.store(false, Ordering::Release);
        let Wording { again, counted, .. } = self.wording;
        let seconds = begun.elapsed().as_secs();
        tracing::info!(count, seconds, "{again}, after {seconds} s in which {count} {counted} failed");
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
