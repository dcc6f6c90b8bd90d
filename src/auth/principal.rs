//! Principals, and the kinds and scopes of their keys.

use std::fmt;

use crate::{
    domain::{Collection, CollectionId, CollectionName, KeyId, ProjectId},
    shares::Account,
};

/// A caller of the server: the holder of an API key, or of a ticket that was made with one.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The only project that the principal can reach.
    pub project: ProjectId,
    pub key: KeyId,
    pub kind: KeyKind,
    pub scopes: Scopes,
    /// The only collection that a stream ticket opens; `None` opens all of them.
    pub collection: Option<TicketCollection>,
}

/// The only collection that a stream ticket opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketCollection {
    Existing(CollectionId),
    /// It did not exist when the ticket was made. The ticket opens the one that has this name.
    Awaited(CollectionName),
}

impl TicketCollection {
    pub fn admits(&self, collection: &Collection) -> bool {
        match self {
            Self::Existing(id) => *id == collection.id,
            Self::Awaited(name) => *name == collection.name,
        }
    }
}

impl Principal {
    /// Returns the account on which its requests hold what is bounded.
    pub fn account(&self) -> Account {
        Account { project: self.project.clone(), key: self.key.clone() }
    }
}

/// The kind of a key says where it may be kept, and so what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `pk_…`: goes into apps, which anyone can read.
    Publishable,
    /// `sk_…`: stays on servers.
    Secret,
}

impl KeyKind {
    /// Returns the word in the database and in the output of `coir keys list`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Secret => "secret",
        }
    }

    /// Reads the word that [`KeyKind::as_str`] returns.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "publishable" => Some(Self::Publishable),
            "secret" => Some(Self::Secret),
            _ => None,
        }
    }

    /// Returns the beginning of every key of this kind.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Publishable => "pk_",
            Self::Secret => "sk_",
        }
    }

    /// Returns the kind of a key by its text. `None` for text that is not a key: a prefix with 16 to 128 ASCII letters and digits.
    pub fn of_key(text: &str) -> Option<Self> {
        let kind =
            [Self::Publishable, Self::Secret].into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let rest = &text[kind.prefix().len()..];
        ((16..=128).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(kind)
    }
}

/// The words that a key can be limited to. `users` is reserved: it is accepted, and no request needs it yet.
const SCOPES: [&str; 5] = ["documents:read", "documents:write", "collections:write", "realtime", "users"];

/// The scopes of a key: a list, or `None` for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Option<Vec<&'static str>>);

/// A word that is not a scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scope; the scopes are documents:read, documents:write, collections:write, realtime, users"
)]
pub struct UnknownScope(String);

impl Scopes {
    /// Returns the scopes of a key without limits.
    pub fn all() -> Self {
        Self(None)
    }

    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownScope`] for the first word that is not a scope.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        let scope =
            |word: &str| SCOPES.into_iter().find(|s| *s == word).ok_or_else(|| UnknownScope(word.to_owned()));
        Ok(Self(Some(text.split(',').map(|word| scope(word.trim())).collect::<Result<_, _>>()?)))
    }

    /// Whether the key has the scope.
    pub fn allow(&self, scope: &str) -> bool {
        self.0.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Returns the form in the database, where null means all.
    pub fn to_stored(&self) -> Option<String> {
        self.0.as_ref().map(|scopes| scopes.join(","))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_stored().as_deref().unwrap_or("all"))
    }
}
