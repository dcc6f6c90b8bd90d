//! The processor time that a batch costs, and the line in the log about one that costs too much.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    time::{Duration, Instant},
};

use super::request::Request;

/// A batch that takes more processor time than this is logged, because every write waits for it.
const TOO_MUCH: Duration = Duration::from_millis(100);
/// At most one line is logged in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How much time writing takes for each byte of the images, in nanoseconds: a rough figure of both databases.
const NANOS_PER_BYTE: u64 = 5;

/// The cost of each mutation of a batch, by its place in it.
#[derive(Debug, Default)]
pub(super) struct Costs(Vec<Duration>);

impl Costs {
    /// Applies the mutation at `place`, and adds the time that it takes. `work` also returns the bytes that are to be written.
    pub(super) fn measure<T>(&mut self, place: usize, work: impl FnOnce() -> (T, usize)) -> T {
        let begun = Instant::now();
        let (outcome, bytes) = work();
        if self.0.len() <= place {
            self.0.resize(place + 1, Duration::ZERO);
        }
        self.0[place] += begun.elapsed() + Duration::from_nanos(bytes as u64 * NANOS_PER_BYTE);
        outcome
    }

    /// Returns the cost of the mutation at `place`.
    pub(super) fn of(&self, place: usize) -> Duration {
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// Measures for how long a future is polled, which is the processor time that it takes.
pub(super) async fn measure<F: Future>(work: F) -> (F::Output, Duration) {
    let mut work = pin!(work);
    let mut busy = Duration::ZERO;
    let output = poll_fn(|context| {
        let begun = Instant::now();
        let polled = work.as_mut().poll(context);
        busy += begun.elapsed();
        polled
    });
    (output.await, busy)
}

/// Logs batches that cost too much.
#[derive(Debug, Default)]
pub(super) struct CostLog {
    last: Option<Instant>,
    /// Batches that were not logged since then.
    silent: u64,
}

impl CostLog {
    /// Logs a batch that took `busy` of processor time, if that is too much, with the operations that cost most.
    pub(super) fn note(&mut self, batch: &[Request], costs: &Costs, busy: Duration) {
        if busy <= TOO_MUCH {
            return;
        }
        if self.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.silent += 1;
            return;
        }
        let silent = std::mem::take(&mut self.silent);
        self.last = Some(Instant::now());
        let mut groups: HashMap<_, (usize, Duration)> = HashMap::new();
        for (place, request) in batch.iter().enumerate() {
            let operations = &request.mutation.operations;
            let share = costs.of(place) / operations.len().max(1) as u32;
            for operation in operations {
                let key = (&request.mutation.project, operation.collection(), operation.kind());
                let (count, cost) = groups.entry(key).or_default();
                (*count, *cost) = (*count + 1, *cost + share);
            }
        }
        let dearest = groups.into_iter().max_by_key(|(_, (_, cost))| *cost);
        let Some(((project, collection, kind), (count, _))) = dearest else { return };
        let collection: String = collection.unwrap_or_default().chars().take(64).collect();
        let milliseconds = busy.as_millis() as u64;
        tracing::warn!(
            %project, collection, kind, count, mutations = batch.len(), milliseconds, silent,
            "a batch kept the writer busy for {milliseconds} ms, and all writes waited; most of it went into operations of the kind \
             `{kind}` in the collection `{collection}`: {count} of them"
        );
    }
}
