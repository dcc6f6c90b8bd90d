//! The change log: its entries, its ends, its pruning, and the outcomes of writes with an idempotency key.
//!
//! Reading order: [`ends`], [`changes`], [`retention`], [`idempotency`].

pub mod changes;
pub mod ends;
pub mod idempotency;
pub mod retention;
