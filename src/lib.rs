//! Coir: a realtime document backend. Collections of JSON documents over REST, and every committed change pushed to
//! WebSocket and server-sent event subscribers.
//!
//! Modules in reading order; each may use only those before it, as `ARCHITECTURE.md` draws it:
//!
//! - [`domain`]: what a document, a collection and a change are
//! - [`query`]: one filter, two back-ends
//! - [`store`]: all SQL
//! - [`auth`]: who is asking, and may they
//! - [`hub`]: fan-out of committed changes
//! - [`writer`]: group commit
//! - [`service`]: what a request means
//! - [`api`]: every door into the server
//! - [`config`], [`app`], [`cli`]: settings, assembly, command line

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
pub mod hub;
pub mod live;
pub mod query;
pub mod service;
pub mod store;
pub mod wire;
pub mod writer;
