//! Who is asking.

use std::fmt;

use crate::domain::{CollectionId, KeyId, ProjectId};

/// Who is asking: the holder of an API key.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The one project that it reaches.
    pub project: ProjectId,
    /// The key, by its id.
    pub key: KeyId,
    /// Which kind of key.
    pub kind: KeyKind,
    /// What the key is limited to.
    pub scopes: Scopes,
    /// The one collection that a stream ticket opens; `None` is no such limit.
    pub collection: Option<CollectionId>,
}

/// Where a key may be kept, and so what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `pk_…`: goes into apps that anyone can read.
    Publishable,
    /// `sk_…`: stays on servers.
    Secret,
}

impl KeyKind {
    /// The word it is stored as and shown by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publishable => "publishable",
            Self::Secret => "secret",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "publishable" => Some(Self::Publishable),
            "secret" => Some(Self::Secret),
            _ => None,
        }
    }

    /// What keys of this kind begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Publishable => "pk_",
            Self::Secret => "sk_",
        }
    }

    /// The kind that a key's text says it is; `None` for text that isn't `(sk|pk)_[A-Za-z0-9]{16,}`, or over 128 long.
    pub fn of_key(text: &str) -> Option<Self> {
        let kind =
            [Self::Publishable, Self::Secret].into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let rest = &text[kind.prefix().len()..];
        ((16..=128).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(kind)
    }
}

/// The words that a key can be limited to. `users` is reserved: it is accepted, and no request needs it yet.
const SCOPES: [&str; 5] = ["documents:read", "documents:write", "collections:write", "realtime", "users"];

/// What a key is limited to: all, or a list of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Option<Vec<&'static str>>);

/// A word that is no scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scope; the scopes are documents:read, documents:write, collections:write, realtime, users"
)]
pub struct UnknownScope(String);

impl Scopes {
    /// No limit.
    pub fn all() -> Self {
        Self(None)
    }

    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownScope`] for the first word that is none.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        let scope =
            |word: &str| SCOPES.into_iter().find(|s| *s == word).ok_or_else(|| UnknownScope(word.to_owned()));
        Ok(Self(Some(text.split(',').map(|word| scope(word.trim())).collect::<Result<_, _>>()?)))
    }

    /// Whether `scope` is among them.
    pub fn allow(&self, scope: &str) -> bool {
        self.0.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// The form it is stored in; `None` means all.
    pub fn to_stored(&self) -> Option<String> {
        self.0.as_ref().map(|scopes| scopes.join(","))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_stored().as_deref().unwrap_or("all"))
    }
}
