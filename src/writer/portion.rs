//! The size of one piece of maintenance, which adapts so that writes wait for it only a few milliseconds.

use std::time::Duration;

/// How long a piece should take, with its commit.
const TARGET: Duration = Duration::from_millis(5);
/// The fewest rows of a piece. A slow commit must not make it crawl.
const LEAST: usize = 100;
/// The most rows of a piece.
const MOST: usize = 2000;

/// How many rows the next piece of a job has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion(usize);

impl Default for Portion {
    fn default() -> Self {
        Self(200)
    }
}

impl Portion {
    pub(super) fn rows(self) -> usize {
        self.0
    }

    /// Notes how long the last piece took.
    pub(super) fn adapt(&mut self, took: Duration) {
        if took > TARGET * 2 {
            self.0 = (self.0 / 2).max(LEAST);
        } else if took < TARGET {
            self.0 = (self.0 * 2).min(MOST);
        }
    }
}
