//! Keeps the caches of collections and keys as fresh as the change log.

use std::time::Instant;

use super::secrets::SecretsBell;
use crate::{
    auth::{KeyRing, Sessions},
    domain::{Control, KeyStates, Position, ProjectId},
    hub::relay::ControlObserver,
    store::collections::catalog::Catalogs,
    writer::indexer::IndexerBell,
};

/// The caches that a control entry of the log may make stale.
pub(super) struct Caches {
    pub(super) catalogs: Catalogs,
    pub(super) keys: KeyRing,
    pub(super) sessions: Sessions,
    /// Makes the secrets be read anew.
    pub(super) secrets: SecretsBell,
    /// Wakes the indexer when an entry is about indexes.
    pub(super) bell: IndexerBell,
}

impl ControlObserver for Caches {
    fn observe(&self, project: &ProjectId, position: Position, control: &Control) {
        match control.concerns_collections() {
            true => self.catalogs.require(project, position.sequence),
            false => self.catalogs.pass(project, position),
        }
        if control.concerns_indexes() {
            self.bell.ring();
        }
        if control.concerns_secrets() {
            self.secrets.ring();
        }
        if let Some(key) = control.revoked_key() {
            self.keys.forget(&key);
        }
        if let Some(change) = control.key_change() {
            self.keys.change(&change);
        }
        self.sessions.forget(&control.ended_sessions());
        self.keys.note_heard_of(project, position.sequence);
    }

    fn observe_gap(&self, project: &ProjectId, control: u64, keys: &KeyStates) {
        self.catalogs.restart(project, control);
        self.bell.ring();
        self.secrets.ring();
        self.keys.restart(project);
        self.sessions.restart(project);
        self.keys.note_states(keys);
        self.keys.note_heard_of(project, control);
    }

    fn confirm(&self, at: Instant) {
        self.sessions.confirm(at);
        self.keys.confirm(at);
    }
}
