//! The requests that wait for the writer: mutations, each with its place in the order, and indexes to build.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{error::WriteError, mutation::Mutation, outcome::Committed};
use crate::{
    shares::BudgetPermit,
    store::{StoreError, collections::indexes::IndexTask},
};

/// The two kinds of mutations, each with a queue of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Cheap,
    Dear,
}

/// A mutation in the queue, with the way back to its caller.
pub(super) struct Request {
    pub(super) mutation: Mutation,
    /// [`Mutation::bytes`], counted once.
    pub(super) bytes: usize,
    /// Set when it is taken from the queue.
    pub(super) turn: Turn,
    pub(super) reply: oneshot::Sender<Result<Committed, WriteError>>,
    /// Its share of the queue.
    pub(super) _place: BudgetPermit,
}

/// An index to build or drop, with the way back to the indexer.
pub(super) struct IndexRequest {
    pub(super) task: Arc<IndexTask>,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// The place of a mutation in the order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// The virtual time at which it is due, in nanoseconds.
    pub(super) due: u64,
    /// Counted from the start. Of mutations that are due at the same time, the first to arrive is taken first.
    pub(super) arrival: u64,
    pub(super) lane: u64,
    /// The expected cost, in nanoseconds.
    pub(super) cost: u64,
    pub(super) kind: Kind,
}

impl Turn {
    /// Returns what the mutation is expected to cost.
    pub(super) fn cost(self) -> Duration {
        Duration::from_nanos(self.cost)
    }
}
