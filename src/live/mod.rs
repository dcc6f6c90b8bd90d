//! A subscription's life between the hub and the doors: reading the log, catching up, snapshots. Knows nothing of HTTP.
//!
//! Reading order: [`budget`], [`reads`], [`stored_log`].

pub mod budget;
pub mod reads;
pub mod stored_log;
