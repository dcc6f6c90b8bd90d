//! The rest after dear mutations: while others write, too, large mutations leave the writer and the disk to them for some of the
//! time.
//!
//! Without it, one client that sends large documents without a pause would keep the disk full, and a small write beside it would
//! wait for the whole of a large one each time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::request::Kind;
use crate::supervision::Supervisor;

/// Dear mutations rest for so many times as long as the last batch of them took.
const SHARE: u32 = 3;
/// The longest rest. Most batches are done in a small part of a second, even on a machine that has other work.
const LONGEST: Duration = Duration::from_secs(2);
/// A batch that is done in less is no burden.
const SHORT: Duration = Duration::from_millis(50);
/// Others write as long as they wrote within this time.
const LATELY: Duration = Duration::from_secs(1);

/// When the next dear mutation may begin.
pub(super) struct Rest {
    supervisor: Supervisor,
    until: Option<Instant>,
    last_cheap: Option<Instant>,
}

impl Rest {
    /// There is no rest once the server of `supervisor` stops.
    pub(super) fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, until: None, last_cheap: None }
    }

    /// Notes a batch that is done, and how long it took.
    pub(super) fn note(&mut self, kind: Kind, took: Duration) {
        let now = Instant::now();
        match kind {
            Kind::Cheap => self.last_cheap = Some(now),
            Kind::Dear => {
                let has_others = self.last_cheap.is_some_and(|last| now - last < LATELY);
                self.until = (has_others && took > SHORT).then(|| now + (SHARE * took).min(LONGEST));
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.supervisor.is_stopping() || self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// Ends the rest, because nobody writes any more.
    pub(super) fn end(&mut self) {
        self.until = None;
    }

    /// Waits until it is over.
    pub(super) async fn wait(&self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn dear_mutations_rest_only_while_others_write() {
        let supervisor = Supervisor::default();
        let mut rest = Rest::new(supervisor.clone());
        let took = Duration::from_millis(100);
        rest.note(Kind::Dear, took);
        assert!(rest.is_over(), "nobody else writes");
        rest.note(Kind::Cheap, Duration::ZERO);
        rest.note(Kind::Dear, Duration::from_millis(5));
        assert!(rest.is_over(), "it was short");
        rest.note(Kind::Dear, took);
        assert!(!rest.is_over());
        let begun = Instant::now();
        rest.wait().await;
        assert_eq!(begun.elapsed(), SHARE * took);
        assert!(rest.is_over());

        for (took, expected) in [(4 * took, SHARE * 4 * took), (100 * took, LONGEST)] {
            rest.note(Kind::Cheap, Duration::ZERO);
            rest.note(Kind::Dear, took);
            let begun = Instant::now();
            rest.wait().await;
            assert_eq!(begun.elapsed(), expected, "after {took:?}");
        }

        rest.note(Kind::Cheap, Duration::ZERO);
        rest.note(Kind::Dear, took);
        assert!(!rest.is_over());
        supervisor.stop();
        assert!(rest.is_over(), "the server stops");
    }
}
