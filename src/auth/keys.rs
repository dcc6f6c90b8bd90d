//! API keys: drawn at random, stored as SHA-256, and cached while they are valid.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{KeyKind, Principal, Scopes, lookups::Lookups};
use crate::{
    domain::{KeyId, ProjectId, Timestamp},
    store::{
        Db, Lane, StoreError,
        access::keys::{self, StoredKey},
    },
};

/// Why a credential does not identify a principal.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The credential is unknown, revoked or no credential at all. The message does not say which.
    #[error("invalid or missing authentication token")]
    Unknown,
    #[error("the session has ended")]
    SessionEnded,
    /// A user's token came alone, and the key with which its session began is no good any more.
    #[error(
        "the key with which this session began was revoked; send a key that is good beside the token, as `x-api-key`"
    )]
    KeyRevoked,
    /// A key and a user's token are of different projects.
    #[error("the key and the token of the user belong to different projects")]
    OtherProject,
    /// A token of another issuer is good for nothing. The sentence says why.
    #[error("{0}")]
    Foreign(String),
    /// A token of another issuer can't be judged now. The sentence says why.
    #[error("{0}; try again")]
    Awaited(String),
    #[error(transparent)]
    Token(#[from] super::TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// For how long what was read from the log counts. A process that slept, or can't read the log, asks the database about each key.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The characters of a key that its list shows, with the prefix `pk_` or `sk_`.
const SHOWN: usize = 11;
/// The same of a short key, which the settings can have.
const SHOWN_OF_SHORT: usize = 8;
/// The characters that stay unknown of a key that is shown by 11: about as many bits as a key must have.
const UNKNOWN: usize = 16;

/// Authenticates keys, and caches every valid key that was used since the start. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing {
    db: Db,
    lookups: Lookups,
    /// Looks cached keys up again. They wait for no unknown ones.
    rechecks: Lookups,
    cache: Arc<RwLock<Cache>>,
}

#[derive(Default)]
struct Cache {
    principals: HashMap<String, Arc<Principal>>,
    by_id: HashMap<KeyId, Arc<Principal>>,
    /// The revoked keys that this process knows of. A read that began before the revocation may still return one as valid.
    revoked: HashSet<KeyId>,
    /// The sequence of the last control entry of each project that this process has heard of.
    controls: HashMap<ProjectId, u64>,
    /// At this time the process had heard of every entry of every log.
    confirmed_at: Option<Instant>,
}

impl KeyRing {
    pub fn new(db: Db) -> Self {
        Self {
            lookups: Lookups::new(db.clone()),
            rechecks: Lookups::new(db.clone()),
            db,
            cache: Arc::default(),
        }
    }

    /// Returns the holder of the key with this text.
    ///
    /// # Errors
    /// [`AuthError::Unknown`] for everything but a valid key.
    pub async fn authenticate(&self, key: &str) -> Result<Arc<Principal>, AuthError> {
        if KeyKind::of_key(key).is_none() {
            return Err(AuthError::Unknown);
        }
        let hash = hash_key(key);
        let (cached, is_fresh) =
            self.read(|cache| (cache.principals.get(&hash).cloned(), cache.fresh().is_some()));
        match cached {
            Some(principal) if is_fresh => Ok(principal),
            Some(_) => self.remember(self.rechecks.find(&hash).await?),
            None => self.remember(self.lookups.find(&hash).await?),
        }
    }

    /// Returns the holder of a key that was used before. The database is not asked, so the key may be revoked by now.
    pub fn find_cached(&self, key: &str) -> Option<Arc<Principal>> {
        KeyKind::of_key(key)?;
        let hash = hash_key(key);
        self.read(|cache| cache.principals.get(&hash).cloned())
    }

    /// Returns the holder of the key with this id, which a ticket names.
    ///
    /// # Errors
    /// [`AuthError::Unknown`] for everything but a valid key.
    pub async fn find(&self, key: &KeyId) -> Result<Arc<Principal>, AuthError> {
        if let Some(principal) = self.read(|cache| cache.fresh()?.by_id.get(key).cloned()) {
            return Ok(principal);
        }
        // A ticket may outlive its key.
        if self.read(|cache| cache.revoked.contains(key)) {
            return Err(AuthError::Unknown);
        }
        let wanted = key.clone();
        let found = self.db.read(Lane::Point, |db| async move { keys::find(&db, &wanted).await }).await?;
        self.remember(found)
    }

