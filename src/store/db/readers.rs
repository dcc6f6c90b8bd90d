//! Connections for reads, and the end of statements that take too long. PostgreSQL ends them by itself. SQLite asks a
//! progress handler every few instructions whether to go on.

use std::{
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::{
    db::{
        postgres::{
            session::{Opener, Session},
            settings::Purpose,
        },
        read_connection::ReadConnection,
        writes_in_progress::{ReadTurn, WritesInProgress},
    },
    error::{Result, StoreError},
};

/// After how many instructions of its virtual machine SQLite asks: some microseconds over small documents, and some
/// milliseconds over large ones.
const INSTRUCTIONS: i32 = 100;
/// A statement that has run for so many milliseconds is long.
const LONG: u64 = 10;
/// After how much work a long statement rests while a write is in progress. It rests for as long as it has worked, up to the
/// second value. Of all long statements one works at a time then, so they leave half of a processor to others.
const REST: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(20)];
/// How long a statement waits before it asks again for its turn.
const NO_TURN: Duration = Duration::from_millis(2);

/// The connections for one lane of reads. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct Readers {
    connections: Connections,
    count: usize,
    /// One for each connection. They tell a lane that is busy from a database that is away.
    permits: Arc<Semaphore>,
    acquire_timeout: Duration,
}

#[derive(Clone)]
enum Connections {
    /// Sessions of PostgreSQL, which have a time limit of their own.
    Sessions(Arc<Sessions>),
    /// Single connections of SQLite, each with its deadline.
    Single(FreeReaders),
}

/// The SQLite connections that no read uses at the moment.
type FreeReaders = Arc<Mutex<Vec<Reader>>>;

/// A connection of SQLite: a pool of one, which opens it on first use.
pub(in crate::store) struct Reader {
    connection: DatabaseConnection,
    deadline: Deadline,
}

/// When the read began, when it is ended, and its turn among the long ones. Shared with the progress handler.
#[derive(Clone)]
struct Deadline(Arc<Timing>);

struct Timing {
    begin: AtomicU64,
    end: AtomicU64,
    turn: Mutex<Option<ReadTurn>>,
}

/// The PostgreSQL sessions that no read uses at the moment, and how to open more.
struct Sessions {
    free: Mutex<Vec<Session>>,
    opener: Opener,
    purpose: Purpose,
}

/// A connection that one read borrows, until this is dropped.
pub(in crate::store) struct Borrowed {
    connection: ReadConnection,
    home: Home,
    _permit: OwnedSemaphorePermit,
}

/// Where a connection returns to.
enum Home {
    Single(Option<Reader>, FreeReaders),
    Sessions(Arc<Sessions>),
}

