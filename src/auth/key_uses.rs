//! When keys were used last: noted in memory once a minute and key, and written by somebody else later.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use super::{Principal, principal::keyless};
use crate::domain::{KeyId, ProjectId, Timestamp};

const MINUTE: i64 = 60_000;

/// The uses of keys that are not written yet. Cheap to clone.
#[derive(Clone, Default)]
pub struct KeyUses(Arc<Mutex<HashMap<KeyId, (ProjectId, Timestamp)>>>);

impl KeyUses {
    /// Notes that a key was used. All but the first time in a minute, this costs a look at the clock.
    pub(super) fn note(&self, principal: &Principal, now: Timestamp) {
        let minute = minute_of(now);
        let known = principal.limits.used_in.fetch_max(minute, Ordering::Relaxed);
        if known < minute && principal.key != keyless() {
            let used = (principal.project.clone(), Timestamp(minute * MINUTE));
            self.lock().insert(principal.key.clone(), used);
        }
    }

    /// Returns when a key was used last, as far as that is not written yet.
    pub fn find(&self, key: &KeyId) -> Option<Timestamp> {
        self.lock().get(key).map(|(_, at)| *at)
    }

    /// Takes the uses of at most `limit` keys of one project, to be written.
    pub fn take(&self, limit: usize) -> Option<(ProjectId, Vec<(KeyId, Timestamp)>)> {
        let mut uses = self.lock();
        let project = uses.values().next()?.0.clone();
        let of_project = uses.iter().filter(|(_, (other, _))| *other == project);
        let taken: Vec<_> = of_project.take(limit).map(|(key, (_, at))| (key.clone(), *at)).collect();
        for (key, _) in &taken {
            uses.remove(key);
        }
        Some((project, taken))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, (ProjectId, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the minute of a time, counted from 1970.
pub(super) fn minute_of(time: Timestamp) -> i64 {
    time.0.div_euclid(MINUTE)
}
