//! The database: its pools, and the two ways to use them. Reads run in [`Db::read`], writes in [`Db::begin_write`].

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbBackend};
use tokio::sync::Mutex;

use crate::store::{
    db::{
        connect,
        durability::{self, Durability},
        migrate::{self, MigrateError},
        pools::{ConnectError, Pools},
        postgres::session::Opener,
        read_connection::ReadConnection,
        readers::Readers,
        sqlite,
        statement::Sql,
        transaction::{self, WriteTx},
        url::{DatabaseUrl, is_postgres},
    },
    error::{Result, StoreError, Trouble},
    outage::{Outage, Wording},
};

/// The database and its pools. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    /// How long a read may take.
    query_limit: Duration,
    /// When the database last answered a health check.
    answered_at: Arc<Mutex<Option<Instant>>>,
    /// What the log says of reads that fail.
    outage: Arc<Outage>,
    /// The main runtime. A PostgreSQL connection belongs to the runtime that opened it.
    runtime: tokio::runtime::Handle,
    /// The runtime of reads that take long, if they have one.
    long_reads: Option<tokio::runtime::Handle>,
}

/// Why a database that must be there can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenExistingError {
    #[error("the file does not exist")]
    Missing,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Schema(#[from] MigrateError),
}

/// How much longer than its limit a read is waited for. The database ends the read before that, unless it hangs.
const GRACE: Duration = Duration::from_secs(2);

/// How long a read may wait for its connection: for a free one, for a sign of life of it, and for a new one.
const BORROW_TIMEOUT: Duration = Duration::from_secs(7);

/// What the log says of reads. It is told by the database's own failures, and not by what a request asks for.
const READS: Wording = Wording {
    fails: "the database can't be read",
    again: "the database can be read again",
    counted: "reads",
    quiet: Duration::from_secs(1),
};

/// For how long the answer to a health check counts.
const MOMENT: Duration = Duration::from_millis(100);

