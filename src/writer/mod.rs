//! The write path: every write of the server goes through one task, which commits what is waiting as a group.
//!
//! One transaction, and so one wait for the disk, serves every request that came while the last one was committing.
//! There is no timer: a lone request is committed at once. The writer is a task of its own, so a client that hangs up
//! can't stop its mutation half-way.
//!
//! Reading order: [`mutation`], [`outcome`], [`batch`] with `staged` and its parts `documents`, `collections` and `indexes`,
//! [`actor`](WriterHandle) with its parts `base`, `apply` and `sweep`, [`Activity`], [`log`], [`indexer`].

mod activity;
mod actor;
mod apply;
pub mod batch;
mod collections;
mod documents;
pub mod indexer;
mod indexes;
mod load;
mod maintenance;
pub mod mutation;
pub mod outcome;
mod staged;

pub use activity::Activity;
pub use actor::{WriterHandle, start};
pub use load::MAX_MUTATION_BYTES;
pub use mutation::{Checked, Missing, Mutation, Operation, Precondition, WriteError};
pub use outcome::{Committed, Outcome};
