//! The way to the writer: a queue that is bounded in mutations and in bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    activity::Activity,
    error::WriteError,
    mutation::Mutation,
    outcome::Committed,
    request::{IndexRequest, Request, Turn},
};
use crate::store::{StoreError, collections::indexes::IndexTask};

/// Mutations that may wait in the queue.
const QUEUE: usize = 4096;
/// Bytes of mutations that may wait in the queue.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Submits mutations to the writer. Cheap to clone. The writer commits what waits and ends when the last handle is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    requests: mpsc::Sender<Request>,
    waiting: Arc<AtomicUsize>,
    waiting_bytes: Arc<AtomicUsize>,
    activity: Activity,
    index_tasks: mpsc::Sender<IndexRequest>,
}

/// The writer's ends of the channels.
pub(super) struct Queue {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) index_tasks: mpsc::Receiver<IndexRequest>,
    /// How many mutations wait or are in the batch at hand.
    pub(super) waiting: Arc<AtomicUsize>,
    /// Bytes of all mutations that wait or are in the batch at hand.
    pub(super) waiting_bytes: Arc<AtomicUsize>,
}

/// Creates an empty queue.
pub(super) fn create() -> (WriterHandle, Queue) {
    let (requests, request_receiver) = mpsc::channel(QUEUE);
    let (index_tasks, index_receiver) = mpsc::channel(1);
    let (waiting, waiting_bytes) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let queue = Queue {
        requests: request_receiver,
        index_tasks: index_receiver,
        waiting: waiting.clone(),
        waiting_bytes: waiting_bytes.clone(),
    };
    (WriterHandle { requests, waiting, waiting_bytes, activity: Activity::default(), index_tasks }, queue)
}

impl WriterHandle {
    /// Submits a mutation and waits until it is on disk. Dropping the future does not stop the mutation.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::QueueFull`] at once if too much waits.
    pub async fn submit(&self, mutation: Mutation) -> Result<Committed, WriteError> {
        let bytes = mutation.bytes();
        self.activity.note();
        // An empty queue takes a mutation of any size: one that is too large to share a batch is a batch of its own.
        let is_full = self.waiting.load(Ordering::Relaxed) >= QUEUE;
        if is_full || self.waiting_bytes.load(Ordering::Relaxed) > QUEUE_BYTES {
            return Err(WriteError::QueueFull);
        }
        let (reply, answer) = oneshot::channel();
        let permit = self.requests.try_reserve().map_err(|err| match err {
            mpsc::error::TrySendError::Full(()) => WriteError::QueueFull,
            mpsc::error::TrySendError::Closed(()) => WriteError::Unavailable,
        })?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        permit.send(Request { mutation, bytes, turn: Turn::default(), reply });
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }

    /// Returns the record of when a mutation was last submitted.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Builds or drops an index on SQLite between two batches. Waits until it is on disk, however long that takes.
    ///
    /// # Errors
    /// The database's own. A [statement error](StoreError::is_statement_error) means that the index cannot be built.
    pub(super) async fn carry_out(&self, task: Arc<IndexTask>) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::custom("the writer has ended");
        self.index_tasks.send(IndexRequest { task, reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}
