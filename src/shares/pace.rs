//! The pace that a peer must keep while it holds memory that others wait for.

use std::time::Duration;

use tokio::time::Instant;

/// A peer's pace is measured over so much time. Shorter, and the pieces in which the kernel takes an answer would look like
/// stops.
pub const WINDOW: Duration = Duration::from_secs(20);
/// The least that a peer must send or take in each window: 2 KiB/s, which a phone on a poor line reaches.
pub const LEAST_BYTES: usize = 40 * 1024;

/// Measures whether a peer keeps the minimum rate, window by window.
#[derive(Debug)]
pub struct MinimumRate {
    ends_at: Instant,
    moved: usize,
}

impl MinimumRate {
    /// Begins the first window.
    pub fn begin() -> Self {
        Self { ends_at: Instant::now() + WINDOW, moved: 0 }
    }

    /// Notes that the peer sent or took so many bytes.
    pub fn note(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Returns the end of the window.
    pub fn ends_at(&self) -> Instant {
        self.ends_at
    }

    /// Returns whether the peer kept the rate in the window that has ended, and begins the next one.
    pub fn next_window(&mut self) -> bool {
        let is_kept = self.moved >= LEAST_BYTES;
        *self = Self::begin();
        is_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_on_a_poor_line_keeps_the_rate_and_a_silent_one_does_not() {
        let mut rate = MinimumRate::begin();
        for second in 1..=60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            rate.note(3 * 1024);
            if rate.ends_at() <= Instant::now() {
                assert!(rate.next_window(), "after {second} s");
            }
        }
        rate.note(LEAST_BYTES - 1);
        assert!(!rate.next_window());
    }
}
