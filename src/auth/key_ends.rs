//! The ends and changes of keys, as far as this process knows them.

use std::collections::{HashMap, HashSet};

use crate::domain::{HeldKey, KeyChange, KeyEnd, KeyId, Timestamp};

/// The ends and changes of keys that this process has heard of.
#[derive(Default)]
pub(super) struct KeyEnds {
    /// A read that began before the revocation may still return one of these as valid.
    revoked: HashSet<KeyId>,
    /// The newest change of each key.
    changes: HashMap<KeyId, KeyChange>,
    expiries: HashMap<KeyId, Expiry>,
}

struct Expiry {
    at: Timestamp,
    /// Whether its streams were told to end.
    is_told: bool,
}

impl KeyEnds {
    pub(super) fn revoke(&mut self, key: &KeyId) {
        self.changes.remove(key);
        self.expiries.remove(key);
        self.revoked.insert(key.clone());
    }

    /// Notes a change. Returns false for one that is older than what is known.
    pub(super) fn change(&mut self, change: &KeyChange) -> bool {
        if self.is_outdated(&change.key, change.revision) || self.revoked.contains(&change.key) {
            return false;
        }
        self.changes.insert(change.key.clone(), change.clone());
        self.set_expiry(&change.key, change.expires_at, true);
        true
    }

    /// Notes when a key expires, as it was read.
    pub(super) fn note_expiry(&mut self, key: &KeyId, at: Option<Timestamp>) {
        self.set_expiry(key, at, false);
    }

    fn set_expiry(&mut self, key: &KeyId, at: Option<Timestamp>, is_news: bool) {
        let known = self.expiries.get(key);
        let Some(at) = at else {
            self.expiries.remove(key);
            return;
        };
        let is_told = known.is_some_and(|known| !is_news && known.at == at && known.is_told);
        self.expiries.insert(key.clone(), Expiry { at, is_told });
    }

    /// Whether a row with this revision is from before a change that is known.
    pub(super) fn is_outdated(&self, key: &KeyId, revision: u64) -> bool {
        self.changes.get(key).is_some_and(|known| known.revision > revision)
    }

    pub(super) fn is_revoked(&self, key: &KeyId) -> bool {
        self.revoked.contains(key)
    }

    /// Returns why a key is not good any more for those who were authenticated with it.
    pub(super) fn find(&self, held: &HeldKey, now: Timestamp) -> Option<KeyEnd> {
        if self.revoked.contains(&held.id) {
            return Some(KeyEnd::Revoked);
        }
        if self.changes.get(&held.id).is_some_and(|known| known.rescoped > held.revision) {
            return Some(KeyEnd::Changed);
        }
        self.expiries.get(&held.id).is_some_and(|expiry| expiry.at <= now).then_some(KeyEnd::Expired)
    }

    /// Returns when the next key expires whose streams were not told yet.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.values().filter(|expiry| !expiry.is_told).map(|expiry| expiry.at).min()
    }

    /// Returns the keys that have expired, each once.
    pub(super) fn take_expired(&mut self, now: Timestamp) -> Vec<KeyId> {
        let due = self.expiries.iter_mut().filter(|(_, expiry)| !expiry.is_told && expiry.at <= now);
        due.map(|(key, expiry)| {
            expiry.is_told = true;
            key.clone()
        })
        .collect()
    }
}
