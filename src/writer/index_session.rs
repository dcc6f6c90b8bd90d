//! The session in which PostgreSQL builds indexes, watched from outside.
//!
//! Building an index may take an hour, so its statements have no deadline. A session whose connection has gone silent would be
//! waited for without end, and would keep the lock that other nodes need. So another connection asks the database whether it
//! still works on the statement.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::store::{
    Db, Lane, StoreError,
    collections::{
        backends::Backend,
        indexes::{IndexSession, IndexTask},
    },
};

/// How long opening the session may take.
const OPEN: Duration = Duration::from_secs(10);
/// How often the database is asked.
const LOOK: Duration = Duration::from_secs(4);
/// After so many answers in a row that the session does nothing, its own answer is lost. One may be on its way.
const LOOKS: u32 = 2;
/// How long closing the session may take. A silent connection is dropped after that.
const CLOSE: Duration = Duration::from_secs(2);

/// The session, and how the database sees it.
pub(super) struct WatchedSession {
    session: IndexSession,
    backend: Backend,
    db: Db,
    is_lost: AtomicBool,
}

impl WatchedSession {
    /// Opens a session. Returns `None` on SQLite, or if another process holds the lock.
    pub(super) async fn open(db: &Db) -> Result<Option<Self>, StoreError> {
        let open = async {
            let Some(session) = IndexSession::open(db).await? else { return Ok(None) };
            let backend = Backend::of(session.connection()).await?;
            Ok(Some(Self { session, backend, db: db.clone(), is_lost: AtomicBool::new(false) }))
        };
        tokio::time::timeout(OPEN, open).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
    }

    /// Returns the session, for work that [`WatchedSession::run`] runs.
    pub(super) fn session(&self) -> &IndexSession {
        &self.session
    }

    /// Runs work of the session, until it ends or the session is lost.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.lost() => Err(StoreError::no_answer()),
        };
        if outcome.as_ref().is_err_and(|err| !err.is_statement_error()) {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Builds the database's own indexes, or drops them.
    pub(super) async fn carry_out(&self, task: &IndexTask) -> Result<(), StoreError> {
        self.run(self.session.carry_out(task)).await
    }

    /// Closes the session. Returns its backend if the database may not have noticed, so that it is to be ended.
    pub(super) async fn close(self) -> Option<Backend> {
        let is_closed = tokio::time::timeout(CLOSE, self.session.close()).await.is_ok();
        (self.is_lost.into_inner() || !is_closed).then_some(self.backend)
    }

    /// Whether the session is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Returns when the database says that it does nothing for the session. While the database is away, nobody knows.
    async fn lost(&self) {
        let mut idle = 0;
        while idle < LOOKS {
            tokio::time::sleep(LOOK).await;
            let backend = self.backend.clone();
            let look = self.db.read(Lane::Point, |db| async move { backend.is_active(&db).await });
            match look.await {
                Ok(true) => idle = 0,
                Ok(false) => idle += 1,
                Err(_) => {}
            }
        }
    }
}
