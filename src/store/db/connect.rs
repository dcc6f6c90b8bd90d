//! Opens the pools with each connection's settings, and migrates the schema.

use std::{str::FromStr, time::Duration};

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::store::{db::readers::Readers, error::Result};

/// The failures that a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: a commit waits for the disk.
    Full,
    /// A crash of the process. A power cut may take the last writes.
    Normal,
}

/// Why the database could not be opened. The message is for the person who starts the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is not shown, because it may hold a password.
    #[error(
        "DATABASE_URL (--database-url) is not valid: {0}; write sqlite://path/to/coir.db or postgres://user:password@host:5432/database"
    )]
    BadUrl(String),
    #[error(
        "the SQLite file {0} can't be opened: {1}; it must be a database that the user running Coir may write, in a \
         directory that this user may write; COIR_DATA_DIR (--data-dir) or DATABASE_URL (--database-url) names another"
    )]
    File(String, sqlx::Error),
    #[error(
        "PostgreSQL at {0} does not answer; check that it runs there, and the host and port in DATABASE_URL (--database-url), or leave \
         DATABASE_URL out to use a SQLite file"
    )]
    Silent(String),
    /// The server refused the connection, or its name is unknown.
    #[error(
        "PostgreSQL at {0} refused the connection: {1}; check DATABASE_URL (--database-url), or leave it out to use a SQLite file"
    )]
    Refused(String, sqlx::Error),
}

/// The connections to the database, by their purpose. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pools {
    pub(super) backend: DbBackend,
    /// One connection, which only the writer uses.
    pub(super) write: DatabaseConnection,
    pub(super) lanes: Lanes,
    /// How to open a session outside of the pools, on PostgreSQL.
    pub(super) postgres: Option<PgConnectOptions>,
}

/// The connections for reads. No lane can keep another one waiting.
#[derive(Clone)]
pub(super) struct Lanes {
    pub(super) point: Readers,
    pub(super) scan: Readers,
    pub(super) stream: Readers,
    pub(super) relay: Readers,
    /// On PostgreSQL that of scans, because an index is built in a session of its own there.
    pub(super) index: Readers,
}

impl Pools {
    /// Closes all connections, after SQLite's write-ahead log was written back.
    pub(super) async fn close(self) {
        if self.backend == DbBackend::Sqlite
            && let Err(err) = self.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!("could not write the log file back into the database: {err}");
        }
        let Lanes { point, scan, stream, relay, index } = self.lanes;
        let mut closed = Vec::new();
        for readers in [point, scan, stream, relay, index] {
            closed.push(readers.close().await);
        }
        closed.push(self.write.close().await);
        for err in closed.into_iter().filter_map(std::result::Result::err) {
            tracing::warn!("could not close the database: {err}");
        }
    }
}

/// How long a request waits for a free connection, and a new connection for its server.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long SQLite waits for the writer of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// When PostgreSQL ends a write that hangs. Until then it may hold the lock of a project's log.
const STATEMENT_TIMEOUT: &str = "10s";

/// Opens the pools of the database that a URL names.
pub(super) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Pools, ConnectError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        connect_postgres(url, durability, query_limit).await
    } else if url.starts_with("sqlite:") {
        connect_sqlite(url, durability).await
    } else {
        Err(ConnectError::BadUrl("unknown scheme".to_owned()))
    }
}

async fn connect_sqlite(url: &str, durability: Durability) -> std::result::Result<Pools, ConnectError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|err| ConnectError::BadUrl(err.to_string()))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        })
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    // The writer connects first: it creates the file and puts it into WAL mode, which readers can't.
    let pool = || {
        SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let explain = |err| ConnectError::File(options.get_filename().display().to_string(), err);
    let write = pool().min_connections(1).connect_with(options.clone()).await.map_err(explain)?;
    let readers = options.clone().pragma("query_only", "1");
    let lane = |count| Readers::sqlite(count, ACQUIRE_TIMEOUT, &readers, pool);
    Ok(Pools {
        backend: DbBackend::Sqlite,
        write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        lanes: Lanes { point: lane(2), scan: lane(5), stream: lane(6), relay: lane(2), index: lane(1) },
        postgres: None,
    })
}

async fn connect_postgres(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Pools, ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|err| ConnectError::BadUrl(err.to_string()))?
        .application_name("coir")
        .disable_statement_logging();
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let explain = |err| match err {
        // The pool retries a refused connection until its timeout.
        sqlx::Error::PoolTimedOut => ConnectError::Silent(place.clone()),
        err => ConnectError::Refused(place.clone(), err),
    };
    let pool = |connections: u32| {
        PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).max_lifetime(None)
    };
    let synchronous_commit = match durability {
        Durability::Full => "on",
        Durability::Normal => "off",
    };
    let writer = options.clone().options([
        ("synchronous_commit", synchronous_commit),
        ("statement_timeout", STATEMENT_TIMEOUT),
        // A process that hangs must not hold the lock of a project's log for ever.
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
    ]);
    let reader = options.clone().options([
        ("statement_timeout", format!("{}ms", query_limit.as_millis()).as_str()),
        ("default_transaction_read_only", "on"),
        // All collections share one table, so reading it from end to end reads what belongs to others.
        ("enable_seqscan", "off"),
        // The data is mostly in memory, so following an index is cheaper than a sort.
        ("random_page_cost", "1.1"),
    ]);
    let write = pool(1).connect_with(writer).await.map_err(explain)?;
    // The database has answered, so the lanes connect when they are used.
    let lane = |count: u32| {
        let pool = pool(count).connect_lazy_with(reader.clone());
        let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Readers::postgres(count as usize, ACQUIRE_TIMEOUT, pool)
    };
    let scan = lane(7);
    Ok(Pools {
        backend: DbBackend::Postgres,
        write: SqlxPostgresConnector::from_sqlx_postgres_pool(write),
        lanes: Lanes { point: lane(4), index: scan.clone(), scan, stream: lane(5), relay: lane(2) },
        postgres: Some(options),
    })
}

/// An arbitrary number that must be the same in every version of Coir: the holder of this advisory lock migrates.
const MIGRATION_LOCK: i64 = 0x0043_4f49_5221;

/// Migrates the schema, one process at a time.
pub(super) async fn migrate(pools: &Pools) -> Result<()> {
    if pools.backend != DbBackend::Postgres {
        return Ok(Migrator::up(&pools.write, None).await?);
    }
    // The lock needs a session of its own. A reader's session will do, because an advisory lock writes nothing.
    let borrowed = pools.lanes.scan.borrow(ACQUIRE_TIMEOUT).await?;
    let connection = borrowed.connection();
    let mut session = connection.get_postgres_connection_pool().acquire().await?;
    lock(&mut session, "SELECT pg_advisory_lock($1)").await?;
    let migrated = Migrator::up(&pools.write, None).await;
    lock(&mut session, "SELECT pg_advisory_unlock($1)").await?;
    Ok(migrated?)
}

async fn lock(session: &mut sqlx::PgConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).bind(MIGRATION_LOCK).execute(session).await?;
    Ok(())
}