    fn remember(&self, found: Option<StoredKey>) -> Result<Arc<Principal>, AuthError> {
        let stored = found.ok_or(AuthError::Unknown)?;
        if stored.revoked_at.is_some() {
            self.forget(&stored.id);
            return Err(AuthError::Unknown);
        }
        let hash = stored.hash.clone();
        let principal = Arc::new(to_principal(stored).ok_or(AuthError::Unknown)?);
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.revoked.contains(&principal.key) {
            return Err(AuthError::Unknown);
        }
        cache.by_id.insert(principal.key.clone(), principal.clone());
        cache.principals.insert(hash, principal.clone());
        Ok(principal)
    }

    /// Whether this process knows that a key is revoked.
    pub fn is_revoked(&self, key: &KeyId) -> bool {
        self.read(|cache| cache.revoked.contains(key))
    }

    /// Drops a key from the cache, and refuses it from now on. Called when the log says that the key is revoked.
    pub fn forget(&self, key: &KeyId) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.principals.retain(|_, principal| principal.key != *key);
        cache.by_id.remove(key);
        cache.revoked.insert(key.clone());
    }

    /// Returns the sequence of the last control entry of a project that this process has heard of. Keys that the log revokes up to
    /// there are refused.
    pub fn heard_of(&self, project: &ProjectId) -> u64 {
        self.read(|cache| cache.controls.get(project).copied().unwrap_or(0))
    }

    /// Notes that this process has heard of the control entries of a project up to this sequence.
    pub fn note_heard_of(&self, project: &ProjectId, sequence: u64) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.controls.insert(project.clone(), sequence);
    }

    /// Notes that at this time the process had heard of every entry of every log.
    pub fn confirm(&self, at: Instant) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.confirmed_at = Some(at);
    }

    /// Drops the cached keys of a project. The log may have gone back, so that some of them don't exist any more.
    pub fn restart(&self, project: &ProjectId) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.principals.retain(|_, principal| principal.project != *project);
        cache.by_id.retain(|_, principal| principal.project != *project);
    }

    fn read<T>(&self, read: impl FnOnce(&Cache) -> T) -> T {
        read(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Cache {
    /// Returns itself if it is as fresh as the log.
    fn fresh(&self) -> Option<&Self> {
        self.confirmed_at.is_some_and(|at| at.elapsed() < FRESH_FOR).then_some(self)
    }
}

/// A row with a kind or a scope that this version does not know authenticates nobody.
fn to_principal(stored: StoredKey) -> Option<Principal> {
    let scopes = match &stored.scopes {
        None => Scopes::all(),
        Some(text) => Scopes::parse(text).ok()?,
    };
    Some(Principal {
        project: stored.project,
        key: stored.id,
        kind: KeyKind::parse(&stored.kind)?,
        scopes,
        collection: None,
        user: None,
        params: Default::default(),
        seen: None,
    })
}

/// Returns the row of a new key. It has the hash of the key, never its text.
pub fn stored_key(project: &ProjectId, kind: KeyKind, scopes: &Scopes, key: &str) -> StoredKey {
    StoredKey {
        id: KeyId::generate(),
        project: project.clone(),
        kind: kind.as_str().to_owned(),
        prefix: shown_part(key).to_owned(),
        hash: hash_key(key),
        scopes: scopes.to_stored(),
        created_at: Timestamp::now(),
        revoked_at: None,
    }
}

/// Returns the beginning of a key by which a list shows it: 11 characters, or 8 of a key so short that too few would stay unknown.
/// At least 11 characters of any key stay unknown, and 16 of one that is shown by 11.
pub fn shown_part(key: &str) -> &str {
    let length = if key.len() >= SHOWN + UNKNOWN { SHOWN } else { SHOWN_OF_SHORT };
    key.char_indices().nth(length).map_or(key, |(end, _)| &key[..end])
}

/// Hashes a key as it is stored. A key has over 95 bits of entropy, so a fast hash without salt is enough.
pub fn hash_key(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    })
}

/// Draws a new key: the prefix and 32 random letters and digits, which are 190 bits.
///
/// # Errors
/// The operating system has no random numbers.
pub fn generate_key(kind: KeyKind) -> Result<String, getrandom::Error> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut key = kind.prefix().to_owned();
    let mut bytes = [0; 64];
    while key.len() < kind.prefix().len() + 32 {
        getrandom::fill(&mut bytes)?;
        // 248 is a multiple of 62. Bytes from there on would make some letters likelier than others.
        let fair =
            bytes.iter().filter(|byte| **byte < 248).map(|byte| ALPHABET[usize::from(*byte) % 62] as char);
        key.extend(fair.take(kind.prefix().len() + 32 - key.len()));
    }
    Ok(key)
}
