//! How fast one client may talk.

use std::time::Duration;

use tokio::time::Instant;

/// The time between two messages, in the long run.
const INTERVAL: Duration = Duration::from_millis(10);
/// So many may come at once.
const BURST: u32 = 200;

/// Counts the messages of one connection.
pub(super) struct Pace {
    /// When all that came so far would have come, one at a time.
    due: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { due: Instant::now() }
    }
}

impl Pace {
    /// Notes a message.
    pub(super) fn count(&mut self) {
        self.due = self.due.max(Instant::now()) + INTERVAL;
    }

    /// How long to wait before the next one is read; often zero.
    pub(super) fn pause(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now() + BURST * INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_what_follows_is_not() {
        let mut pace = Pace::default();
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
}
