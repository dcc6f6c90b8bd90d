//! Token buckets in a table of bounded size.
//!
//! A table that is full forgets the keys that were not used for the longest time, so that random addresses cost no more
//! memory than others. (Crate `governor` keeps every key until somebody sweeps the table.)

use std::{collections::HashMap, time::Duration};

const NANOSECONDS: u64 = 1_000_000_000;

/// How often something may happen: `burst` times at once, and once more each time that `each` passes.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub burst: u32,
    pub each: Duration,
}

/// A limit is reached. The message is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}; try again in {} s", .retry_after.as_secs())]
pub struct Limited {
    pub(super) what: &'static str,
    /// How often it may happen at once.
    pub limit: u32,
    /// When it may happen again, in whole seconds, at least one.
    pub retry_after: Duration,
    /// When it may happen as often as `limit` says, in whole seconds.
    pub reset: Duration,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How often it may happen at once.
    pub limit: u32,
    /// How often it may happen now.
    pub remaining: u32,
    /// When it may happen as often as `limit` says, in whole seconds.
    pub reset: Duration,
}

/// Token buckets by the hashes of their keys. Each has the time at which it is full again (GCRA), in nanoseconds. When the
/// younger half is full, it becomes the older one, and what was in that is forgotten.
pub struct Buckets {
    /// The most keys of a half.
    most: usize,
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Buckets {
    /// Makes a table whose halves have at most so many keys each.
    pub fn bounded(most: usize) -> Self {
        Self { most, young: HashMap::new(), old: HashMap::new() }
    }

    /// Finds the value of a key, which counts as used.
    pub fn find(&mut self, key: u64) -> Option<u64> {
        if let Some(found) = self.young.get(&key) {
            return Some(*found);
        }
        let found = self.old.remove(&key)?;
        self.set(key, found);
        Some(found)
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: u64, value: u64) {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Says whether there is a token, without taking it. `now` is in nanoseconds.
    ///
    /// # Errors
    /// [`Limited`] if there is none.
    pub fn judge(&mut self, key: u64, quota: Quota, now: u64, what: &'static str) -> Result<(), Limited> {
        let each = nanoseconds(quota.each);
        let full_at = self.find(key).unwrap_or(now).max(now);
        let missing = (full_at - now + each).saturating_sub(each * u64::from(quota.burst));
        if missing == 0 {
            return Ok(());
        }
        Err(Limited {
            what,
            limit: quota.burst,
            retry_after: whole_seconds(missing),
            reset: whole_seconds(full_at - now),
        })
    }

    /// Puts a token back that was taken.
    pub fn give_back(&mut self, key: u64, quota: Quota) {
        if let Some(full_at) = self.find(key) {
            self.set(key, full_at.saturating_sub(nanoseconds(quota.each)));
        }
    }

    /// Takes a token. A bucket is never emptier than empty.
    pub fn count(&mut self, key: u64, quota: Quota, now: u64) {
        let each = nanoseconds(quota.each);
        let full_at = self.find(key).unwrap_or(now).max(now) + each;
        self.set(key, full_at.min(now + each * u64::from(quota.burst)));
    }

    /// Takes as many tokens as `tokens` says, also those that are not there: the bucket then owes them.
    pub fn charge(&mut self, key: u64, quota: Quota, now: u64, tokens: u32) {
        let full_at = self.find(key).unwrap_or(now).max(now);
        self.set(key, full_at.saturating_add(nanoseconds(quota.each).saturating_mul(u64::from(tokens))));
    }

    /// Returns how full a bucket is.
    pub fn standing(&mut self, key: u64, quota: Quota, now: u64) -> Standing {
        let each = nanoseconds(quota.each);
        let missing = self.find(key).unwrap_or(now).saturating_sub(now);
        let left = (each * u64::from(quota.burst)).saturating_sub(missing) / each;
        Standing {
            limit: quota.burst,
            remaining: u32::try_from(left).unwrap_or(quota.burst),
            reset: Duration::from_secs(missing.div_ceil(NANOSECONDS)),
        }
    }
}

/// Returns a duration in the unit of [`Buckets`].
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_seconds(nanoseconds: u64) -> Duration {
    Duration::from_secs(Duration::from_nanos(nanoseconds).as_secs_f64().ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 3, each: Duration::from_secs(10) };
    const SECOND: u64 = NANOSECONDS;
    const MAX_KEYS: usize = 50_000;

    #[test]
    fn a_bucket_allows_its_burst_and_then_one_more_each_time() {
        let mut buckets = Buckets::bounded(MAX_KEYS);
        let now = 5 * SECOND;
        for _ in 0..3 {
            assert_eq!(buckets.judge(7, QUOTA, now, "x"), Ok(()));
            buckets.count(7, QUOTA, now);
        }
        let limited = buckets.judge(7, QUOTA, now, "x").unwrap_err();
        assert_eq!((limited.retry_after.as_secs(), limited.reset.as_secs()), (10, 30));
        // A try that comes too early makes it no worse.
        buckets.count(7, QUOTA, now);
        assert_eq!(buckets.judge(7, QUOTA, now, "x").unwrap_err(), limited);
        assert_eq!(buckets.judge(8, QUOTA, now, "x"), Ok(()));
        assert!(buckets.judge(7, QUOTA, now + 10 * SECOND, "x").is_ok());
        buckets.count(7, QUOTA, now + 10 * SECOND);
        assert!(buckets.judge(7, QUOTA, now + 10 * SECOND, "x").is_err());
    }

    #[test]
    fn random_keys_take_no_more_memory_and_a_busy_one_is_remembered() {
        let mut buckets = Buckets::bounded(MAX_KEYS);
        for _ in 0..3 {
            buckets.count(7, QUOTA, 0);
        }
        for key in 100..100 + 4 * MAX_KEYS as u64 {
            buckets.count(key, QUOTA, 0);
            if key % 10_000 == 0 {
                assert!(buckets.judge(7, QUOTA, 0, "x").is_err(), "{key}");
            }
        }
        assert!(buckets.young.len() <= MAX_KEYS && buckets.old.len() <= MAX_KEYS);
    }

    #[test]
    fn what_is_charged_beyond_the_burst_is_owed() {
        let mut buckets = Buckets::bounded(MAX_KEYS);
        buckets.charge(7, QUOTA, 0, 1);
        let standing = buckets.standing(7, QUOTA, 0);
        assert_eq!((standing.limit, standing.remaining, standing.reset.as_secs()), (3, 2, 10));
        buckets.charge(7, QUOTA, 0, 10);
        let standing = buckets.standing(7, QUOTA, 0);
        assert_eq!((standing.remaining, standing.reset.as_secs()), (0, 110));
        assert_eq!(buckets.judge(7, QUOTA, 0, "x").unwrap_err().retry_after.as_secs(), 90);
        assert_eq!(buckets.judge(7, QUOTA, 90 * SECOND, "x"), Ok(()));
        assert_eq!(buckets.standing(8, QUOTA, 0).remaining, 3);
    }
}
