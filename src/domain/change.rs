//! The entries of the change log, and positions in it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CollectionId, Document, KeyChange, KeyId, ProjectId, SessionId, Timestamp};

/// A position in a project's change log: right after the entry with this sequence. Position 0 is before all entries.
///
/// The time is that of the entry. A client that resumes sends both, so that a database that was restored from an older copy
/// is not taken for the same history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// 1, 2, 3 … without gaps, in commit order.
    pub sequence: u64,
    pub at: Timestamp,
}

/// One committed entry of a project's change log.
#[derive(Clone, Debug)]
pub struct Change {
    pub project: ProjectId,
    pub position: Position,
    pub entry: Entry,
}

/// The content of an entry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A document was written. At least one of the images exists.
    Document {
        collection: CollectionId,
        /// The whole document before the change. `None` if it was created.
        before: Option<Arc<Document>>,
        /// The whole document after the change. `None` if it was deleted.
        after: Option<Arc<Document>>,
    },
    Control(Control),
    /// A document was written, and this version can't read how. Everyone who wants the collection's changes has missed one.
    Unreadable {
        collection: CollectionId,
    },
}

/// A control entry: a change of collections or rights, without images. Stored as JSON with the member `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Control {
    CollectionCreated {
        collection: String,
        name: String,
    },
    CollectionRenamed {
        collection: String,
        /// The new name.
        name: String,
    },
    /// A schema was set or removed. The collection's row has the schema.
    SchemaChanged {
        collection: String,
    },
    /// Rules were set or removed. The collection's row has them.
    RulesChanged {
        collection: String,
    },
    /// The declared indexes changed, or one was built or failed to be. The table of indexes has their states.
    IndexesChanged {
        collection: String,
    },
    /// A collection was removed with all its documents, which have no entries of their own.
    CollectionRemoved {
        collection: String,
    },
    KeyRevoked {
        key: String,
    },
    /// What a key may do, or until when, was changed. The key's row says how.
    KeyChanged {
        key: String,
        /// How often the key was changed so far.
        revision: u64,
        /// The revision with the last change of its scopes or origins.
        rescoped: u64,
        /// When it expires, in milliseconds since 1970.
        expires: Option<i64>,
    },
    /// Sessions of users ended: by signing out, by a new password, with their user, or because a refresh token was stolen.
    SessionsEnded {
        sessions: Vec<String>,
    },
    /// The settings of the project changed. The project's row has them.
    SettingsChanged,
    /// The project was opened or closed, so that callers may have other rights on every collection without rules. The settings
    /// say which; they may have changed otherwise, too.
    AccessChanged,
    /// A secret that the server signs with was replaced. The table `secrets` has the new one.
    SecretsRotated,
    /// An operator confirmed the clock. The times of this entry and of those after it may be before those of earlier entries.
    ClockAccepted,
    /// A control entry that only a newer version understands, or that can't be read. Anything may have changed, so that all
    /// that is known of collections, settings and keys is read anew.
    #[serde(other)]
    Unknown,
}

impl Change {
    /// Estimates the bytes of memory that this takes, the parsed images included.
    pub fn weight(&self) -> usize {
        let image = |document: &Option<Arc<Document>>| document.as_ref().map_or(0, |d| d.data.weight() + 200);
        match &self.entry {
            Entry::Document { before, after, .. } => image(before) + image(after) + 100,
            Entry::Control(_) => 300,
            Entry::Unreadable { .. } => 100,
        }
    }
}

impl Control {
    /// Whether callers may have other rights on a collection after it. One that this version does not know may be about anything.
    pub fn may_change_rights(&self, collection: &CollectionId) -> bool {
        match self {
            Self::RulesChanged { collection: changed } => *changed == *collection.as_str(),
            Self::AccessChanged | Self::Unknown => true,
            _ => false,
        }
    }

    /// Returns the name that a collection has from now on.
    pub fn new_name(&self) -> Option<&str> {
        match self {
            Self::CollectionCreated { name, .. } | Self::CollectionRenamed { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether indexes may have to be built or dropped after this.
    pub fn concerns_indexes(&self) -> bool {
        matches!(self, Self::IndexesChanged { .. } | Self::CollectionRemoved { .. } | Self::Unknown)
    }

    /// Whether what is known of collections, indexes and settings may be outdated after this.
    pub fn concerns_collections(&self) -> bool {
        !matches!(
            self,
            Self::KeyRevoked { .. }
                | Self::KeyChanged { .. }
                | Self::SessionsEnded { .. }
                | Self::SecretsRotated
        )
    }

    /// Whether the secrets that the server signs with may be others after this.
    pub fn concerns_secrets(&self) -> bool {
        matches!(self, Self::SecretsRotated | Self::Unknown)
    }

    /// Returns the key that this entry revokes, if it does.
    pub fn revoked_key(&self) -> Option<KeyId> {
        match self {
            Self::KeyRevoked { key } => Some(KeyId::from_stored(key)),
            _ => None,
        }
    }

    /// Returns the change of a key that this entry is, if it is one.
    pub fn key_change(&self) -> Option<KeyChange> {
        match self {
            Self::KeyChanged { key, revision, rescoped, expires } => Some(KeyChange {
                key: KeyId::from_stored(key),
                revision: *revision,
                rescoped: *rescoped,
                expires_at: expires.map(Timestamp),
            }),
            _ => None,
        }
    }

    /// Whether this entry ends a session.
    pub fn ends_session(&self, session: &SessionId) -> bool {
        matches!(self, Self::SessionsEnded { sessions } if sessions.iter().any(|id| id == session.as_str()))
    }

    /// Returns the sessions that this entry ends.
    pub fn ended_sessions(&self) -> Vec<SessionId> {
        match self {
            Self::SessionsEnded { sessions } => {
                sessions.iter().map(|id| SessionId::from_stored(id)).collect()
            }
            _ => Vec::new(),
        }
    }
}
