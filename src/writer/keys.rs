//! The operations on API keys, under the lock of the log: no key gives more than it has, and the last key that manages keys is not
//! lost by accident.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    batch::Batch,
    error::WriteError,
    key_operation::{KeyOperation, KeyOperationKind, KeyPatch, MAX_KEYS},
    outcome::Outcome,
    staged::Staged,
};
use crate::{
    auth::{KeyKind, Scopes, grant::Grant, principal::MANAGES_KEYS},
    domain::{Control, KeyId, Timestamp, audit::AuditEvent},
    store::access::keys::StoredKey,
};

impl Batch {
    pub(super) fn apply_key_operation(
        &self,
        staged: &mut Staged,
        operation: &KeyOperation,
    ) -> Result<Outcome, WriteError> {
        let grant = operation.grant.as_ref();
        match &operation.kind {
            KeyOperationKind::Create(key) => self.create_key(staged, grant, key),
            KeyOperationKind::Change(key, patch) => self.change_key(staged, grant, key, patch),
            KeyOperationKind::Rotate { key, successor, grace } => {
                self.rotate_key(staged, grant, key, (successor, *grace))
            }
            KeyOperationKind::Revoke(key) => self.revoke_key(staged, grant, key),
        }
    }

    fn create_key(
        &self,
        staged: &mut Staged,
        grant: Option<&Grant>,
        key: &StoredKey,
    ) -> Result<Outcome, WriteError> {
        if let Some(grant) = grant {
            check_all(grant, key)?;
        }
        self.add_key(staged, key.clone())
    }

    fn add_key(&self, staged: &mut Staged, key: StoredKey) -> Result<Outcome, WriteError> {
        if self.kept_keys(staged).len() >= MAX_KEYS {
            return Err(WriteError::TooManyKeys);
        }
        let details = json!({ "key": key.id.as_str(), "kind": key.kind });
        staged.audit(AuditEvent::KeyCreated, None, Some(details));
        staged.plan.new_keys.push(key.clone());
        Ok(Outcome::Key(Arc::new(key)))
    }

    fn change_key(
        &self,
        staged: &mut Staged,
        grant: Option<&Grant>,
        key: &KeyId,
        patch: &KeyPatch,
    ) -> Result<Outcome, WriteError> {
        let before = self.kept_key(staged, key)?.clone();
        let mut after = before.clone();
        if let Some(name) = &patch.name {
            after.name.clone_from(name);
        }
        if let Some(scopes) = &patch.scopes {
            after.scopes = scopes.to_stored();
        }
        if let Some(origins) = &patch.origins {
            after.origins = origins.to_stored();
        }
        if let Some(expires_at) = patch.expires_at {
            after.expires_at = expires_at;
        }
        if let Some(grant) = grant {
            grant.check_scopes(&before)?;
            grant.check_scopes(&after)?;
            if patch.origins.is_some() {
                grant.check_origins(&after)?;
            }
            if patch.expires_at.is_some() {
                grant.check_expiry(&after)?;
            }
            self.check_last(staged, &before, Some(&after))?;
        }
        let is_rescoped = after.scopes != before.scopes || after.origins != before.origins;
        if !is_rescoped && after.expires_at == before.expires_at && after.name == before.name {
            return Ok(Outcome::Key(Arc::new(before)));
        }
        let details = json!({ "key": key.as_str(), "members": patch.members() });
        staged.audit(AuditEvent::KeyChanged, None, Some(details));
        if is_rescoped || after.expires_at != before.expires_at {
            log_change(staged, &mut after, is_rescoped);
        }
        staged.plan.changed_keys.push(after.clone());
        Ok(Outcome::Key(Arc::new(after)))
    }

