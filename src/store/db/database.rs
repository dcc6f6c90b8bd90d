//! The database: its pools, and the two ways to use them. Reads run in [`Db::read`], writes in [`Db::begin_write`].

use std::{future::Future, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use sqlx::postgres::PgConnectOptions;

use crate::store::{
    db::{
        connect::{self, ConnectError, Durability, Pools},
        connection::IdleConnection,
        statement::Sql,
        transaction::{self, WriteTx},
    },
    error::{Result, StoreError},
};

/// The database and its pools. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    /// The writer's connection, between two transactions.
    idle: IdleConnection,
    /// How long a read may take.
    query_limit: Duration,
    /// The main runtime. A PostgreSQL connection belongs to the runtime that opened it.
    runtime: tokio::runtime::Handle,
}

/// How much longer than its limit a read is waited for. The database ends the read before that, unless it hangs.
const GRACE: Duration = Duration::from_secs(5);

/// The connections that a read uses. There are two kinds, so that a long read never holds up a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads of single rows by their ids.
    Point,
    /// Reads that may take long: lists and the log.
    Scan,
}

impl Db {
    /// Opens the pools on the current runtime. Nothing is created or migrated. A read that takes longer than `query_limit`
    /// is ended.
    ///
    /// # Errors
    /// [`ConnectError`], whose message is for the person who starts the server.
    pub async fn connect(
        url: &str,
        durability: Durability,
        query_limit: Duration,
    ) -> std::result::Result<Self, ConnectError> {
        let pools = connect::connect(url, durability, query_limit).await?;
        let runtime = tokio::runtime::Handle::current();
        Ok(Self { pools, idle: IdleConnection::default(), query_limit, runtime })
    }

    /// Migrates the schema. Other processes may do the same at the same time.
    ///
    /// # Errors
    /// A database failure.
    pub async fn migrate(&self) -> Result<()> {
        connect::migrate(&self.pools).await
    }

    /// Runs `read` on a pooled connection, in a task of the main runtime that ends even if the caller goes away.
    ///
    /// # Errors
    /// The errors of `read`, a [timeout](StoreError::is_timeout), or the end of the runtime.
    pub async fn read<T, F, R>(&self, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(DatabaseConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        self.read_within(self.query_limit, lane, read).await
    }

    /// Runs `read` like [`Db::read`], with another time limit. PostgreSQL has one limit for all reads, so `limit` must be
    /// shorter than that.
    ///
    /// # Errors
    /// Those of [`Db::read`].
    pub async fn read_within<T, F, R>(&self, limit: Duration, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(DatabaseConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let readers = match lane {
            Lane::Point => self.pools.point.clone(),
            Lane::Scan => self.pools.scan.clone(),
        };
        let task = self.runtime.spawn(async move {
            let borrowed = readers.borrow(limit).await?;
            let outcome = read(borrowed.connection()).await;
            drop(borrowed);
            outcome
        });
        match tokio::time::timeout(limit.saturating_add(GRACE), task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::custom("the read was cut short by the shutdown")),
            Err(_) => Err(StoreError::no_answer()),
        }
    }

    /// Returns how long a read may take.
    pub fn query_limit(&self) -> Duration {
        self.query_limit
    }

    pub fn is_postgres(&self) -> bool {
        self.pools.backend == DbBackend::Postgres
    }

    /// Returns how to open a session of PostgreSQL outside of the pools.
    pub(in crate::store) fn postgres_options(&self) -> Option<&PgConnectOptions> {
        self.pools.postgres.as_ref()
    }

    /// Opens a write transaction. While a server runs, only the writer may call this: SQLite allows one writer, and each
    /// node has one.
    ///
    /// # Errors
    /// A database failure, also if there is no connection to be had.
    pub async fn begin_write(&self) -> Result<WriteTx> {
        transaction::begin(&self.pools.write, self.pools.backend, &self.idle).await
    }

    /// Whether the database answers within `limit`.
    pub async fn is_reachable(&self, limit: Duration) -> bool {
        let probe = self.read(Lane::Point, |db| async move { Ok(db.execute_unprepared("SELECT 1").await?) });
        matches!(tokio::time::timeout(limit, probe).await, Ok(Ok(_)))
    }

    /// Returns the durability setting of the writer's connection: `synchronous` of SQLite (2 is FULL), or
    /// `synchronous_commit` of PostgreSQL.
    ///
    /// # Errors
    /// A database failure.
    pub async fn durability_report(&self) -> Result<String> {
        let sql = Sql { sqlite: "PRAGMA synchronous", postgres: "SHOW synchronous_commit" };
        let mut tx = self.begin_write().await?;
        let rows = tx.query(sql, []).await?;
        tx.rollback().await?;
        let row = rows.first().ok_or_else(|| StoreError::custom("the database returned no setting"))?;
        Ok(match self.pools.backend {
            DbBackend::Postgres => format!("synchronous_commit = {}", row.try_get_by_index::<String>(0)?),
            _ => format!("synchronous = {}", row.try_get_by_index::<i64>(0)?),
        })
    }

    /// Closes the pools. On SQLite the write-ahead log is first written back, so that the data is one file.
    pub async fn close(self) {
        self.idle.release();
        self.pools.close().await;
    }
}
