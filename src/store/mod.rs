//! All SQL, and nothing else: functions take a connection or a transaction and speak of the domain's types.
//!
//! [`Db`] holds the pools. Reads go through [`Db::read`], which runs them on the main runtime in a task of their own;
//! writes happen in a [`WriteTx`], which only [`Db::begin_write`] opens. Both keep a database future from being
//! dropped half-way: a cancelled `begin` leaves a pooled PostgreSQL connection inside an open transaction.
//!
//! Reading order: this file, [`db`], [`sql`], [`log`], [`documents`], [`collections`], [`access`].

pub mod access;
pub mod collections;
pub mod db;
pub mod documents;
pub mod log;
pub mod sql;

use std::{future::Future, sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement, Value};

use db::{
    connect,
    readers::Readers,
    transaction::{self, IdleConnection, Param},
};
pub use db::{
    connect::{ConnectError, Durability},
    transaction::WriteTx,
};

/// The database failed, or can't be reached. Its cause is for the log, never for a caller.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the database failed: {0}")]
pub struct StoreError(pub Arc<DbErr>);

impl From<DbErr> for StoreError {
    fn from(err: DbErr) -> Self {
        Self(Arc::new(err))
    }
}

impl StoreError {
    /// Whether a unique index refused a row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self.0.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_)))
    }

    /// The unique index that refused a row, if the database names it.
    pub fn violated_index(&self) -> Option<String> {
        let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(driver))
        | DbErr::Query(sea_orm::RuntimeErr::SqlxError(driver))) = &*self.0
        else {
            return None;
        };
        let err = driver.as_database_error()?;
        if let Some(constraint) = err.constraint() {
            return Some(constraint.to_owned());
        }
        // SQLite names an index over expressions: UNIQUE constraint failed: index 'name'
        let (_, name) = err.message().split_once("index '")?;
        Some(name.strip_suffix('\'')?.to_owned())
    }

    /// Whether a statement was refused because of what it says, rather than because the database is in trouble.
    pub fn is_statement_error(&self) -> bool {
        let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(driver))
        | DbErr::Query(sea_orm::RuntimeErr::SqlxError(driver))) = &*self.0
        else {
            return false;
        };
        let Some(err) = driver.as_database_error() else { return false };
        let code = err.code().unwrap_or_default();
        if err.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // Data exceptions, integrity violations, limits of the program.
            return ["22", "23", "54"].iter().any(|class| code.starts_with(class));
        }
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH; an extended code has its primary in the low byte.
        code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
    }

    /// Whether a statement was ended because it took too long.
    pub fn is_timeout(&self) -> bool {
        let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(driver))
        | DbErr::Query(sea_orm::RuntimeErr::SqlxError(driver))) = &*self.0
        else {
            return false;
        };
        // query_canceled of PostgreSQL, SQLITE_INTERRUPT.
        let code = driver.as_database_error().and_then(|err| err.code());
        code.is_some_and(|code| code == "57014" || code == "9")
    }

    /// Whether the connection is gone, so that a new one may do better: not so for a lock that is held, or a timeout.
    pub fn is_connection_error(&self) -> bool {
        let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(driver))
        | DbErr::Query(sea_orm::RuntimeErr::SqlxError(driver))) = &*self.0
        else {
            return false;
        };
        match &**driver {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => true,
            // 57P01 to 57P03 of PostgreSQL: it is shutting down, crashed, or starting up.
            sqlx::Error::Database(err) => err.code().is_some_and(|code| code.starts_with("57P")),
            _ => false,
        }
    }

    /// The database hangs.
    pub fn no_answer() -> Self {
        Self::custom("it does not answer")
    }

    pub(crate) fn custom(message: impl Into<String>) -> Self {
        DbErr::Custom(message.into()).into()
    }
}

/// Result of everything in this module.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A statement with one text for each database.
#[derive(Clone, Copy)]
struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Sql {
    const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }

    fn bind(self, backend: DbBackend, values: impl IntoIterator<Item = Value>) -> Statement {
        let text = if backend == DbBackend::Postgres { self.postgres } else { self.sqlite };
        Statement::from_sql_and_values(backend, text, values)
    }
}

