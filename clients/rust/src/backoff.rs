//! How long to wait before connecting again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Doubles the pause with each failure in a row, up to a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Begins anew: the connection works.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and returns the pause after it: by chance between half of its length and all of it, so that
    /// clients that were cut together don't return together.
    pub(crate) fn fail(&mut self) -> Duration {
        let longest = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures += 1;
        longest.mul_f64(0.5 + 0.5 * chance())
    }
}

/// A number from 0 to 1. The standard library seeds each `RandomState` by chance.
fn chance() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_bound_and_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        for longest in [1, 2, 4, 5, 5] {
            let pause = backoff.fail();
            let longest = Duration::from_secs(longest);
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?} of {longest:?}");
        }
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_secs(1));
        for _ in 0..100 {
            backoff.fail();
        }
        assert!(backoff.fail() <= Duration::from_secs(5));
    }
}
