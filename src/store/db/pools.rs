//! The connections to the database, by their purpose, and why they could not be opened.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use sqlx::postgres::PgConnectOptions;

use crate::store::db::readers::Readers;

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
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
