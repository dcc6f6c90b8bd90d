//! Drain → one transaction → publish → answer.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    domain::{Change, ProjectId},
    hub::relay::RelayHandle,
    store::{
        Db, StoreError,
        collections::{
            catalog::Catalogs,
            indexes::{self, IndexTask},
        },
        log::retention::Retention,
    },
    writer::{
        Activity,
        apply::{Mode, do_apart, do_together},
        batch::Batch,
        maintenance::{PRUNE_INTERVAL, SWEEP_INTERVAL},
        mutation::{Mutation, Operation, WriteError},
        outcome::Committed,
    },
};

/// Mutations that may wait.
const QUEUE: usize = 4096;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Mutations of one batch.
const BATCH: usize = 512;
/// Operations of one batch, unless one mutation alone has more: others wait for them.
const BATCH_OPERATIONS: usize = 2048;
/// Bytes that the mutations of one batch bring.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long a batch may take. PostgreSQL ends statements that take 10 s; this is for a connection that hangs.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);
pub(super) struct Request {
    pub(super) mutation: Mutation,
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Result<Committed, WriteError>>,
}

/// The way to the writer. Cheap to clone; the writer finishes what waits and ends when the last one is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Request>,
    waiting_bytes: Arc<AtomicUsize>,
    activity: Activity,
    index_tasks: mpsc::Sender<IndexRequest>,
}

impl WriterHandle {
    /// Has a mutation done and waits until it is on disk. Dropping the future doesn't stop the mutation.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::QueueFull`] at once if too much waits.
    pub async fn submit(&self, mutation: Mutation) -> Result<Committed, WriteError> {
        let bytes = mutation.bytes();
        self.activity.note();
        // An empty queue takes a mutation of any size; what is too large for a batch is a batch alone.
        if self.waiting_bytes.load(Ordering::Relaxed) > QUEUE_BYTES {
            return Err(WriteError::QueueFull);
        }
        let (reply, answer) = oneshot::channel();
        let permit = self.queue.try_reserve().map_err(|err| match err {
            mpsc::error::TrySendError::Full(()) => WriteError::QueueFull,
            mpsc::error::TrySendError::Closed(()) => WriteError::Unavailable,
        })?;
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        permit.send(Request { mutation, bytes, reply });
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }

