//! Tests of the server's behaviour through its public interfaces. Each test starts a real server on a free port, with a real
//! SQLite file or a real PostgreSQL, and talks to it with real clients. Each area has a folder. `harness` starts the servers
//! and fails a test that leaves a connection or a subscription behind.

#![allow(clippy::unwrap_used, missing_docs)]

mod architecture;
mod book;
mod cocobase;
mod documents;
mod harness;
mod operations;
mod postgres;
mod queries;
mod realtime;
mod recovery;
mod rules;
mod users;
