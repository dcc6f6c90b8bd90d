//! Collections: their rows, their indexes, and the catalog that keeps both in memory.
//!
//! Reading order: [`rows`], [`indexes`] with [`backends`], [`catalog`].

pub mod backends;
pub mod catalog;
pub mod indexes;
pub mod rows;
