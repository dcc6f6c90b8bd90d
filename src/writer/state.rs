//! The state that the writer keeps between two batches, and the bounds of a batch.

use std::time::Duration;

use super::{
    clock::Clock, cost::CostLog, error::WriteError, health::WriterHealth, maintenance::Maintenance,
    outcome::Committed, request::Request, rest::Rest, turns::Turns,
};
use crate::{
    auth::{KeyRing, Sessions},
    hub::relay::RelayHandle,
    store::{Db, WriteTx, collections::catalog::Catalogs, log::retention::Retention},
    supervision::{Pulse, Supervisor},
};

/// Mutations of one batch.
pub(super) const BATCH: usize = 512;
/// Operations of one batch. A mutation that has more is a batch of its own.
pub(super) const BATCH_OPERATIONS: usize = 2048;
/// Bytes of memory that the mutations of one batch bring.
pub(super) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The cost that the mutations of one batch are expected to have, and at which it takes no more of them.
pub(super) const BATCH_COST: Duration = Duration::from_millis(25);
/// Bytes of documents that one batch reads, and that it writes. Mutations that need more wait for the next batch.
pub(super) const IMAGE_BYTES: usize = 8 * 1024 * 1024;
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

/// The outcomes of a batch's mutations, in their order.
pub(super) type Answers = Vec<Result<Committed, WriteError>>;

/// The writer's state. Only its own task touches it.
pub(super) struct Writer {
    pub(super) db: Db,
    pub(super) catalogs: Catalogs,
    pub(super) keys: KeyRing,
    pub(super) sessions: Sessions,
    pub(super) config: WriterConfig,
    /// `None` where nobody subscribes: a command beside the server.
    pub(super) relay: Option<RelayHandle>,
    /// Requests that wait for their turn.
    pub(super) turns: Turns,
    /// The rest of dear mutations.
    pub(super) rest: Rest,
    pub(super) cost_log: CostLog,
    pub(super) maintenance: Maintenance,
    pub(super) clock: Clock,
    pub(super) health: WriterHealth,
    pub(super) pulse: Pulse,
    pub(super) supervisor: Supervisor,
}

impl Writer {
    /// Puts the requests from `cut` on back into the queue, where they keep their places.
    pub(super) fn defer_from(&mut self, batch: &mut Vec<Request>, cut: usize) {
        for request in batch.drain(cut..) {
            self.turns.put_back(request);
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, request: Request, answer: Result<Committed, WriteError>) {
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
