//! Documents over REST, written one at a time, in batches and in transactions. Also collections and their schemas.

mod batches;
mod collections;
mod costly;
mod group_commit;
mod idempotency;
mod import;
mod large_answers;
mod one;
mod operators;
mod schema;
mod short_answers;
mod transactions;
mod values;
