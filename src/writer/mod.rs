//! The write path. One task commits every write of the server in groups.
//!
//! One transaction, and so one wait for the disk, serves every mutation that arrived while the last one was committing. There
//! is no timer: a lone mutation commits at once. The writer is a task of its own, so a client that hangs up cannot stop its
//! mutation half-way.
//!
//! Reading order: [`mutation`] with `precondition`, [`user_operation`], [`outcome`] and [`error`] (what goes in and comes out), [`request`] and [`queue`] (the way to the
//! writer), [`turns`] with [`cost`] and [`rest`] (who is next), [`state`], [`actor`] (the loop), [`load`] (what a batch needs from the database), [`batch`] with [`staged`] and [`dry_run`], [`documents`],
//! [`collections`], [`indexes`], `settings`, [`keys`] with [`key_operation`], `audit` and `users` with `user_documents`, `addresses`, `codes`, `invitations`, `second_factor`, `mail_factor`, `identities` and [`accounts`] (mutations applied in memory), [`stored_outcome`] (under an idempotency key), [`apply`]
//! (written to the database), [`maintenance`] with [`portion`], [`removed`] and [`expired`] (between batches), [`clock`] with [`clock_trouble`], [`activity`], [`health`], [`failures`], [`indexer`] with
//! [`index_session`].

mod accounts;
mod activity;
mod actor;
mod addresses;
mod apply;
mod asked_sets;
mod audit;

mod author;
pub mod batch;
pub mod clock;
pub mod clock_trouble;
mod codes;
mod collections;
mod cost;
mod documents;
pub mod dry_run;
pub mod error;
mod expired;
mod failures;
pub mod health;
mod identities;
mod index_session;
pub mod indexer;
mod indexes;
mod invitations;
mod judge;
pub mod key_operation;
mod keys;
mod load;
mod mail_factor;
mod maintenance;
pub mod mutation;
pub mod outcome;
mod portion;
mod precondition;
mod queue;
mod removed;
mod request;
mod rest;
mod second_factor;
mod settings;
mod staged;
mod state;
mod stored_outcome;
mod turns;
mod user_documents;
pub mod user_operation;
mod users;

pub use activity::Activity;
pub use actor::start;
pub use author::Author;
pub use error::WriteError;
pub use mutation::{Checked, Missing, Mutation, Operation};
pub use outcome::{Committed, Outcome};
pub use precondition::Precondition;
pub use queue::WriterHandle;
pub use state::{MAX_MUTATION_BYTES, WriterConfig};
pub use user_operation::UserOperation;
