//! What happens to an API key after it was made: it ends, or it changes.

use super::{KeyId, Timestamp};

/// Why a key, as a connection has it, is not good any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEnd {
    Revoked,
    Expired,
    /// Its scopes or its origins are others than when the connection was authenticated.
    Changed,
}

/// A key as somebody has it who was authenticated with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeldKey {
    pub id: KeyId,
    /// How often the key was changed until then.
    pub revision: u64,
}

/// The state of a key after a change, as the log and the database tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    pub key: KeyId,
    /// How often the key was changed so far. A row with a lower revision is outdated.
    pub revision: u64,
    /// The revision with the last change of its scopes or origins. Connections with a lower one end.
    pub rescoped: u64,
    pub expires_at: Option<Timestamp>,
}

/// The keys of a project to which something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyStates {
    pub revoked: Vec<KeyId>,
    /// Those that were changed and are not revoked.
    pub changed: Vec<KeyChange>,
}
