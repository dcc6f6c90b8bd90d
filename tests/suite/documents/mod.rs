//! Documents over REST: one at a time, in batches and in transactions; collections and schemas.

mod batches;
mod collections;
mod group_commit;
mod idempotency;
mod import;
mod large_answers;
mod one;
mod operators;
mod schema;
mod transactions;
mod values;
