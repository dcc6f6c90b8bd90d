//! The rights that a key may give to other keys: none that it doesn't have itself.

use super::{Principal, Scopes};
use crate::{
    domain::{Origins, Timestamp},
    store::access::keys::StoredKey,
};

/// The rights of a key that makes or changes others.
#[derive(Clone, Debug)]
pub struct Grant {
    scopes: Scopes,
    origins: Origins,
    expires_at: Option<Timestamp>,
}

/// Why a key may not give another one what was asked for. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error(
        "this key lacks the scope `{0}`, so that it can neither give it to a key nor change, rotate or revoke one that has it"
    )]
    Scope(&'static str),
    #[error("this key is for some origins only, so that `origins` must name origins of these")]
    Origins,
    #[error(
        "this key expires at {0}, so that it makes no key that is good for longer; set an `expiresAt` up to then"
    )]
    Expiry(Timestamp),
}

impl Grant {
    /// Returns what the key of a principal may give.
    pub fn of(principal: &Principal) -> Self {
        Self {
            scopes: principal.scopes.clone(),
            origins: principal.limits.origins.clone(),
            expires_at: principal.limits.expires_at,
        }
    }

    /// Checks that a key has no scope that may not be given.
    ///
    /// # Errors
    /// [`GrantError::Scope`].
    pub fn check_scopes(&self, key: &StoredKey) -> Result<(), GrantError> {
        let wanted = Scopes::from_stored(key.scopes.as_deref());
        self.scopes.find_missing(&wanted).map_or(Ok(()), |scope| Err(GrantError::Scope(scope)))
    }

    /// Checks that a key is for no origin that may not be given.
    ///
    /// # Errors
    /// [`GrantError::Origins`].
    pub fn check_origins(&self, key: &StoredKey) -> Result<(), GrantError> {
        let wanted = Origins::from_stored(key.origins.as_deref());
        if self.origins.covers(&wanted) { Ok(()) } else { Err(GrantError::Origins) }
    }

    /// Checks that a key is good for no longer than may be given.
    ///
    /// # Errors
    /// [`GrantError::Expiry`].
    pub fn check_expiry(&self, key: &StoredKey) -> Result<(), GrantError> {
        match self.expires_at {
            Some(own) if key.expires_at.is_none_or(|wanted| wanted > own) => Err(GrantError::Expiry(own)),
            _ => Ok(()),
        }
    }
}
