//! Copies SQLite's write-ahead log back into the database, beside the writer, so that no commit waits for it. Keeps the log
//! small.
//!
//! The log begins anew only when all of it is copied and no read needs it. Under writes that never pause and reads that overlap,
//! that never happens by itself. So when the log is long, new reads wait for a moment, those under way end, and the writer has it
//! begin anew before its next transaction.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::store::{
    db::{connection::IdleConnection, readers::Readers},
    error::Result,
};

/// Pages of the log that wait to be copied, from which they are: 4 MiB.
const COPIED_FROM: i64 = 1000;
/// Commits share a look at the log for so long.
const PACE: Duration = Duration::from_millis(20);
/// The pages at which the log should begin anew: 64 MiB.
const LONG: i64 = 16_384;
/// The pages at which it must: 512 MiB.
const TOO_LONG: i64 = 131_072;
/// For how long reads wait at first for those under way, so that the log can begin anew. Each time that this is too short, they
/// wait twice as long, up to the second value, which is less than they wait for a connection.
const WAITS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
/// For how long they wait when the log must begin anew: longer than any read takes.
const LONGEST_WAIT: Duration = Duration::from_secs(12);
/// For how many times the wait reads go on before the next try.
const PAUSE: u32 = 4;
/// How long a checkpoint waits for a writer that has just begun.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// How long the writer may be in the middle of a transaction, and how often it is looked at.
const WRITER_WAIT: Duration = Duration::from_secs(1);
const WRITER_POLL: Duration = Duration::from_millis(5);
/// How long SQLite waits for the writer of another process.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes of a page.
const PAGE: i64 = 4096;
/// Pages of the log from which the writer copies them itself, with a commit: if this task is far behind.
pub(super) const WRITER_COPIES_FROM: &str = "32768";

/// Returns the bytes that the file of the log keeps when it begins anew.
pub(super) fn kept_bytes() -> String {
    (LONG * PAGE).to_string()
}

/// The handle to the task. Cheap to clone.
#[derive(Clone)]
pub(super) struct Checkpoints {
    messages: mpsc::Sender<Message>,
    restart: Restart,
}

/// What the writer is asked to do before its next transaction; `None` if nothing.
type Restart = Arc<Mutex<Option<oneshot::Sender<()>>>>;

enum Message {
    Committed,
    Stop(oneshot::Sender<()>),
}

struct Task {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    readers: Vec<Readers>,
    restart: Restart,
    /// Holds the writer's connection between its transactions.
    idle: IdleConnection,
    /// The pages of the log when it should have begun anew.
    asked_at: Option<i64>,
    /// For how long reads wait next time.
    wait: Duration,
    /// When that may be.
    not_before: Instant,
}

/// The pages of the log.
#[derive(Debug)]
struct Pages {
    all: i64,
    copied: i64,
}

impl Checkpoints {
    /// Starts the task. It ends with the last handle, or when it is stopped. `readers` are all that read the database.
    pub(super) fn start(options: SqliteConnectOptions, readers: Vec<Readers>, idle: IdleConnection) -> Self {
        let (messages, received) = mpsc::channel(1);
        let restart = Restart::default();
        let task = Task {
            options,
            connection: None,
            readers,
            restart: restart.clone(),
            idle,
            asked_at: None,
            wait: WAITS[0],
            not_before: Instant::now(),
        };
        tokio::spawn(task.run(received));
        Self { messages, restart }
    }

    /// Notes that the log has grown.
    pub(super) fn note_commit(&self) {
        // If the channel is full, the task will look anyway.
        let _ = self.messages.try_send(Message::Committed);
    }

    /// Ends the task, after the copying that is under way.
    pub(super) async fn stop(&self) {
        let (ended, end) = oneshot::channel();
        if self.messages.send(Message::Stop(ended)).await.is_ok() {
            let _ = end.await;
        }
    }

    /// Returns how to have the log begin anew, if that is due. The writer calls this before each transaction.
    pub(super) fn restart(&self) -> Option<RestartPermit> {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner).take().map(RestartPermit)
    }
}

/// No read is under way until this is dropped.
pub(super) struct RestartPermit(#[expect(dead_code, reason = "its drop tells the task")] oneshot::Sender<()>);

impl RestartPermit {
    /// Has the log begin anew. Other processes may read the database; it doesn't wait for them.
    pub(super) fn statements() -> String {
        let wait = BUSY_TIMEOUT.as_millis();
        format!("PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(RESTART); PRAGMA busy_timeout = {wait}")
    }
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut has_failed = false;
        while let Some(message) = messages.recv().await {
            if let Message::Stop(_ended) = message {
                // The connection is closed before the sender is dropped.
                drop(self);
                return;
            }
            match self.look().await {
                Ok(()) => has_failed = false,
                Err(err) => {
                    self.connection = None;
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!("the write-ahead log can't be written back into the database: {err}");
                    }
                }
            }
            sleep(PACE).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let mut pages = self.checkpoint("NOOP").await?;
        if pages.all - pages.copied >= COPIED_FROM {
            pages = self.checkpoint("PASSIVE").await?;
        }
        let has_begun = self.asked_at.take().map(|before| pages.all < before);
        match has_begun {
            Some(true) => self.wait = WAITS[0],
            Some(false) => self.put_off(self.wait),
            None => {}
        }
        if pages.all < LONG || Instant::now() < self.not_before {
            return Ok(());
        }
        let wait = if pages.all < TOO_LONG { self.wait } else { LONGEST_WAIT };
        if self.begin_anew(wait).await? {
            self.asked_at = Some(pages.all);
        } else {
            self.put_off(wait);
        }
        Ok(())
    }

    /// Lets reads go on for a while, since they had to wait for nothing.
    fn put_off(&mut self, wait: Duration) {
        self.wait = (2 * self.wait).min(WAITS[1]);
        self.not_before = Instant::now() + PAUSE * wait;
    }

    /// Begins the log anew while no read is under way: before the writer's next transaction if there is always one, and here if the
    /// writer pauses. Returns false if a read takes longer than `wait`.
    async fn begin_anew(&mut self, wait: Duration) -> Result<bool> {
        let quiet = timeout(wait, join_all(self.readers.iter().map(Readers::pause))).await;
        let Ok(_paused) = quiet else { return Ok(false) };
        // Only a little is left to the writer, although it may have written much while the reads ended.
        let begun = Instant::now();
        while begun.elapsed() < wait {
            let pages = self.checkpoint("PASSIVE").await?;
            if pages.all - pages.copied < COPIED_FROM {
                break;
            }
        }
        let (done, mut restarted) = oneshot::channel::<()>();
        *self.slot() = Some(done);
        let begun = Instant::now();
        while restarted.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            if self.idle.is_there() || begun.elapsed() > WRITER_WAIT {
                if self.slot().take().is_some() {
                    self.checkpoint("RESTART").await?;
                }
                break;
            }
            sleep(WRITER_POLL).await;
        }
        Ok(true)
    }

    fn slot(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.restart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn checkpoint(&mut self, mode: &str) -> Result<Pages> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let options = self.options.clone().busy_timeout(LOCK_WAIT);
                self.connection.insert(options.connect().await?)
            }
        };
        let sql = AssertSqlSafe(format!("PRAGMA wal_checkpoint({mode})"));
        let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
        Ok(Pages { all: row.try_get(1)?, copied: row.try_get(2)? })
    }
}
