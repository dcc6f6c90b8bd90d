//! The keys of a project, as a server sees and manages them.

use std::{sync::Arc, time::Duration};

use super::{ServiceError, keys::SetupError};
use crate::{
    auth::{
        Action, KeyKind, KeyRing, Principal, Scopes,
        grant::Grant,
        keys::{generate_key, stored_key},
        permission,
    },
    domain::{KeyId, KeyStates, Origins, ProjectId, Timestamp},
    store::{
        Db, Lane, Trouble,
        access::keys::{self, StoredKey},
    },
    writer::{
        Mutation, Operation, Outcome, WriteError, WriterHandle,
        key_operation::{KeyOperation, KeyOperationKind, KeyPatch},
    },
};

/// The use cases of keys. Cheap to clone.
#[derive(Clone)]
pub struct ProjectKeys {
    pub db: Db,
    pub writer: WriterHandle,
    pub ring: KeyRing,
}

/// The most characters of a name.
const MAX_NAME: usize = 100;

/// A key that is wanted.
#[derive(Clone, Debug)]
pub struct WantedKey {
    pub name: Option<String>,
    pub kind: KeyKind,
    pub scopes: Scopes,
    pub origins: Origins,
    pub expires_at: Option<Timestamp>,
}

impl WantedKey {
    /// Draws a key, and returns its text with its row.
    ///
    /// # Errors
    /// [`SetupError::Random`].
    pub fn draw(self, project: &ProjectId) -> Result<(String, StoredKey), SetupError> {
        let text = generate_key(self.kind).map_err(SetupError::Random)?;
        let stored = StoredKey {
            name: self.name,
            origins: self.origins.to_stored(),
            expires_at: self.expires_at,
            ..stored_key(project, self.kind, &self.scopes, &text)
        };
        Ok((text, stored))
    }
}

/// A new key: its text, which nobody can show again, and its row.
pub struct NewKey {
    pub text: String,
    pub stored: Arc<StoredKey>,
}

impl ProjectKeys {
    /// Lists at most `limit` keys of the project, revoked ones too, in the order of their creation, after the id `after`.
    pub async fn list(
        &self,
        principal: &Principal,
        after: Option<String>,
        limit: u64,
    ) -> Result<Vec<StoredKey>, ServiceError> {
        permission::check(principal, Action::ManageKeys)?;
        let project = principal.project.clone();
        let read = move |db| async move { keys::list_page(&db, &project, after.as_deref(), limit).await };
        let mut page = self.db.read(Lane::Point, read).await?;
        page.iter_mut().for_each(|key| self.add_use(key));
        Ok(page)
    }

    /// Returns a key of the project, revoked or not.
    ///
    /// # Errors
    /// [`WriteError::UnknownKey`].
    pub async fn get(&self, principal: &Principal, id: KeyId) -> Result<StoredKey, ServiceError> {
        permission::check(principal, Action::ManageKeys)?;
        let found = self.db.read(Lane::Point, |db| async move { keys::find(&db, &id).await }).await?;
        let mut key = found.filter(|key| key.project == principal.project).ok_or(WriteError::UnknownKey)?;
        self.add_use(&mut key);
        Ok(key)
    }

    /// Adds the last use that this process has not written yet.
    fn add_use(&self, key: &mut StoredKey) {
        key.last_used_at = key.last_used_at.max(self.ring.uses().find(&key.id));
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`WriteError::Grant`], [`WriteError::TooManyKeys`].
    pub async fn create(&self, principal: &Principal, wanted: WantedKey) -> Result<NewKey, ServiceError> {
        permission::check(principal, Action::ManageKeys)?;
        let (text, stored) = draw(wanted, principal)?;
        let stored = self.run(principal, KeyOperationKind::Create(Box::new(stored))).await?;
        Ok(NewKey { text, stored })
    }

    /// Changes a key. Its connections end if it may do something else then.
    ///
    /// # Errors
    /// [`WriteError::UnknownKey`], [`WriteError::Grant`], [`WriteError::LastKey`].
    pub async fn change(
        &self,
        principal: &Principal,
        id: KeyId,
        patch: KeyPatch,
    ) -> Result<StoredKey, ServiceError> {
        permission::check(principal, Action::ManageKeys)?;
        let changed = self.run(principal, KeyOperationKind::Change(id, patch)).await?;
        self.ring.change(&changed.to_change());
        let mut changed = StoredKey::clone(&changed);
        self.add_use(&mut changed);
        Ok(changed)
    }

    /// Makes a successor of a key, which itself expires after the grace.
    ///
    /// # Errors
    /// [`WriteError::UnknownKey`], [`WriteError::Grant`], [`WriteError::KeyRotated`].
    pub async fn rotate(
        &self,
        principal: &Principal,
        id: KeyId,
        grace: Duration,
    ) -> Result<NewKey, ServiceError> {
        let kind = KeyKind::parse(&self.get(principal, id.clone()).await?.kind);
        let kind = kind.ok_or(WriteError::UnknownKey)?;
        let (text, successor) = draw(WantedKey::of_kind(kind), principal)?;
        let rotation = KeyOperationKind::Rotate { key: id.clone(), successor: Box::new(successor), grace };
        let stored = self.run(principal, rotation).await?;
        let old = self.get(principal, id).await?;
        self.ring.change(&old.to_change());
        Ok(NewKey { text, stored })
    }

    /// Revokes a key, and ends its connections.
    ///
    /// # Errors
    /// [`WriteError::UnknownKey`], [`WriteError::Grant`], [`WriteError::LastKey`].
    pub async fn revoke(&self, principal: &Principal, id: KeyId) -> Result<StoredKey, ServiceError> {
        permission::check(principal, Action::ManageKeys)?;
        let key = self.run(principal, KeyOperationKind::Revoke(id.clone())).await?;
        self.ring.note_states(&KeyStates { revoked: vec![id], changed: Vec::new() });
        let mut key = StoredKey::clone(&key);
        self.add_use(&mut key);
        Ok(key)
    }

    async fn run(
        &self,
        principal: &Principal,
        kind: KeyOperationKind,
    ) -> Result<Arc<StoredKey>, ServiceError> {
        let (project, caller, session) = principal.callers();
        let operation = KeyOperation { grant: Some(Grant::of(principal)), kind };
        let mutation = Mutation {
            project,
            caller,
            session,
            author: None,
            operations: vec![Operation::Key(Box::new(operation))],
            idempotency: None,
            seen: principal.seen.clone(),
        };
        let committed = self.writer.submit(mutation).await.map_err(WriteError::without_place)?;
        match committed.outcomes.into_iter().next() {
            Some(Outcome::Key(key)) => Ok(key),
            _ => Err(WriteError::Unavailable(Trouble::Away).into()),
        }
    }
}

impl WantedKey {
    /// Returns a key without a name and without limits.
    pub fn of_kind(kind: KeyKind) -> Self {
        Self { name: None, kind, scopes: Scopes::all(), origins: Origins::default(), expires_at: None }
    }
}

fn draw(wanted: WantedKey, principal: &Principal) -> Result<(String, StoredKey), ServiceError> {
    wanted.draw(&principal.project).map_err(|_| ServiceError::Random)
}

/// Checks the name of a key.
///
/// # Errors
/// A sentence for the caller.
pub fn check_name(name: &str) -> Result<&str, String> {
    let is_good =
        !name.trim().is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    if is_good { Ok(name) } else { Err(format!("`name` must be a text of 1 to {MAX_NAME} characters")) }
}
