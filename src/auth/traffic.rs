//! Limits of how much one caller may ask for: reads, writes, and beginnings of streams.
//!
//! Each limit is a token bucket. A user has buckets of their own, whatever key they come with. A publishable key alone is that of
//! all visitors of an app, who are told apart by their networks. A secret key alone is that of a server, which asks for all its
//! users, and is not limited.
//!
//! The buckets are divided into parts with a lock each, so that requests seldom wait for each other.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    KeyKind, Principal,
    buckets::{Buckets, Limited, Quota, Standing, nanoseconds},
};
use crate::domain::seen::network_of;

/// The parts of the table.
const PARTS: usize = 64;
/// The most keys of the younger half of a part. All parts take some 5 MiB.
const MAX_KEYS: usize = 1024;
/// A bucket holds what comes back in so many seconds.
const BURST_SECONDS: u32 = 20;

/// A kind of request that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Reads,
    Writes,
    /// Streams that are opened, and subscriptions that begin.
    Streams,
}

/// How much of each kind one caller may ask for in a second, in the long run; 0 is as much as it likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrafficLimits {
    pub reads: u32,
    pub writes: u32,
    pub streams: u32,
}

/// The buckets of all callers. Cheap to clone.
#[derive(Clone)]
pub struct Rates(Arc<Shared>);

struct Shared {
    begun: Instant,
    hasher: RandomState,
    limits: TrafficLimits,
    parts: Vec<Mutex<Buckets>>,
}

/// A token that was taken from a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    quota: Quota,
    bucket: u64,
}

impl Traffic {
    fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Streams => "streams and subscriptions",
        }
    }
}

impl TrafficLimits {
    fn quota(self, traffic: Traffic) -> Option<Quota> {
        let per_second = match traffic {
            Traffic::Reads => self.reads,
            Traffic::Writes => self.writes,
            Traffic::Streams => self.streams,
        };
        let each = Duration::from_secs(1).checked_div(per_second)?;
        Some(Quota { burst: per_second.saturating_mul(BURST_SECONDS), each })
    }
}

impl Rates {
    pub fn new(limits: TrafficLimits) -> Self {
        Self(Arc::new(Shared {
            begun: Instant::now(),
            hasher: RandomState::new(),
            limits,
            parts: (0..PARTS).map(|_| Mutex::new(Buckets::bounded(MAX_KEYS))).collect(),
        }))
    }

    /// Takes a token of a caller who asks from an address. `None` if nothing limits the caller.
    ///
    /// # Errors
    /// [`Limited`] if no token is left.
    pub fn take(
        &self,
        traffic: Traffic,
        principal: &Principal,
        address: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Option<Taken>, Limited> {
        let Some(quota) = self.0.limits.quota(traffic) else { return Ok(None) };
        let (kind, project) = (traffic as u8, &principal.project);
        let bucket = match (&principal.user, principal.kind) {
            (Some(user), _) => self.0.hasher.hash_one((kind, project, "user", user.id.as_str())),
            (None, KeyKind::Secret) => return Ok(None),
            (None, KeyKind::Publishable) => {
                self.0.hasher.hash_one((kind, project, principal.key.as_str(), address().map(network_of)))
            }
        };
        let now = self.0.now();
        let mut part = self.0.part(bucket);
        part.judge(bucket, quota, now, traffic.name())?;
        part.charge(bucket, quota, now, 1);
        Ok(Some(Taken { quota, bucket }))
    }

    /// Takes further tokens for something that is more than it seemed. Those that are missing are owed.
    pub fn charge(&self, taken: Taken, tokens: u32) {
        self.0.part(taken.bucket).charge(taken.bucket, taken.quota, self.0.now(), tokens);
    }

    /// Returns what is left in the bucket.
    pub fn standing(&self, taken: Taken) -> Standing {
        self.0.part(taken.bucket).standing(taken.bucket, taken.quota, self.0.now())
    }
}

impl Shared {
    fn now(&self) -> u64 {
        nanoseconds(self.begun.elapsed())
    }

    fn part(&self, bucket: u64) -> MutexGuard<'_, Buckets> {
        // The remainder is less than the number of parts.
        let part = &self.parts[(bucket % PARTS as u64) as usize];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
