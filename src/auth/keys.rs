//! API keys: drawn at random, stored as SHA-256, and cached while they are valid.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::{
    KeyKind, KeyLimits, KeyUses, Principal, Scopes, key_ends::KeyEnds, key_uses::minute_of, lookups::Lookups,
};
use crate::{
    domain::{HeldKey, KeyChange, KeyEnd, KeyId, KeyStates, Origins, ProjectId, Timestamp},
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
    #[error(
        "the key has expired; use another one, or have `coir keys change` or PATCH /keys/{{id}} give it more time"
    )]
    KeyExpired,
    /// Since a connection was authenticated.
    #[error("what the key may do was changed; authenticate again")]
    KeyChanged,
    /// A user's token came alone, and the key with which its session began is no good any more.
    #[error(
        "the key with which this session began was revoked; send a key that is good beside the token, as `x-api-key`"
    )]
    KeyRevoked,
    #[error(
        "the key with which this session began has expired; send a key that is good beside the token, as `x-api-key`"
    )]
    KeyOfSessionExpired,
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

impl From<KeyEnd> for AuthError {
    fn from(end: KeyEnd) -> Self {
        match end {
            KeyEnd::Revoked => Self::Unknown,
            KeyEnd::Expired => Self::KeyExpired,
            KeyEnd::Changed => Self::KeyChanged,
        }
    }
}

/// For how long what was read from the log counts. A process that slept, or can't read the log, asks the database about each key.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How often the wall clock is looked at while no key is known to expire earlier.
const LOOK: Duration = Duration::from_secs(10);

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
    uses: KeyUses,
    /// Notified when a key may expire earlier than it was known to.
    expiries: Arc<Notify>,
}

#[derive(Default)]
struct Cache {
    principals: HashMap<String, Arc<Principal>>,
    by_id: HashMap<KeyId, Arc<Principal>>,
    ends: KeyEnds,
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
            uses: KeyUses::default(),
            expiries: Arc::default(),
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
            Some(principal) if is_fresh => self.check_time(principal),
            Some(_) => self.remember(self.rechecks.find(&hash).await?).await,
            None => self.remember(self.lookups.find(&hash).await?).await,
        }
    }

    /// Notes the use of a key, unless it has expired.
    fn check_time(&self, principal: Arc<Principal>) -> Result<Arc<Principal>, AuthError> {
        let now = Timestamp::now();
        if principal.limits.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthError::KeyExpired);
        }
        self.uses.note(&principal, now);
        Ok(principal)
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
            return self.check_time(principal);
        }
        // A ticket may outlive its key.
        if self.is_revoked(key) {
            return Err(AuthError::Unknown);
        }
        self.remember(self.read_key(key).await?).await
    }

    async fn read_key(&self, key: &KeyId) -> Result<Option<StoredKey>, StoreError> {
        let wanted = key.clone();
        self.db.read(Lane::Point, |db| async move { keys::find(&db, &wanted).await }).await
    }

    /// Takes a key that was read into the cache. One that was changed since the read began is read again.
    async fn remember(&self, found: Option<StoredKey>) -> Result<Arc<Principal>, AuthError> {
        let mut stored = found.ok_or(AuthError::Unknown)?;
        if self.read(|cache| cache.ends.is_outdated(&stored.id, stored.revision)) {
            stored = self.read_key(&stored.id).await?.ok_or(AuthError::Unknown)?;
        }
        if stored.revoked_at.is_some() {
            self.forget(&stored.id);
            return Err(AuthError::Unknown);
        }
        let hash = stored.hash.clone();
        let principal = Arc::new(to_principal(stored).ok_or(AuthError::Unknown)?);
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.ends.is_revoked(&principal.key) {
            return Err(AuthError::Unknown);
        }
        // A key may be changed at this moment; the next request reads more of it then.
        if !cache.ends.is_outdated(&principal.key, principal.limits.revision) {
            let limits = &principal.limits;
            if let Some(known) = cache.by_id.get(&principal.key) {
                limits.used_in.fetch_max(known.limits.used_in.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            cache.ends.note_expiry(&principal.key, limits.expires_at);
            cache.by_id.insert(principal.key.clone(), principal.clone());
            cache.principals.insert(hash, principal.clone());
        }
        drop(cache);
        if principal.limits.expires_at.is_some() {
            self.expiries.notify_one();
        }
        self.check_time(principal)
    }

    /// Whether this process knows that a key is revoked.
    pub fn is_revoked(&self, key: &KeyId) -> bool {
        self.read(|cache| cache.ends.is_revoked(key))
    }

    /// Returns why a key is not good any more for those who were authenticated with it, as far as this process knows.
    pub fn find_end(&self, held: &HeldKey) -> Option<KeyEnd> {
        self.read(|cache| cache.ends.find(held, Timestamp::now()))
    }

    /// Drops a key from the cache, and goes on with the change. Called when the log tells it.
    pub fn change(&self, change: &KeyChange) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.ends.change(change) {
            cache.principals.retain(|_, principal| principal.key != change.key);
            cache.by_id.remove(&change.key);
        }
        drop(cache);
        self.expiries.notify_one();
    }

    /// Notes what has happened to keys.
    pub fn note_states(&self, states: &KeyStates) {
        states.revoked.iter().for_each(|key| self.forget(key));
        states.changed.iter().for_each(|change| self.change(change));
    }

    /// Returns the uses of keys that are not written yet.
    pub fn uses(&self) -> &KeyUses {
        &self.uses
    }

    /// Waits until keys have expired, and returns them, each once.
    pub async fn expired(&self) -> Vec<KeyId> {
        loop {
            let now = Timestamp::now();
            let expired = {
                let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
                cache.ends.take_expired(now)
            };
            if !expired.is_empty() {
                return expired;
            }
            let next = self.read(|cache| cache.ends.next_expiry());
            let left = next.map(|next| u64::try_from(next.0.saturating_sub(now.0)).unwrap_or(0));
            let wait = left.map_or(LOOK, |left| Duration::from_millis(left).min(LOOK));
            // The wall clock may be set meanwhile, and the process may sleep.
            let _ = tokio::time::timeout(wait, self.expiries.notified()).await;
        }
    }

    /// Drops a key from the cache, and refuses it from now on. Called when the log says that the key is revoked.
    pub fn forget(&self, key: &KeyId) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.principals.retain(|_, principal| principal.key != *key);
        cache.by_id.remove(key);
        cache.ends.revoke(key);
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
        limits: Arc::new(KeyLimits {
            revision: stored.revision,
            expires_at: stored.expires_at,
            origins: Origins::from_stored(stored.origins.as_deref()),
            used_in: AtomicI64::new(stored.last_used_at.map_or(0, minute_of)),
        }),
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
        name: None,
        kind: kind.as_str().to_owned(),
        prefix: shown_part(key).to_owned(),
        hash: hash_key(key),
        scopes: scopes.to_stored(),
        origins: None,
        created_at: Timestamp::now(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
        successor: None,
        revision: 0,
        rescoped: 0,
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
