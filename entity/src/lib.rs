//! The rows of Coir's database, one file per table.
//!
//! Only `store` uses these types. Everything above it speaks of the domain's types. The hot tables (`documents`, `changes`,
//! `heads`) are written by multi-row statements, which the active models of sea-orm can't express. Their entities document
//! the columns.
//!
//! All times are milliseconds since the Unix epoch, in UTC. All ids are text, compared by code point.

pub mod api_key;
pub mod audit;
pub mod change;
pub mod code;
pub mod collection;
pub mod credential;
pub mod document;
pub mod head;
pub mod idempotency;
pub mod idempotency_size;
pub mod identity;
pub mod index;
pub mod invitation;
pub mod mail;
pub mod project;
pub mod secret;
pub mod session;
pub mod used_state;
