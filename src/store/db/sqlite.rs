//! Opens the connections to SQLite.

use std::{str::FromStr, time::Duration};

use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::store::db::{
    checkpoints::{self, BUSY_TIMEOUT, Checkpoints},
    connection::{IdleConnection, Source},
    durability::Durability,
    file_marks::{self, FileError},
    pools::{ACQUIRE_TIMEOUT, ConnectError, Lanes, Pools},
    readers::Readers,
    url::is_sqlite,
    writes_in_progress::WritesInProgress,
};

/// How long the first connection may take. After a crash it first recovers the write-ahead log, which may be large.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a URL. A symbolic link is followed, because SQLite has the log beside the file itself.
fn options_of(url: &str) -> Result<SqliteConnectOptions, ConnectError> {
    let options = SqliteConnectOptions::from_str(url).map_err(|err| ConnectError::BadUrl(err.to_string()))?;
    Ok(match options.get_filename().canonicalize() {
        Ok(file) => options.filename(file),
        // It doesn't exist yet, or is no file.
        Err(_) => options,
    })
}

/// Opens the file that a URL names with one connection. Creates nothing and changes no mode of the file, which may be another
/// program's.
pub(super) async fn open_to_look(url: &str) -> Result<DatabaseConnection, ConnectError> {
    let options = options_of(url)?.busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
    let explain = |err| ConnectError::File(options.get_filename().display().to_string(), err);
    // Opening it would already replay a log that is not its own.
    file_marks::check(&options).await.map_err(explain)??;
    let file = options.get_filename().display().to_string();
    let pool =
        SqlitePoolOptions::new().max_connections(1).acquire_timeout(OPEN_TIMEOUT).connect_with(options);
    let pool = pool.await.map_err(|err| ConnectError::File(file, err))?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// Checks a file that was copied without its log, and accepts what is in it.
///
/// # Errors
/// [`ConnectError`], whose message is for the operator.
pub async fn accept_copy(url: &str) -> Result<(), ConnectError> {
    if !is_sqlite(url) {
        return Err(FileError::NoFile.into());
    }
    let options = options_of(url)?;
    let explain = |err| ConnectError::File(options.get_filename().display().to_string(), err);
    Ok(file_marks::accept_copy(&options).await.map_err(explain)??)
}

/// Opens the file that a URL names, or creates it.
pub(super) async fn connect(url: &str, durability: Durability) -> Result<Pools, ConnectError> {
    let options = options_of(url)?
        .create_if_missing(true)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        })
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let explain = |err| ConnectError::File(options.get_filename().display().to_string(), err);
    let _opened = file_marks::open(&options).await.map_err(explain)??;
    let options = options.clone().journal_mode(SqliteJournalMode::Wal);
    // The writer connects first: it creates the file and puts it into WAL mode, which readers can't.
    let pool = || {
        SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let writer = options
        .clone()
        .pragma("wal_autocheckpoint", checkpoints::WRITER_COPIES_FROM)
        .pragma("journal_size_limit", checkpoints::kept_bytes());
    let write = pool()
        .min_connections(1)
        .acquire_timeout(OPEN_TIMEOUT)
        .connect_with(writer)
        .await
        .map_err(explain)?;
    let readers = options.clone().pragma("query_only", "1");
    let writes = WritesInProgress::default();
    let lane = |count| Readers::sqlite(count, &writes, ACQUIRE_TIMEOUT, &readers, pool);
    let lanes = Lanes { point: lane(2), scan: lane(5), stream: lane(6), relay: lane(2), index: lane(1) };
    let idle = IdleConnection::default();
    Ok(Pools {
        writes: Source::Sqlite(SqlxSqliteConnector::from_sqlx_sqlite_pool(write)),
        checkpoints: Some(Checkpoints::start(options, lanes.all(), idle.clone())),
        idle,
        in_progress: writes,
        lanes,
    })
}
