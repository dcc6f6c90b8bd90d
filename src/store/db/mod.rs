//! Drivers and pools: how connections are opened, borrowed by readers, and used by the write transaction.
//!
//! Reading order: [`database`], [`pools`], [`connect`], `sqlite` with [`file_marks`] and [`private_file`], [`postgres`], [`migrate`], [`readers`], [`read_connection`],
//! [`transaction`], [`connection`], [`rows`], [`statement`], `placeholders`, `checkpoints`, `writes_in_progress`, [`durability`], [`url`].

mod checkpoints;
pub(in crate::store) mod connect;
pub(in crate::store) mod connection;
pub(in crate::store) mod database;
pub(in crate::store) mod durability;
pub(in crate::store) mod file_marks;
pub(in crate::store) mod migrate;
mod placeholders;
pub(in crate::store) mod pools;
pub(in crate::store) mod postgres;
pub(in crate::store) mod private_file;
pub(in crate::store) mod read_connection;
pub(in crate::store) mod readers;
pub(in crate::store) mod rows;
pub(in crate::store) mod sqlite;
pub(in crate::store) mod statement;
pub(in crate::store) mod transaction;
pub(in crate::store) mod url;
mod writes_in_progress;
