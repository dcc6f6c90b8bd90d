//! The vocabulary: what a document, a collection and a change are. No I/O, and no module of this crate is used.
//!
//! Reading order: [`name`], [`time`], [`document`], [`patch`], [`schema`] (with `schema_cost`), [`change`].

pub mod change;
pub mod collection;
pub mod cursor;
pub mod data;
pub mod document;
pub mod log_ends;
pub mod name;
pub mod patch;
pub mod schema;
mod schema_cost;
pub mod time;

pub use change::{Change, Control, Entry, Position};
pub use collection::Collection;
pub use data::{Data, DataError};
pub use document::{Document, DocumentKey};
pub use log_ends::LogEnds;
pub use name::{CollectionId, CollectionName, DocumentId, FieldPath, IndexId, KeyId, ProjectId, Segment};
pub use patch::{ApplyError, Patch, PatchError};
pub use schema::{Schema, SchemaError, Violation};
pub use time::Timestamp;