    fn rotate_key(
        &self,
        staged: &mut Staged,
        grant: Option<&Grant>,
        key: &KeyId,
        (successor, grace): (&StoredKey, Duration),
    ) -> Result<Outcome, WriteError> {
        let mut before = self.kept_key(staged, key)?.clone();
        if let Some(successor) = &before.successor {
            return Err(WriteError::KeyRotated(successor.clone()));
        }
        if !before.is_good(staged.at) {
            return Err(WriteError::RotatedTooLate);
        }
        let successor = StoredKey {
            name: before.name.clone(),
            kind: before.kind.clone(),
            scopes: before.scopes.clone(),
            origins: before.origins.clone(),
            expires_at: before.expires_at,
            ..successor.clone()
        };
        if let Some(grant) = grant {
            check_all(grant, &successor)?;
        }
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let end = Timestamp(staged.at.0.saturating_add(grace));
        before.expires_at = Some(before.expires_at.map_or(end, |own| own.min(end)));
        before.successor = Some(successor.id.clone());
        let details = json!({ "key": key.as_str(), "successor": successor.id.as_str() });
        staged.audit(AuditEvent::KeyRotated, None, Some(details));
        log_change(staged, &mut before, false);
        staged.plan.changed_keys.push(before);
        self.add_key(staged, successor)
    }

    fn revoke_key(
        &self,
        staged: &mut Staged,
        grant: Option<&Grant>,
        key: &KeyId,
    ) -> Result<Outcome, WriteError> {
        let found = self.kept_key(staged, key)?.clone();
        if let Some(grant) = grant {
            grant.check_scopes(&found)?;
            self.check_last(staged, &found, None)?;
        }
        staged.control(Control::KeyRevoked { key: key.to_string() });
        staged.audit(AuditEvent::KeyRevoked, None, Some(json!({ "key": key.as_str() })));
        staged.plan.revoked_keys.push(key.clone());
        Ok(Outcome::Key(Arc::new(StoredKey { revoked_at: Some(self.now()), ..found })))
    }

    /// Returns the keys of the project that are not revoked.
    fn kept_keys(&self, staged: &Staged) -> &[StoredKey] {
        self.base().keys.get(&staged.project).map_or(&[], Vec::as_slice)
    }

    fn kept_key(&self, staged: &Staged, id: &KeyId) -> Result<&StoredKey, WriteError> {
        self.kept_keys(staged).iter().find(|key| key.id == *id).ok_or(WriteError::UnknownKey)
    }

    /// Checks that a key stays that manages keys. One that doesn't expire must stay, unless the key at hand expires itself.
    fn check_last(
        &self,
        staged: &Staged,
        before: &StoredKey,
        after: Option<&StoredKey>,
    ) -> Result<(), WriteError> {
        let is_good = |key: &StoredKey| manages_keys(key) && key.is_good(staged.at);
        let lasts = |key: &StoredKey| is_good(key) && key.expires_at.is_none();
        let others = || self.kept_keys(staged).iter().filter(|other| other.id != before.id);
        let is_lost = |is_kept: &dyn Fn(&StoredKey) -> bool| {
            is_kept(before) && !after.is_some_and(is_kept) && !others().any(is_kept)
        };
        if is_lost(&is_good) || is_lost(&lasts) { Err(WriteError::LastKey) } else { Ok(()) }
    }
}

/// Logs that the rights of a key, or their end, are others.
fn log_change(staged: &mut Staged, key: &mut StoredKey, is_rescoped: bool) {
    key.revision += 1;
    if is_rescoped {
        key.rescoped = key.revision;
    }
    staged.control(Control::KeyChanged {
        key: key.id.to_string(),
        revision: key.revision,
        rescoped: key.rescoped,
        expires: key.expires_at.map(|end| end.0),
    });
}

fn check_all(grant: &Grant, key: &StoredKey) -> Result<(), WriteError> {
    grant.check_scopes(key)?;
    grant.check_origins(key)?;
    Ok(grant.check_expiry(key)?)
}

fn manages_keys(key: &StoredKey) -> bool {
    key.kind == KeyKind::Secret.as_str() && Scopes::from_stored(key.scopes.as_deref()).allow(MANAGES_KEYS)
}
