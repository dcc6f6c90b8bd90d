//! The rows of Coir's database, one file per table.
//!
//! Only `store` in the server uses them: everything above it speaks of the domain's types. The hot tables
//! (`documents`, `changes`, `heads`) are written by multi-row statements that sea-orm's active models can't
//! express; their entities give the names of tables and columns, and read what is not hot.
//!
//! All times are milliseconds since the Unix epoch, in UTC. All ids are text, compared by code point.

pub mod api_key;
pub mod change;
pub mod collection;
pub mod document;
pub mod head;
pub mod idempotency;
pub mod index;
pub mod project;
pub mod secret;
