//! The SQL of filters, sort keys, sorts and indexes, for SQLite and PostgreSQL.
//!
//! Reading order: [`key`], [`filter`] with its parts `values`, `sqlite` and `postgres`, [`page`], [`index`], and
//! `expression` for what they share.

mod expression;
pub mod filter;
pub mod index;
pub mod key;
pub mod page;
mod postgres;
mod sqlite;
mod values;

pub use expression::literal;
