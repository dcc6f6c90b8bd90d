//! The way to the writer: a queue that is bounded in bytes, and that keys share.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{
    activity::Activity,
    error::WriteError,
    health::WriterHealth,
    mutation::Mutation,
    outcome::Committed,
    request::{IndexRequest, Request, Turn},
};
use crate::{
    shares::{Account, Budget},
    store::{StoreError, Trouble, collections::indexes::IndexTask},
};

/// Bytes of mutations that may wait in the queue or are in the batch at hand.
const QUEUE_BYTES: usize = 80 * 1024 * 1024;
/// The least and the most that one mutation takes of that. So few thousands of small ones may wait, and one that is too large
/// to share a batch is a batch of its own.
const SHARES: (usize, usize) = (16 * 1024, QUEUE_BYTES / 2);
/// Mutations that may wait: as many of the smallest as there is room for.
const QUEUE: usize = QUEUE_BYTES / SHARES.0;

/// Submits mutations to the writer. Cheap to clone. The writer commits what waits and ends when the last handle is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    requests: mpsc::Sender<Request>,
    waiting: Budget,
    activity: Activity,
    index_tasks: mpsc::Sender<IndexRequest>,
    health: WriterHealth,
}

/// The writer's ends of the channels.
pub(super) struct Queue {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) index_tasks: mpsc::Receiver<IndexRequest>,
}

/// Creates an empty queue.
pub(super) fn create() -> (WriterHandle, Queue, WriterHealth) {
    let (requests, request_receiver) = mpsc::channel(QUEUE);
    let (index_tasks, index_receiver) = mpsc::channel(1);
    let queue = Queue { requests: request_receiver, index_tasks: index_receiver };
    let waiting = Budget::new(QUEUE_BYTES);
    let health = WriterHealth::default();
    let activity = Activity::default();
    (WriterHandle { requests, waiting, activity, index_tasks, health: health.clone() }, queue, health)
}

impl WriterHandle {
    /// Submits a mutation and waits until it is on disk. Dropping the future does not stop the mutation.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::QueueFull`] at once if too much waits, or too much of this key.
    pub async fn submit(&self, mutation: Mutation) -> Result<Committed, WriteError> {
        let bytes = mutation.bytes();
        self.activity.note();
        let key = mutation.caller.as_ref().map_or(Account::anonymous().key, |caller| caller.id.clone());
        let account = Account::new(mutation.project.clone(), key);
        let account = match &mutation.session {
            Some(session) => account.of_member(session.as_str()),
            None => account,
        };
        let place = self.waiting.take(&account, bytes.clamp(SHARES.0, SHARES.1));
        let place = place.map_err(|_| WriteError::QueueFull)?;
        let (reply, answer) = oneshot::channel();
        let permit = self.requests.try_reserve().map_err(|err| match err {
            mpsc::error::TrySendError::Full(()) => WriteError::QueueFull,
            mpsc::error::TrySendError::Closed(()) => WriteError::Unavailable(Trouble::Away),
        })?;
        permit.send(Request { mutation, bytes, turn: Turn::default(), reply, _place: place });
        answer.await.unwrap_or(Err(WriteError::Unavailable(Trouble::Away)))
    }

    /// Returns how the writer is.
    pub fn health(&self) -> WriterHealth {
        self.health.clone()
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
