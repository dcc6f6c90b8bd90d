//! What is done to API keys.

use std::time::Duration;

use crate::{
    auth::{Scopes, grant::Grant},
    domain::{KeyId, Origins, Timestamp},
    store::access::keys::StoredKey,
};

/// The most keys of a project that are not revoked.
pub const MAX_KEYS: usize = 1000;

/// An operation on keys. Such a mutation is a batch of its own.
#[derive(Clone, Debug)]
pub struct KeyOperation {
    /// What the key of the caller may give. `None` for an operator, who may do everything.
    pub grant: Option<Grant>,
    pub kind: KeyOperationKind,
}

#[derive(Clone, Debug)]
pub enum KeyOperationKind {
    Create(Box<StoredKey>),
    Change(KeyId, KeyPatch),
    /// Makes a successor of a key, which then expires after the grace.
    Rotate {
        key: KeyId,
        /// It gets the name, kind, scopes, origins and expiry of the key.
        successor: Box<StoredKey>,
        grace: Duration,
    },
    Revoke(KeyId),
}

/// A change of a key. A member that is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    pub name: Option<Option<String>>,
    pub scopes: Option<Scopes>,
    pub origins: Option<Origins>,
    pub expires_at: Option<Option<Timestamp>>,
}

impl KeyPatch {
    /// Returns the names of the members that it has.
    pub fn members(&self) -> Vec<&'static str> {
        let Self { name, scopes, origins, expires_at } = self;
        [
            name.as_ref().map(|_| "name"),
            scopes.as_ref().map(|_| "scopes"),
            origins.as_ref().map(|_| "origins"),
            expires_at.as_ref().map(|_| "expiresAt"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
