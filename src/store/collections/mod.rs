//! Collections: their rows, their indexes, and the catalog that keeps both in memory.
//!
//! Reading order: [`rows`], [`indexes`] with [`backends`], [`catalog`] over `last_controls`.

pub mod backends;
pub mod catalog;
pub mod indexes;
mod last_controls;
pub mod rows;
