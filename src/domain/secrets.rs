//! The secrets that the server signs with, by their names.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

/// What a secret signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretName {
    /// Access tokens, with HS256.
    Access,
    /// Access tokens, with EdDSA: an Ed25519 private key of 32 bytes.
    AccessEddsa,
    /// Refresh tokens.
    Refresh,
    /// Stream tickets.
    Tickets,
    /// The states of sign-ins with other providers.
    OAuth,
}

impl SecretName {
    pub const ALL: [Self; 5] = [Self::Access, Self::AccessEddsa, Self::Refresh, Self::Tickets, Self::OAuth];

    /// Returns the name in the table `secrets`. The secret before it has `.previous` behind its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::AccessEddsa => "access-eddsa",
            Self::Refresh => "refresh",
            Self::Tickets => "tickets",
            Self::OAuth => "oauth",
        }
    }
}

/// A secret, and the one before it, with which tokens may still be signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    pub current: Vec<u8>,
    pub previous: Option<Vec<u8>>,
    /// Until then the previous one signs. Other nodes may not know the current one yet.
    pub signs_from: Option<Instant>,
}

impl Secrets {
    /// Returns secrets of which the current one signs.
    pub fn new(current: Vec<u8>, previous: Option<Vec<u8>>) -> Self {
        Self { current, previous, signs_from: None }
    }

    /// Returns them, the current one first.
    pub fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Returns the one that signs now.
    pub fn signing(&self) -> &Vec<u8> {
        match &self.previous {
            Some(previous) if self.previous_signs() => previous,
            _ => &self.current,
        }
    }

    /// Whether the previous one still signs.
    pub fn previous_signs(&self) -> bool {
        self.previous.is_some() && self.signs_from.is_some_and(|from| Instant::now() < from)
    }
}

/// A value that is replaced while others use it. Cheap to clone; all clones have the same value.
pub struct Replaceable<T>(Arc<RwLock<Arc<T>>>);

impl<T> Replaceable<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    pub fn get(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the value. Whoever got the one before goes on with it.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T> Clone for Replaceable<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