/// The connections that a read uses. Each kind has its own, so that it waits for nothing but its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Reads of single rows by their ids, for requests.
    Point,
    /// Reads for requests that may take long: lists, counts, exports. `service::scans` says whose turn it is.
    Scan,
    /// Reads of live streams: snapshots, the log, and where it ends.
    Stream,
    /// The relay, which every subscriber waits for, and the health check.
    Relay,
    /// Reads for the building of an index, which may take an hour.
    Index,
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
        let outage = Arc::new(Outage::new(READS));
        Ok(Self { pools, query_limit, answered_at: Arc::default(), outage, runtime, long_reads: None })
    }

    /// Opens the pools of a database that is there and has this version's schema. Nothing is created or changed, also not where
    /// another program's database is.
    ///
    /// # Errors
    /// [`OpenExistingError`].
    pub async fn open_existing(
        url: &DatabaseUrl,
        durability: Durability,
        query_limit: Duration,
    ) -> std::result::Result<Self, OpenExistingError> {
        if !is_postgres(url) {
            if url.file().is_some_and(|file| !file.exists()) {
                return Err(OpenExistingError::Missing);
            }
            let session = sqlite::open_to_look(url).await?;
            let checked = migrate::check(&session).await;
            if let Err(err) = session.close().await {
                tracing::debug!("could not close the connection that looks at the schema: {err}");
            }
            checked?;
        }
        let db = Self::connect(url, durability, query_limit).await?;
        if let Some(opener) = db.opener() {
            migrate::check_postgres(opener).await?;
        }
        Ok(db)
    }

    /// Has queries and the reads of streams run on another runtime: making documents of what the database returns takes processor
    /// time, for which the writer needn't wait. To be called before the first read.
    #[must_use]
    pub fn with_long_reads_on(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.long_reads = Some(runtime);
        self
    }

    /// Migrates the schema. Other processes may do the same at the same time; one of them does it, and the others wait.
    ///
    /// # Errors
    /// [`MigrateError`], whose message is for the person who starts the server.
    pub async fn migrate(&self) -> std::result::Result<(), MigrateError> {
        migrate::migrate(&self.pools).await
    }

    /// Runs `read` on a pooled connection, in a task of the main runtime that ends even if the caller goes away.
    ///
    /// # Errors
    /// The errors of `read`, a [timeout](StoreError::is_timeout), or the end of the runtime.
    pub async fn read<T, F, R>(&self, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(ReadConnection) -> R + Send + 'static,
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
        F: FnOnce(ReadConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let outcome = self.run_read(limit, lane, read).await;
        match &outcome {
            Ok(_) => self.outage.note_success(),
            Err(err) if err.is_outage() => self.outage.note_failure(err, 1),
            Err(_) => {}
        }
        outcome
    }

    async fn run_read<T, F, R>(&self, limit: Duration, lane: Lane, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(ReadConnection) -> R + Send + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let readers = self.readers(lane).clone();
        let (longest, is_postgres) = (limit.saturating_add(GRACE), self.is_postgres());
        let runtime = match lane {
            Lane::Scan | Lane::Stream | Lane::Index => self.long_reads.as_ref().unwrap_or(&self.runtime),
            Lane::Point | Lane::Relay => &self.runtime,
        };
        let task = runtime.spawn(async move {
            let borrowed = readers.borrow(limit).await?;
            let work = read(borrowed.connection());
            if !is_postgres {
                // SQLite's own deadline ends it. A statement that was dropped would still run on the connection.
                return work.await;
            }
            // The session that does not answer goes with the future, and the next read opens another one.
            tokio::time::timeout(longest, work).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
        });
        match tokio::time::timeout(longest.saturating_add(BORROW_TIMEOUT), task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(err)) if err.is_panic() => Err(StoreError::panicked()),
            Ok(Err(_)) => Err(StoreError::custom("the read was cut short by the shutdown")),
            Err(_) => Err(StoreError::no_answer()),
        }
    }

    fn readers(&self, lane: Lane) -> &Readers {
        match lane {
            Lane::Point => &self.pools.lanes.point,
            Lane::Scan => &self.pools.lanes.scan,
            Lane::Stream => &self.pools.lanes.stream,
            Lane::Relay => &self.pools.lanes.relay,
            Lane::Index => &self.pools.lanes.index,
        }
    }

    /// Returns how many reads a lane can do at the same time.
    pub fn connections(&self, lane: Lane) -> usize {
        self.readers(lane).count()
    }

    /// Returns how long a read may take.
    pub fn query_limit(&self) -> Duration {
        self.query_limit
    }

    pub fn is_postgres(&self) -> bool {
        self.pools.backend() == DbBackend::Postgres
    }

    /// Returns how to open a session of PostgreSQL beside those of the lanes.
    pub(in crate::store) fn opener(&self) -> Option<&Opener> {
        self.pools.opener()
    }

    /// Opens a write transaction. While a server runs, only the writer may call this: SQLite allows one writer, and each
    /// node has one.
    ///
    /// # Errors
    /// A database failure, also if there is no connection to be had.
    pub async fn begin_write(&self) -> Result<WriteTx> {
        transaction::begin(&self.pools).await
    }

    /// Asks whether the database answers within `limit`, or has answered this question a moment ago. Those who ask at the same time
    /// share one statement, because nobody needs a key to ask.
    ///
    /// # Errors
    /// What is wrong with the database.
    pub async fn check_reachable(&self, limit: Duration) -> std::result::Result<(), Trouble> {
        let ask = async {
            let mut answered_at = self.answered_at.lock().await;
            if answered_at.is_some_and(|at| at.elapsed() < MOMENT) {
                return Ok(());
            }
            let answer = self.probe(limit).await.map_err(|err| err.trouble());
            *answered_at = answer.is_ok().then(Instant::now);
            answer
        };
        tokio::time::timeout(limit, ask).await.unwrap_or(Err(Trouble::Away))
    }

    /// Asks for a sign of life. A session that gives none within `limit` does not keep the next question waiting.
    async fn probe(&self, limit: Duration) -> Result<()> {
        let probe = |db: ReadConnection| async move { Ok(db.execute_unprepared("SELECT 1").await?) };
        self.read_within(limit, Lane::Relay, probe).await.map(drop)
    }

    /// Returns what is wrong with the database, as [`StoreError::trouble`], and looks where SQLite doesn't say it: it has one error
    /// for everything that the file system refuses.
    pub fn find_trouble(&self, err: &StoreError) -> Trouble {
        match err.trouble() {
            Trouble::Failing | Trouble::NoDescriptors if self.pools.is_read_only_place() => Trouble::ReadOnly,
            trouble => trouble,
        }
    }

    /// Returns the durability of the writer's connection in words, with the database's own setting as the database reports it:
    /// `durability full (SQLite synchronous=FULL)`.
    ///
    /// # Errors
    /// A database failure.
    pub async fn durability_report(&self) -> Result<String> {
        let sql = Sql { sqlite: "PRAGMA synchronous", postgres: "SHOW synchronous_commit" };
        let mut tx = self.begin_write().await?;
        let rows = tx.query(sql, []).await?;
        tx.rollback().await?;
        let row = rows.first().ok_or_else(|| StoreError::custom("the database returned no setting"))?;
        Ok(match self.pools.backend() {
            DbBackend::Postgres => durability::report_of_postgres(&row.try_get_by_index::<String>(0)?),
            _ => durability::report_of_sqlite(row.try_get_by_index(0)?),
        })
    }

    /// Closes the pools. On SQLite the write-ahead log is first written back, so that the data is one file.
    pub async fn close(self) {
        self.pools.close().await;
    }
}