impl Readers {
    /// Makes `count` connections of SQLite. A read waits at most `acquire_timeout` for one of them. Long statements give
    /// way to `writes`.
    pub(in crate::store) fn sqlite(
        count: usize,
        writes: &WritesInProgress,
        acquire_timeout: Duration,
        options: &SqliteConnectOptions,
        pool: impl Fn() -> SqlitePoolOptions,
    ) -> Self {
        let reader = |_| {
            let deadline = Deadline::none();
            let (watched, writes) = (deadline.clone(), writes.clone());
            let pool = pool().after_connect(move |connection, _| {
                let (watched, writes) = (watched.clone(), writes.clone());
                Box::pin(async move {
                    let mut handle = connection.lock_handle().await?;
                    // It runs on the connection's own thread.
                    let mut since = Instant::now();
                    handle.set_progress_handler(INSTRUCTIONS, move || {
                        watched.give_way_to(&writes, &mut since);
                        !watched.is_over()
                    });
                    Ok(())
                })
            });
            let connection =
                SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options.clone()));
            Reader { connection, deadline }
        };
        let free = Arc::new(Mutex::new((0..count).map(reader).collect()));
        Self::new(Connections::Single(free), count, acquire_timeout)
    }

    /// Makes a lane of at most `count` sessions of PostgreSQL, which are opened when they are used.
    pub(in crate::store) fn postgres(
        count: usize,
        acquire_timeout: Duration,
        opener: Opener,
        purpose: Purpose,
    ) -> Self {
        let sessions = Sessions { free: Mutex::default(), opener, purpose };
        Self::new(Connections::Sessions(Arc::new(sessions)), count, acquire_timeout)
    }

    fn new(connections: Connections, count: usize, acquire_timeout: Duration) -> Self {
        Self { connections, count, permits: Arc::new(Semaphore::new(count)), acquire_timeout }
    }

    /// Returns how many connections there are.
    pub(in crate::store) fn count(&self) -> usize {
        self.count
    }

    /// Lets no read begin until the returned permit is dropped. Waits for those that are under way.
    pub(in crate::store) async fn pause(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.permits.clone().acquire_many_owned(self.count as u32).await.ok()
    }

    /// Borrows a connection. On SQLite, statements on it are ended after `limit`.
    pub(in crate::store) async fn borrow(&self, limit: Duration) -> Result<Borrowed> {
        let permit = tokio::time::timeout(self.acquire_timeout, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(StoreError::busy()) };
        match &self.connections {
            Connections::Sessions(sessions) => {
                let session = sessions.take_or_open().await?;
                let connection = ReadConnection::postgres(session, sessions.opener.clone(), sessions.purpose);
                Ok(Borrowed { connection, home: Home::Sessions(sessions.clone()), _permit: permit })
            }
            Connections::Single(free) => {
                let reader = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let reader = reader.ok_or_else(|| StoreError::custom("there is no connection for reads"))?;
                reader.deadline.set(limit);
                let connection = ReadConnection::sqlite(reader.connection.clone());
                Ok(Borrowed { connection, home: Home::Single(Some(reader), free.clone()), _permit: permit })
            }
        }
    }

    /// Adds a session of PostgreSQL that is open already.
    pub(in crate::store) fn put(&self, session: Session) {
        if let Connections::Sessions(sessions) = &self.connections {
            sessions.put(session);
        }
    }

    pub(in crate::store) async fn close(self) -> std::result::Result<(), sea_orm::DbErr> {
        match self.connections {
            Connections::Sessions(sessions) => {
                let free = std::mem::take(&mut *sessions.lock());
                for session in free {
                    session.close().await;
                }
                Ok(())
            }
            Connections::Single(free) => {
                let readers = std::mem::take(&mut *free.lock().unwrap_or_else(PoisonError::into_inner));
                for reader in readers {
                    reader.connection.close().await?;
                }
                Ok(())
            }
        }
    }
}

impl Borrowed {
    pub(in crate::store) fn connection(&self) -> ReadConnection {
        self.connection.clone()
    }
}

impl Sessions {
    /// Takes the session that was used last, if it is good, or opens one. The others may be as bad, and each would have to be
    /// waited for.
    async fn take_or_open(&self) -> Result<Session> {
        let free = self.lock().pop();
        if let Some(mut session) = free
            && session.is_good().await
        {
            return Ok(session);
        }
        Ok(self.opener.open(self.purpose).await?)
    }

    fn put(&self, session: Session) {
        let mut free = self.lock();
        free.retain(|session| !session.is_old());
        free.push(session);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // The permit is given back after this.
        match &mut self.home {
            Home::Single(reader, free) => {
                let Some(reader) = reader.take() else { return };
                reader.deadline.clear();
                free.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            // A read that failed with its session, or was given up, has none to give back.
            Home::Sessions(sessions) => {
                if let Some(session) = self.connection.take_session() {
                    sessions.put(session);
                }
            }
        }
    }
}

impl Deadline {
    fn none() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self(Arc::new(Timing { begin: never(), end: never(), turn: Mutex::default() }))
    }

    /// Lets a long statement rest while a write is in progress. `since` is when it last rested.
    fn give_way_to(&self, writes: &WritesInProgress, since: &mut Instant) {
        let gives_way = || writes.are_there() && self.is_long();
        let worked = since.elapsed();
        if worked < REST[0] && self.turn().is_some() {
            return;
        }
        if gives_way() {
            if self.turn().take().is_some() {
                std::thread::sleep(worked.min(REST[1]));
            }
            while gives_way() && !self.is_over() {
                *self.turn() = writes.take_read_turn();
                if self.turn().is_some() {
                    break;
                }
                std::thread::sleep(NO_TURN);
            }
        }
        *since = Instant::now();
    }

    fn turn(&self) -> MutexGuard<'_, Option<ReadTurn>> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let now = now();
        self.store(now, now.saturating_add(limit));
    }

    fn clear(&self) {
        self.store(u64::MAX, u64::MAX);
        self.turn().take();
    }

    fn store(&self, begin: u64, end: u64) {
        self.0.begin.store(begin, Ordering::Relaxed);
        self.0.end.store(end, Ordering::Relaxed);
    }

    fn is_long(&self) -> bool {
        now() > self.0.begin.load(Ordering::Relaxed).saturating_add(LONG)
    }

    fn is_over(&self) -> bool {
        now() > self.0.end.load(Ordering::Relaxed)
    }
}

/// Returns the milliseconds since the first call in this process.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX)
}
