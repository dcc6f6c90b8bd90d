//! Drivers and pools: how connections are opened, lent to readers, and used by the write transaction.
//!
//! Reading order: [`connect`], [`readers`], [`transaction`], [`rows`].

pub(in crate::store) mod connect;
pub(in crate::store) mod readers;
pub(in crate::store) mod rows;
pub(in crate::store) mod transaction;
