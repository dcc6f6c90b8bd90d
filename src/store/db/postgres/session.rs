//! Sessions of PostgreSQL: how they are opened, and when they are given up.
//!
//! The driver's own pool is not used, because it waits without a limit for a connection whose network went silent, and holds
//! its place in the pool meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgPoolOptions};
use tokio::time::timeout;

use super::{
    error::{OpenError, Reason, Unfit},
    settings::{self, Purpose},
    url::Server,
};

/// How long a server may take to open a session. With several servers, one that is silent takes less from the next.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
const OPEN_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(2);
/// How long a session that was idle may take to show that it is still there.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// A session that was used within this time is not asked whether it is still there.
const TRUST: Duration = Duration::from_millis(500);
/// After this time a session is asked whether its server still takes writes.
const CHECK: Duration = Duration::from_secs(10);
/// After this time a session is replaced, so that the nodes find a server that has come or changed its address.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// After this time without use a session is closed when its lane is used next.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// Opens sessions on the first server that takes writes. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Opener(Arc<Inner>);

struct Inner {
    servers: Vec<Server>,
    /// The place of the server that took the last session, which is asked first.
    last: AtomicUsize,
    /// Counts how often all sessions were given up.
    generation: AtomicUsize,
}

/// An open session with its settings in force.
pub(in crate::store) struct Session {
    pub(in crate::store) connection: PgConnection,
    opener: Opener,
    generation: usize,
    opened_at: Instant,
    checked_at: Instant,
    used_at: Instant,
}

impl Opener {
    pub(super) fn new(servers: Vec<Server>) -> Self {
        Self(Arc::new(Inner { servers, last: AtomicUsize::new(0), generation: AtomicUsize::new(0) }))
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`OpenError`] with the reason of each server.
    pub(in crate::store) async fn open(&self, purpose: Purpose) -> Result<Session, OpenError> {
        let Inner { servers, last, generation } = &*self.0;
        // Read first: what is given up meanwhile includes this session.
        let born = generation.load(Ordering::Relaxed);
        let limit = if servers.len() > 1 { OPEN_TIMEOUT_OF_SEVERAL } else { OPEN_TIMEOUT };
        let first = last.load(Ordering::Relaxed);
        // The others in the order of the URL.
        let others = (0..servers.len()).filter(|at| *at != first);
        let mut reasons = Vec::new();
        for at in std::iter::once(first).chain(others) {
            let server = &servers[at];
            let reason = match timeout(limit, server.open(purpose)).await {
                Ok(Ok(connection)) => {
                    if last.swap(at, Ordering::Relaxed) == at {
                        return Ok(self.begin(connection, born));
                    }
                    // Sessions of the server that took writes before must not be read from any longer.
                    self.give_up_all();
                    return Ok(self.begin(connection, generation.load(Ordering::Relaxed)));
                }
                Ok(Err(reason)) => reason,
                Err(_) => Reason::Silent,
            };
            reasons.push((at, (server.place.clone(), reason)));
        }
        reasons.sort_by_key(|(at, _)| *at);
        Err(OpenError(reasons.into_iter().map(|(_, reason)| reason).collect()))
    }

    /// Makes every open session old, because the server that they belong to may no longer be the one that takes writes.
    pub(in crate::store) fn give_up_all(&self) {
        self.0.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns a pool of the driver with one session, for what takes nothing else.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(in crate::store) async fn pool(&self, purpose: Purpose) -> Result<DatabaseConnection, OpenError> {
        // The pool would not tell why it cannot connect.
        self.open(purpose).await?.close().await;
        let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = pool.after_connect(move |connection, _| {
            Box::pin(async move {
                settings::apply(connection, purpose).await.map_err(|unfit| match unfit {
                    Unfit::Failed(err) => err,
                    unfit => sqlx::Error::Configuration(unfit.into()),
                })
            })
        });
        let pool = pool.connect_lazy_with(self.server().options.clone());
        Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
    }

    /// Makes the error for what was found out about the last server after a session was open.
    pub(super) fn error(&self, unfit: Unfit) -> OpenError {
        OpenError([(self.server().place.clone(), Reason::Unfit(unfit))].into())
    }

    fn server(&self) -> &Server {
        &self.0.servers[self.0.last.load(Ordering::Relaxed)]
    }

    fn begin(&self, connection: PgConnection, generation: usize) -> Session {
        let now = Instant::now();
        Session {
            connection,
            opener: self.clone(),
            generation,
            opened_at: now,
            checked_at: now,
            used_at: now,
        }
    }
}

impl Server {
    async fn open(&self, purpose: Purpose) -> Result<PgConnection, Reason> {
        let mut connection = self.options.connect().await.map_err(Reason::Failed)?;
        settings::apply(&mut connection, purpose).await.map_err(Reason::Unfit)?;
        Ok(connection)
    }
}

impl Session {
    /// Notes that the session was used until now.
    pub(in crate::store) fn note_use(&mut self) {
        self.used_at = Instant::now();
    }

    /// Whether the session may be used again. One that was idle is asked whether it is still there, and any one now and then
    /// whether its server still takes writes.
    pub(in crate::store) async fn is_good(&mut self) -> bool {
        if self.is_old() {
            return false;
        }
        if self.checked_at.elapsed() > CHECK {
            return match timeout(PING_TIMEOUT, settings::is_read_only(&mut self.connection)).await {
                Ok(Ok(false)) => {
                    self.checked_at = Instant::now();
                    true
                }
                Ok(Ok(true)) => {
                    self.opener.give_up_all();
                    false
                }
                _ => false,
            };
        }
        self.used_at.elapsed() < TRUST
            || matches!(timeout(PING_TIMEOUT, self.connection.ping()).await, Ok(Ok(())))
    }

    /// Whether the session is to be replaced.
    pub(in crate::store) fn is_old(&self) -> bool {
        self.generation != self.opener.0.generation.load(Ordering::Relaxed)
            || self.opened_at.elapsed() > LIFETIME
            || self.used_at.elapsed() > IDLE
    }

    /// Closes the session of a writer that failed. Its server may not be the one that takes writes any more, so all other
    /// sessions are replaced as well.
    pub(in crate::store) fn give_up(self) {
        self.opener.give_up_all();
    }

    /// Closes the session and tells the server.
    pub(in crate::store) async fn close(self) {
        // The server notices without it, too.
        let _ = timeout(PING_TIMEOUT, self.connection.close()).await;
    }
}
