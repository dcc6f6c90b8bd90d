//! The state that the writer keeps between two batches, and the bounds of a batch.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{error::WriteError, maintenance::Maintenance, mutation::Mutation, outcome::Committed};
use crate::{
    hub::relay::RelayHandle,
    store::{
        Db, StoreError, WriteTx,
        collections::{catalog::Catalogs, indexes::IndexTask},
        log::retention::Retention,
    },
};

/// Mutations of one batch.
pub(super) const BATCH: usize = 512;
/// Operations of one batch. A mutation that has more is a batch of its own.
pub(super) const BATCH_OPERATIONS: usize = 2048;
/// Bytes that the mutations of one batch bring.
pub(super) const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of documents that one batch reads, and that it writes. Mutations that need more wait for the next batch.
pub(super) const IMAGE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of documents that one mutation may read, and that it may write.
pub const MAX_MUTATION_BYTES: usize = 64 * 1024 * 1024;

/// The server's settings that the writer needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriterConfig {
    /// Bytes of a document's data, as canonical text.
    pub max_document_bytes: usize,
    /// Indexes that collections may declare, over the whole database.
    pub max_indexes: usize,
    /// Collections of a project.
    pub max_collections: usize,
    /// Bytes of a project's stored outcomes of idempotency keys.
    pub max_idempotency_bytes: u64,
    /// How much of each change log is kept; `None` keeps all of it.
    pub retention: Option<Retention>,
}

/// A mutation in the queue, with the way back to its caller.
pub(super) struct Request {
    pub(super) mutation: Mutation,
    /// [`Mutation::bytes`], counted once.
    pub(super) bytes: usize,
    pub(super) reply: oneshot::Sender<Result<Committed, WriteError>>,
}

/// An index to build or drop, with the way back to the indexer.
pub(super) struct IndexRequest {
    pub(super) task: Arc<IndexTask>,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The outcomes of a batch's mutations, in their order.
pub(super) type Answers = Vec<Result<Committed, WriteError>>;

/// The writer's state. Only its own task touches it.
pub(super) struct Writer {
    pub(super) db: Db,
    pub(super) catalogs: Catalogs,
    pub(super) config: WriterConfig,
    /// `None` where nobody subscribes: a command beside the server.
    pub(super) relay: Option<RelayHandle>,
    /// Shared with every [`WriterHandle`](super::WriterHandle), which refuses mutations while it is too large.
    pub(super) waiting_bytes: Arc<AtomicUsize>,
    /// Requests that did not fit into the last batch, in the order of their arrival.
    pub(super) deferred: VecDeque<Request>,
    pub(super) maintenance: Maintenance,
}

impl Writer {
    /// Puts the requests from `cut` on back to the front of the queue, in their order.
    pub(super) fn defer_from(&mut self, batch: &mut Vec<Request>, cut: usize) {
        for request in batch.drain(cut..).rev() {
            self.deferred.push_front(request);
        }
    }

    /// Answers a request and takes its bytes off the queue's count.
    pub(super) fn answer(&self, request: Request, answer: Result<Committed, WriteError>) {
        self.waiting_bytes.fetch_sub(request.bytes, Ordering::Relaxed);
        // The caller may be gone. Its mutation happened all the same.
        let _ = request.reply.send(answer);
    }

    /// Rolls a transaction back. A connection that cannot is closed.
    pub(super) async fn abandon(&self, tx: WriteTx) {
        if let Err(err) = tx.rollback().await {
            tracing::warn!("could not roll a transaction back; its connection is closed: {err}");
        }
    }
}