/// The database and its pools. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    backend: DbBackend,
    /// One connection, used by the writer alone.
    write: DatabaseConnection,
    /// That connection, between two transactions.
    idle: IdleConnection,
    /// Scans: lists and the log.
    scan: Readers,
    /// Reads by id, which no scan can hold up.
    point: Readers,
    /// How sessions of their own are opened, on PostgreSQL.
    postgres: Option<sqlx::postgres::PgConnectOptions>,
    /// How long a read may take.
    query_limit: Duration,
    /// The main runtime: a PostgreSQL connection belongs to the runtime that opened it.
    runtime: tokio::runtime::Handle,
}

/// How much longer than it may take a read is waited for: the database ends it before, unless it hangs.
const GRACE: Duration = Duration::from_secs(5);

/// Which connections a read uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads by id.
    Point,
    /// Reads that may take long.
    Scan,
}

impl Db {
    /// Opens the pools, on the runtime that this is called from. Nothing is created or migrated. A read that takes longer than
    /// `query_limit` is ended.
    ///
    /// # Errors
    /// [`ConnectError`] with a sentence for whoever starts the server.
    pub async fn connect(
        url: &str,
        durability: Durability,
        query_limit: Duration,
    ) -> std::result::Result<Self, ConnectError> {
        connect::connect(url, durability, query_limit).await
    }

    /// Brings the schema up to date; safe beside other processes that do the same.
    ///
    /// # Errors
    /// The database's own.
    pub async fn migrate(&self) -> Result<()> {
        connect::migrate(self).await
    }

    /// Runs `read` on a pooled connection, in a task of the main runtime that ends even if the caller hangs up.
    ///
    /// # Errors
    /// What `read` returns, or that its task ended early because the runtime is shutting down. That it took
    /// [too long](StoreError::is_timeout).
    pub async fn read<T, F, R>(&self, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(DatabaseConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        self.read_within(self.query_limit, lane, read).await
    }

    /// The same with another time limit, which PostgreSQL doesn't know of: there it is to be less than the usual one.
    ///
    /// # Errors
    /// As those of [`Db::read`].
    pub async fn read_within<T, F, R>(&self, limit: Duration, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(DatabaseConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let readers = match lane {
            Lane::Point => self.point.clone(),
            Lane::Scan => self.scan.clone(),
        };
        let task = self.runtime.spawn(async move {
            let lease = readers.lease(limit).await?;
            let outcome = read(lease.connection()).await;
            drop(lease);
            outcome
        });
        match tokio::time::timeout(limit.saturating_add(GRACE), task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::custom("the read was cut short by the shutdown")),
            Err(_) => Err(StoreError::no_answer()),
        }
    }

    /// How long a read may take.
    pub fn query_limit(&self) -> Duration {
        self.query_limit
    }

    /// Whether it is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    /// Opens a write transaction. Only the writer calls it while a server runs: SQLite has one writer, and so has each
    /// node.
    ///
    /// # Errors
    /// The database's own, also when no connection is to be had.
    pub async fn begin_write(&self) -> Result<WriteTx> {
        transaction::begin(&self.write, self.backend, &self.idle).await
    }

    /// Whether the database answers within `limit`.
    pub async fn is_reachable(&self, limit: Duration) -> bool {
        let probe = self.read(Lane::Point, |db| async move { Ok(db.execute_unprepared("SELECT 1").await?) });
        matches!(tokio::time::timeout(limit, probe).await, Ok(Ok(_)))
    }

    /// How the writer's connection is set: `synchronous` of SQLite (2 is FULL), `synchronous_commit` of PostgreSQL.
    ///
    /// # Errors
    /// The database's own.
    pub async fn durability_report(&self) -> Result<String> {
        let sql = Sql { sqlite: "PRAGMA synchronous", postgres: "SHOW synchronous_commit" };
        let mut tx = self.begin_write().await?;
        let rows = tx.query(sql, []).await?;
        tx.rollback().await?;
        let row = rows.first().ok_or_else(|| StoreError::custom("no answer"))?;
        Ok(match self.backend {
            DbBackend::Postgres => format!("synchronous_commit = {}", row.try_get_by_index::<String>(0)?),
            _ => format!("synchronous = {}", row.try_get_by_index::<i64>(0)?),
        })
    }

    /// Ends the pools; on SQLite the log file is first written back, so that the data is one file.
    pub async fn close(self) {
        self.idle.release();
        if self.backend == DbBackend::Sqlite
            && let Err(err) = self.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!("could not write the log file back into the database: {err}");
        }
        let closed = [self.point.close().await, self.scan.close().await, self.write.close().await];
        for err in closed.into_iter().filter_map(std::result::Result::err) {
            tracing::warn!("could not close the database: {err}");
        }
    }
}
