//! Database reads of live streams, shared and bounded.
//!
//! Reading order: [`streams`], [`stored`], `shared_reads`, `identical_reads`, [`throttle`](Lease).

mod identical_reads;
mod shared_reads;
pub mod stored;
pub mod streams;
mod throttle;

pub use stored::{Resume, StoredStreams, StreamReader};
pub use streams::Streams;
pub use throttle::Lease;
