//! Claims about the server's behaviour, through its front door: a real server on a free port, a real SQLite file and a
//! real PostgreSQL, real clients. A folder per area; `harness` starts and watches everything.

#![allow(clippy::unwrap_used, missing_docs)]

mod architecture;
mod book;
mod cocobase;
mod documents;
mod harness;
mod operations;
mod queries;
mod realtime;
mod recovery;
