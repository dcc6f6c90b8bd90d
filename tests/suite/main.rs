//! Claims about the server's behaviour, through its front door: a real server on a free port, a real SQLite file and a
//! real PostgreSQL, real clients. A file per capability; `harness` starts and watches everything.

#![allow(clippy::unwrap_used, missing_docs)]

mod harness;

mod batch;
mod batches;
mod clients;
mod collections;
mod convergence;
mod cors;
mod crash;
mod crash_transactions;
mod cursors;
mod documents;
mod durability;
mod export;
mod filters;
mod first_minutes;
mod health;
mod idempotency;
mod import;
mod indexes;
mod keys;
mod large_answers;
mod lifecycle;
mod lists;
mod malformed;
mod malformed_ws;
mod movies;
mod named;
mod nodes;
mod operators;
mod outage;
mod populate;
mod queries;
mod query_agreement;
mod query_limits;
mod query_plans;
mod realtime_sse;
mod realtime_ws;
mod retention;
mod rewind;
mod schema;
mod sdk_documents;
mod sdk_realtime;
mod seam;
mod site;
mod slow_reader;
mod snapshot;
mod tickets;
mod transactions;
mod values;
mod verify;
mod ws_connections;
