//! Connections for reads, and what ends a statement that takes too long: PostgreSQL does it by itself, and SQLite asks a
//! handler from time to time whether to go on.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::{Result, StoreError};

/// After how many instructions of its machine SQLite asks: about a tenth of a millisecond.
const INSTRUCTIONS: i32 = 10_000;

/// The connections of one kind of reads. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) enum Readers {
    /// A pool, whose connections have a time limit of their own.
    Pool(DatabaseConnection),
    /// Single connections of SQLite, each with its deadline.
    Single { free: Arc<Mutex<Vec<Reader>>>, permits: Arc<Semaphore>, patience: Duration },
}

/// A connection of SQLite, as a pool of one that opens it when it is first used.
pub(in crate::store) struct Reader {
    connection: DatabaseConnection,
    deadline: Deadline,
}

/// When the statement that runs is ended; shared with the handler.
#[derive(Clone)]
struct Deadline(Arc<AtomicU64>);

/// A connection, for as long as one read takes.
pub(in crate::store) struct Lease {
    connection: DatabaseConnection,
    single: Option<Single>,
}

/// A single connection, where it goes back to, and what is given back after it.
struct Single {
    reader: Reader,
    free: Arc<Mutex<Vec<Reader>>>,
    permit: OwnedSemaphorePermit,
}

impl Readers {
    /// `count` connections of SQLite; a read waits for one for `patience`.
    pub(in crate::store) fn sqlite(
        count: usize,
        patience: Duration,
        options: &SqliteConnectOptions,
        pool: impl Fn() -> SqlitePoolOptions,
    ) -> Self {
        let reader = |_| {
            let deadline = Deadline::none();
            let watched = deadline.clone();
            let pool = pool().after_connect(move |connection, _| {
                let watched = watched.clone();
                Box::pin(async move {
                    let mut handle = connection.lock_handle().await?;
                    handle.set_progress_handler(INSTRUCTIONS, move || !watched.is_over());
                    Ok(())
                })
            });
            let connection =
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options.clone()));
            Reader { connection, deadline }
        };
        let free = Arc::new(Mutex::new((0..count).map(reader).collect()));
        Self::Single { free, permits: Arc::new(Semaphore::new(count)), patience }
    }

    /// Takes a connection. On SQLite, statements on it are ended after `limit`.
    pub(in crate::store) async fn lease(&self, limit: Duration) -> Result<Lease> {
        match self {
            Self::Pool(connection) => Ok(Lease { connection: connection.clone(), single: None }),
            Self::Single { free, permits, patience } => {
                let permit = tokio::time::timeout(*patience, permits.clone().acquire_owned()).await;
                let Ok(Ok(permit)) = permit else {
                    return Err(StoreError::custom("all connections for reads are taken"));
                };
                let reader = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let reader = reader.ok_or_else(|| StoreError::custom("there is no connection for reads"))?;
                reader.deadline.set(limit);
                let connection = reader.connection.clone();
                Ok(Lease { connection, single: Some(Single { reader, free: free.clone(), permit }) })
            }
        }
    }

    pub(in crate::store) async fn close(self) -> std::result::Result<(), sea_orm::DbErr> {
        match self {
            Self::Pool(connection) => connection.close().await,
            Self::Single { free, .. } => {
                let readers = std::mem::take(&mut *free.lock().unwrap_or_else(PoisonError::into_inner));
                for reader in readers {
                    reader.connection.close().await?;
                }
                Ok(())
            }
        }
    }
}

impl Lease {
    pub(in crate::store) fn connection(&self) -> DatabaseConnection {
        self.connection.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(Single { reader, free, permit }) = self.single.take() else { return };
        reader.deadline.clear();
        free.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        drop(permit);
    }
}

impl Deadline {
    fn none() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    fn set(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.0.store(now().saturating_add(limit), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        now() > self.0.load(Ordering::Relaxed)
    }
}

/// Milliseconds since some moment of this process.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX)
}
