//! All SQL, and nothing else. Functions take a connection or a transaction, and speak of the domain's types.
//!
//! [`Db`] holds the pools. Reads go through [`Db::read`], which runs them in a task of their own. Writes happen in a
//! [`WriteTx`], which only [`Db::begin_write`] opens. Both keep a client that goes away from dropping a database future
//! half-way. One that is given up because the database does not answer takes its session with it.
//!
//! There are three ways to write a statement, each for one purpose:
//!
//! - **Entities** of sea-orm, for plain reads of small tables: projects, keys, secrets, collections.
//! - The **query builder** of sea-query, for statements whose shape depends on a request: filters, sorts, pages, groups.
//! - **SQL text** (`Sql`, and `RowsSql` for many rows), for all writes and for reads that are the same each time. A
//!   [`WriteTx`] runs nothing else.
//!
//! Reading order: [`error`], [`outage`], [`db`], [`sql`], [`log`], [`documents`], [`collections`], [`access`].

pub mod access;
pub mod collections;
pub mod db;
pub mod documents;
pub mod error;
pub mod log;
pub mod outage;
pub mod sql;

pub(in crate::store) use db::statement::Sql;
pub use db::{
    connection::WriteOrder,
    database::{Db, Lane, OpenExistingError},
    durability::Durability,
    migrate::MigrateError,
    pools::ConnectError,
    private_file::create_private,
    read_connection::ReadConnection,
    sqlite::accept_copy,
    transaction::WriteTx,
    url::DatabaseUrl,
};
pub use error::{Result, StoreError, Trouble};
