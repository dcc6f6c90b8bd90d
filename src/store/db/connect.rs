//! Opening the pools: each connection's settings, and the migrations.

use std::{str::FromStr, time::Duration};

use migration::{Migrator, MigratorTrait};
use sea_orm::{DbBackend, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::store::{Db, IdleConnection, Result, StoreError, db::readers::Readers};

/// What a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the disk is waited for.
    Full,
    /// A crash of the process; a power cut may take the last writes.
    Normal,
}

/// Why the database could not be opened; a sentence for whoever starts the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is none of ours. It may hold a password, so it is not shown.
    #[error(
        "DATABASE_URL is not valid: {0}. Write sqlite://path/to/coir.db or postgres://user:password@host:5432/database"
    )]
    BadUrl(String),
    /// The file can't be read and written, or is no database.
    #[error(
        "the SQLite file {0} can't be used: {1}. It must be a database that the user running Coir may write, in a \
         directory that this user may write; COIR_DATA_DIR or DATABASE_URL names another"
    )]
    File(String, sqlx::Error),
    /// No connection came about within the patience of a read.
    #[error(
        "PostgreSQL at {0} does not answer. Is it running there? Check host and port in DATABASE_URL, or leave it out to use a SQLite file"
    )]
    Silent(String),
    /// It was reached, or its name not found, and refuses.
    #[error("PostgreSQL at {0} can't be used: {1}. Check DATABASE_URL, or leave it out to use a SQLite file")]
    Refused(String, sqlx::Error),
}

/// How long a request waits for a free connection, and a new one for its server.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection of SQLite waits for the writer of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A writer that hangs while it holds the head is ended by PostgreSQL.
const STATEMENT_TIMEOUT: &str = "10s";

pub(in crate::store) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Db, ConnectError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        connect_postgres(url, durability, query_limit).await
    } else if url.starts_with("sqlite:") {
        connect_sqlite(url, durability, query_limit).await
    } else {
        Err(ConnectError::BadUrl("the scheme is unknown".to_owned()))
    }
}

async fn connect_sqlite(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Db, ConnectError> {
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
    // The writer first: it creates the file and puts it into WAL mode, which readers can't.
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
    Ok(Db {
        backend: DbBackend::Sqlite,
        write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        idle: IdleConnection::default(),
        scan: Readers::sqlite(4, ACQUIRE_TIMEOUT, &readers, pool),
        point: Readers::sqlite(2, ACQUIRE_TIMEOUT, &readers, pool),
        postgres: None,
        query_limit,
        runtime: tokio::runtime::Handle::current(),
    })
}

async fn connect_postgres(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Db, ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|err| ConnectError::BadUrl(err.to_string()))?
        .application_name("coir")
        .disable_statement_logging();
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let explain = |err| match err {
        // A connection that is refused is tried again until then.
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
        // A writer that hangs must not hold its project's head for ever.
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
    ]);
    let reader = options.clone().options([
        ("statement_timeout", format!("{}ms", query_limit.as_millis()).as_str()),
        ("default_transaction_read_only", "on"),
        // All collections are one table: reading it from end to end is reading what belongs to others.
        ("enable_seqscan", "off"),
        // What is asked for is mostly in memory: following an index is worth it to spare a sort.
        ("random_page_cost", "1.1"),
    ]);
    let write = pool(1).connect_with(writer).await.map_err(explain)?;
    let scan = pool(8).connect_with(reader.clone()).await.map_err(explain)?;
    let point = pool(4).connect_with(reader).await.map_err(explain)?;
    let [write, scan, point] = [write, scan, point].map(SqlxPostgresConnector::from_sqlx_postgres_pool);
    Ok(Db {
        backend: DbBackend::Postgres,
        write,
        idle: IdleConnection::default(),
        scan: Readers::Pool(scan),
        point: Readers::Pool(point),
        postgres: Some(options),
        query_limit,
        runtime: tokio::runtime::Handle::current(),
    })
}

/// Any number, the same in every version of Coir: who holds this lock migrates.
const MIGRATION_LOCK: i64 = 0x0043_4f49_5221;

pub(in crate::store) async fn migrate(db: &Db) -> Result<()> {
    if db.backend != DbBackend::Postgres {
        return Ok(Migrator::up(&db.write, None).await?);
    }
    // The lock needs a session of its own; a reader's will do, since an advisory lock writes nothing.
    let lease = db.scan.lease(db.query_limit).await?;
    let connection = lease.connection();
    let mut session = connection.get_postgres_connection_pool().acquire().await.map_err(driver_error)?;
    lock(&mut session, "SELECT pg_advisory_lock($1)").await?;
    let migrated = Migrator::up(&db.write, None).await;
    lock(&mut session, "SELECT pg_advisory_unlock($1)").await?;
    Ok(migrated?)
}

async fn lock(session: &mut sqlx::PgConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).bind(MIGRATION_LOCK).execute(session).await.map(|_| ()).map_err(driver_error)
}

fn driver_error(err: sqlx::Error) -> StoreError {
    StoreError::custom(err.to_string())
}