    /// When somebody last wrote.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Has an index built or dropped on SQLite, between two batches; waits until it is on disk, however long that takes.
    ///
    /// # Errors
    /// The database's own; [of a statement](StoreError::is_statement_error) if it can't be built.
    pub(super) async fn carry_out(&self, task: Arc<IndexTask>) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::custom("the writer has ended");
        self.index_tasks.send(IndexRequest { task, reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// An index to build or drop.
struct IndexRequest {
    task: Arc<IndexTask>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

/// Starts the writer on the runtime that this is called from. Without a relay (a command beside the server) nothing is
/// published: the server's own relay reads the log. Without a retention the logs are left alone. The returned task ends when every handle is dropped and the queue
/// is empty.
pub fn start(
    db: Db,
    catalogs: Catalogs,
    relay: Option<RelayHandle>,
    max_document_bytes: usize,
    max_indexes: usize,
    retention: Option<Retention>,
) -> (WriterHandle, JoinHandle<()>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let (index_tasks, index_receiver) = mpsc::channel(1);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let writer = Writer {
        db,
        catalogs,
        relay,
        max_document_bytes,
        max_indexes,
        waiting_bytes: waiting_bytes.clone(),
        deferred: VecDeque::new(),
        has_removed: true,
        retention,
        has_written: false,
        prune_checks: 0,
        due: Vec::new(),
    };
    let writer = tokio::spawn(writer.run(receiver, index_receiver));
    (WriterHandle { queue, waiting_bytes, activity: Activity::default(), index_tasks }, writer)
}

pub(super) struct Writer {
    pub(super) db: Db,
    pub(super) catalogs: Catalogs,
    relay: Option<RelayHandle>,
    pub(super) max_document_bytes: usize,
    pub(super) max_indexes: usize,
    pub(super) waiting_bytes: Arc<AtomicUsize>,
    /// What didn't fit into the last batch.
    pub(super) deferred: VecDeque<Request>,
    /// Whether there may be documents of removed collections.
    pub(super) has_removed: bool,
    /// How much of each log is kept; `None` is all.
    pub(super) retention: Option<Retention>,
    /// Whether a log has grown since it was last compared with the retention.
    pub(super) has_written: bool,
    pub(super) prune_checks: u64,
    /// Projects whose log was over the retention when it was looked at.
    pub(super) due: Vec<ProjectId>,
}

/// Why a batch as a whole came to nothing.
enum BatchError {
    /// Before the commit: nothing happened.
    Statement(StoreError),
    /// At the commit: it may have happened.
    Commit(StoreError),
}

impl From<StoreError> for BatchError {
    fn from(err: StoreError) -> Self {
        Self::Statement(err)
    }
}

pub(super) type Answers = Vec<Result<Committed, WriteError>>;

impl Writer {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Request>,
        mut index_tasks: mpsc::Receiver<IndexRequest>,
    ) {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut prune = tokio::time::interval(PRUNE_INTERVAL);
        prune.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.deferred.is_empty() {
                // In turns: writes that never stop must not put the sweeping off for ever.
                tokio::select! {
                    request = queue.recv() => match request {
                        Some(request) => self.deferred.push_back(request),
                        None => return,
                    },
                    Some(IndexRequest { task, reply }) = index_tasks.recv() => {
                        // Who asked may be gone; it looks again at its next start.
                        let _ = reply.send(self.carry_out(&task).await);
                        continue;
                    }
                    () = std::future::ready(()), if self.has_removed => {
                        self.sweep_removed().await;
                        continue;
                    }
                    () = std::future::ready(()), if !self.due.is_empty() => {
                        self.prune().await;
                        continue;
                    }
                    _ = prune.tick(), if self.due.is_empty() => {
                        self.find_due().await;
                        continue;
                    }
                    _ = sweep.tick() => {
                        self.sweep_idempotency().await;
                        self.has_removed = true;
                        continue;
                    }
                }
            }
            let batch = self.take_batch(&mut queue);
            self.commit(batch).await;
        }
    }

    async fn carry_out(&self, task: &IndexTask) -> Result<(), StoreError> {
        let mut tx = self.db.begin_write().await?;
        match indexes::carry_out_sqlite(&mut tx, task).await {
            Ok(()) => tx.commit().await,
            Err(err) => {
                self.abandon(tx).await;
                Err(err)
            }
        }
    }

    /// Takes what waits, up to the bounds of a batch; at least one.
    fn take_batch(&mut self, queue: &mut mpsc::Receiver<Request>) -> Vec<Request> {
        let mut batch: Vec<Request> = Vec::new();
        let (mut bytes, mut operations) = (0, 0);
        while batch.len() < BATCH {
            let Some(request) = self.deferred.pop_front().or_else(|| queue.try_recv().ok()) else { break };
            operations += request.mutation.operations.len();
            bytes += request.bytes;
            let is_alone = request.mutation.is_alone();
            if !batch.is_empty() && (is_alone || bytes > BATCH_BYTES || operations > BATCH_OPERATIONS) {
                self.deferred.push_front(request);
                break;
            }
            batch.push(request);
            if is_alone {
                break;
            }
        }
        batch
    }

    async fn commit(&mut self, mut batch: Vec<Request>) {
        let outcome = match self.try_batch_in_time(&mut batch, Mode::Together).await {
            // One mutation spoils the statement of all: it is looked for, still with one commit.
            Err(BatchError::Statement(err)) if err.is_statement_error() => {
                self.try_batch_in_time(&mut batch, Mode::Apart).await
            }
            outcome => outcome,
        };
        let answers = outcome.unwrap_or_else(|err| {
            let (BatchError::Statement(cause) | BatchError::Commit(cause)) = &err;
            tracing::error!(mutations = batch.len(), "a batch of {} writes failed: {cause}", batch.len());
            vec![Err(WriteError::Unavailable); batch.len()]
        });
        for (request, answer) in batch.into_iter().zip(answers) {
            self.waiting_bytes.fetch_sub(request.bytes, Ordering::Relaxed);
            // A caller that is gone doesn't hear; its write happened all the same.
            let _ = request.reply.send(answer);
        }
    }

    /// Gives up on a database that hangs. The transaction takes its connection with it, and whether it was committed is
    /// not known.
    async fn try_batch_in_time(
        &mut self,
        batch: &mut Vec<Request>,
        mode: Mode,
    ) -> Result<Answers, BatchError> {
        let Ok(outcome) = tokio::time::timeout(BATCH_TIMEOUT, self.try_batch(batch, mode)).await else {
            if let Some(relay) = &self.relay {
                relay.check_log_ends().await;
            }
            return Err(BatchError::Commit(StoreError::no_answer()));
        };
        outcome
    }

    /// Does a batch in one transaction and publishes it. Requests whose documents are beyond the bound are taken out of
    /// `batch` and wait for the next one.
    async fn try_batch(&mut self, batch: &mut Vec<Request>, mode: Mode) -> Result<Answers, BatchError> {
        let (mut tx, base) = self.begin(batch).await?;
        let mut work = Batch::new(base);
        let done = match mode {
            Mode::Together => do_together(&mut tx, &mut work, batch).await,
            Mode::Apart => do_apart(&mut tx, &mut work, batch).await,
        };
        let (answers, changes) = match done {
            Ok(done) => done,
            Err(err) => {
                self.abandon(tx).await;
                return Err(err.into());
            }
        };
        // What the images would have been too much for was not looked at.
        for request in batch.drain(answers.len()..).rev() {
            self.deferred.push_front(request);
        }
        if let Err(err) = tx.commit().await {
            if err.is_statement_error() {
                return Err(BatchError::Statement(err));
            }
            // It may have happened: the log knows, and what did commit must be published.
            if let Some(relay) = &self.relay {
                relay.check_log_ends().await;
            }
            return Err(BatchError::Commit(err));
        }
        for (project, catalog) in work.into_catalogs() {
            self.catalogs.put(&project, &catalog);
        }
        self.has_written |= !changes.is_empty();
        let removes = |operation: &Operation| matches!(operation, Operation::RemoveCollection { .. });
        self.has_removed |= batch.iter().any(|request| request.mutation.operations.iter().any(removes));
        self.publish(changes).await;
        Ok(answers)
    }

    async fn publish(&self, changes: Vec<Arc<Change>>) {
        let Some(relay) = &self.relay else { return };
        let mut by_project: HashMap<ProjectId, Vec<Arc<Change>>> = HashMap::new();
        for change in changes {
            by_project.entry(change.project.clone()).or_default().push(change);
        }
        for changes in by_project.into_values() {
            relay.publish(changes).await;
        }
    }
}
