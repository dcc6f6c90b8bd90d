//! Sessions of users, cached while they last. The log says when one ends.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::AuthError;
use crate::{
    domain::{DocumentId, ProjectId, SessionId, Timestamp},
    store::{Db, Lane, access::sessions},
};

/// For how long what was read from the log counts. A process that slept, or can't read the log, asks the database each time.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// The most sessions that are cached. When there are more, the cache begins anew.
const MAX_KNOWN: usize = 50_000;
/// The most ended sessions that are remembered. A session that ended longer ago is found to be gone in the database.
const MAX_ENDED: usize = 50_000;

/// The sessions that users have. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    cache: Arc<RwLock<Cache>>,
}

/// A session that has not ended, as far as a request needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSession {
    pub project: ProjectId,
    pub user: DocumentId,
    pub signed_in_at: Timestamp,
    /// From here on it can't be refreshed any more, as far as was known when it was read.
    pub expires_at: Timestamp,
    /// For [`Sessions::is_in_doubt`].
    pub round: u64,
}

#[derive(Default)]
struct Cache {
    known: HashMap<SessionId, KnownSession>,
    /// A read that began before the end may still return the session.
    ended: HashSet<SessionId>,
    ended_in_order: VecDeque<SessionId>,
    /// Raised each time that sessions may have ended without being named. A read that began before is not kept.
    round: u64,
    confirmed_at: Option<Instant>,
}

impl Sessions {
    pub fn new(db: Db) -> Self {
        Self { db, cache: Arc::default() }
    }

    /// Returns the session with this id.
    ///
    /// # Errors
    /// [`AuthError::SessionEnded`] if there is none, or if it has expired.
    pub async fn find(&self, id: &SessionId) -> Result<KnownSession, AuthError> {
        let (known, round) = self.read(|cache| (cache.fresh(id), cache.round));
        if let Some(known) = known.filter(|known| known.expires_at > Timestamp::now()) {
            return Ok(KnownSession { round, ..known });
        }
        if self.has_ended(id) {
            return Err(AuthError::SessionEnded);
        }
        let wanted = id.clone();
        let found = self.db.read(Lane::Point, |db| async move { sessions::find(&db, &wanted).await }).await?;
        let found = found.filter(|session| session.expires_at > Timestamp::now());
        let session = found.ok_or(AuthError::SessionEnded)?;
        let known = KnownSession {
            project: session.project,
            user: session.user,
            signed_in_at: session.signed_in_at,
            expires_at: session.expires_at,
            round,
        };
        let mut cache = self.write();
        if cache.ended.contains(id) {
            return Err(AuthError::SessionEnded);
        }
        if cache.round == round {
            if cache.known.len() >= MAX_KNOWN {
                cache.known.clear();
            }
            cache.known.insert(id.clone(), known.clone());
        }
        Ok(known)
    }

    /// Whether this process knows that a session has ended.
    pub fn has_ended(&self, id: &SessionId) -> bool {
        self.read(|cache| cache.ended.contains(id))
    }

    /// Whether sessions may have ended without being named since one was found in this round.
    pub fn is_in_doubt(&self, round: u64) -> bool {
        self.read(|cache| cache.round != round)
    }

    /// Drops sessions from the cache, and refuses them from now on. Called when the log says that they have ended.
    pub fn forget(&self, ids: &[SessionId]) {
        let mut cache = self.write();
        for id in ids {
            cache.known.remove(id);
            if cache.ended.insert(id.clone()) {
                cache.ended_in_order.push_back(id.clone());
            }
        }
        while cache.ended_in_order.len() > MAX_ENDED {
            if let Some(oldest) = cache.ended_in_order.pop_front() {
                cache.ended.remove(&oldest);
            }
        }
    }

    /// Drops the cached sessions of a project. Some may have ended without this process hearing of it.
    pub fn restart(&self, project: &ProjectId) {
        let mut cache = self.write();
        cache.round += 1;
        cache.known.retain(|_, session| session.project != *project);
    }

    /// Drops every cached session, and puts all that were found in doubt.
    pub fn doubt_all(&self) {
        let mut cache = self.write();
        cache.round += 1;
        cache.known.clear();
    }

    /// Notes that at this time the process had heard of every entry of every log.
    pub fn confirm(&self, at: Instant) {
        self.write().confirmed_at = Some(at);
    }

    fn read<T>(&self, read: impl FnOnce(&Cache) -> T) -> T {
        read(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Cache> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Returns a session if what is known is as fresh as the log.
    fn fresh(&self, id: &SessionId) -> Option<KnownSession> {
        let is_fresh = self.confirmed_at.is_some_and(|at| at.elapsed() < FRESH_FOR);
        self.known.get(id).filter(|_| is_fresh).cloned()
    }
}
