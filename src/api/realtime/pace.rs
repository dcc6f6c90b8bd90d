//! How fast one client may talk.

use std::time::Duration;

use tokio::time::Instant;

/// The time between two messages, in the long run.
const INTERVAL: Duration = Duration::from_millis(10);
/// The number of messages that may come at once.
const BURST: u32 = 200;

/// Counts the messages of one connection.
pub struct Pace {
    /// When the messages so far would have come, one at a time. `None` where the pace isn't limited.
    due: Option<Instant>,
}

impl Pace {
    /// Never makes a client pause.
    pub fn unlimited() -> Self {
        Self { due: None }
    }

    /// Allows 100 messages a second, and bursts of 200.
    pub fn limited() -> Self {
        Self { due: Some(Instant::now()) }
    }

    /// Counts a message.
    pub(super) fn count(&mut self) {
        self.due = self.due.map(|due| due.max(Instant::now()) + INTERVAL);
    }

    /// Returns how long to wait before the next message is read; mostly zero.
    pub(super) fn pause(&self) -> Duration {
        let Some(due) = self.due else { return Duration::ZERO };
        due.saturating_duration_since(Instant::now() + BURST * INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_the_messages_after_it_are_not() {
        let mut pace = Pace::limited();
        (0..BURST).for_each(|_| pace.count());
        assert!(pace.pause().is_zero());
        (0..100).for_each(|_| pace.count());
        assert_eq!(pace.pause(), 100 * INTERVAL);
        tokio::time::advance(50 * INTERVAL).await;
        assert_eq!(pace.pause(), 50 * INTERVAL);
        tokio::time::advance(Duration::from_secs(60)).await;
        (0..BURST).for_each(|_| pace.count());
        assert!(pace.pause().is_zero());
    }

    #[test]
    fn an_unlimited_pace_has_no_pause() {
        let mut pace = Pace::unlimited();
        (0..10 * BURST).for_each(|_| pace.count());
        assert!(pace.pause().is_zero());
    }
}
