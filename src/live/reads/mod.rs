//! Database reads of live streams, shared and bounded.
//!
//! Reading order: [`streams`], [`reader`] (what is read) and [`stored`] (from a database), `shared_reads` (one read for all
//! who wait for the same), `throttle`.

pub mod reader;
mod shared_reads;
pub mod stored;
pub mod streams;
mod throttle;

pub use crate::store::documents::snapshots::AccessPath;
pub use reader::{AsOf, LogEnd, ReadResult, StreamReader};
pub use stored::StoredStreams;
pub use streams::{PagePermit, Streams};
pub use throttle::WorkPermit;
