//! The connections to the database, by their purpose, and why they could not be opened.

use std::{io::ErrorKind, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};

use crate::store::db::{
    checkpoints::Checkpoints,
    connection::{IdleConnection, Source},
    file_marks::{self, FileError},
    postgres::{error::OpenError, session::Opener},
    readers::Readers,
    writes_in_progress::WritesInProgress,
};

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
    #[error(transparent)]
    Unfit(#[from] FileError),
    #[error(transparent)]
    Postgres(#[from] OpenError),
}

impl ConnectError {
    /// Returns the place and the reason of a failure that time may mend, such as a server that is starting.
    pub fn temporary_reason(&self) -> Option<String> {
        match self {
            Self::Postgres(err) if err.is_temporary() => Some(err.reasons()),
            _ => None,
        }
    }
}

/// The connections to the database, by their purpose. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pools {
    /// Where the writer's connection comes from. Nobody else uses it.
    pub(super) writes: Source,
    /// The writer's connection, between two transactions.
    pub(super) idle: IdleConnection,
    pub(super) in_progress: WritesInProgress,
    /// What writes SQLite's log back.
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) lanes: Lanes,
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

impl Lanes {
    /// Returns the connections of every lane.
    pub(super) fn all(&self) -> Vec<Readers> {
        let Self { point, scan, stream, relay, index } = self;
        [point, scan, stream, relay, index].map(Readers::clone).into()
    }
}

impl Pools {
    pub(super) fn backend(&self) -> DbBackend {
        self.writes.backend()
    }

    /// Returns how sessions of PostgreSQL are opened.
    pub(super) fn opener(&self) -> Option<&Opener> {
        match &self.writes {
            Source::Sqlite(_) => None,
            Source::Postgres(opener, _) => Some(opener),
        }
    }

    /// Whether nothing can be written beside SQLite's file, because the file system is read-only or this user may not.
    pub(super) fn is_read_only_place(&self) -> bool {
        let Source::Sqlite(pool) = &self.writes else { return false };
        let options = pool.get_sqlite_connection_pool().connect_options();
        let probe = file_marks::companion(options.get_filename(), "-probe");
        let created = std::fs::File::create(&probe);
        // It may be another process's probe, which is gone then.
        let _ = std::fs::remove_file(&probe);
        created.is_err_and(|err| {
            matches!(err.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
        })
    }

    /// Closes all connections, after SQLite's write-ahead log was written back.
    pub(super) async fn close(self) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stop().await;
        }
        if let Some(connection) = self.idle.take() {
            connection.release().await;
        }
        if let Source::Sqlite(pool) = &self.writes
            && let Err(err) = pool.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!("could not write the log file back into the database: {err}");
        }
        let Lanes { point, scan, stream, relay, index } = self.lanes;
        let mut closed = Vec::new();
        for readers in [point, scan, stream, relay, index] {
            closed.push(readers.close().await);
        }
        if let Source::Sqlite(pool) = self.writes {
            if let Err(err) = mark_closed(&pool).await {
                tracing::warn!("could not mark the database as closed: {err}");
            }
            closed.push(pool.close().await);
        }
        for err in closed.into_iter().filter_map(std::result::Result::err) {
            tracing::warn!("could not close the database: {err}");
        }
    }
}

async fn mark_closed(pool: &DatabaseConnection) -> Result<(), sqlx::Error> {
    let pool = pool.get_sqlite_connection_pool();
    let mut connection = pool.acquire().await?;
    file_marks::close(&mut connection, pool.connect_options().get_filename()).await
}

/// How long a request waits for a free connection, and a new connection for its server.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
