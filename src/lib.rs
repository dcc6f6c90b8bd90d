//! Coir: a realtime document backend. Collections of JSON documents over REST, and every committed change pushed to
//! WebSocket and server-sent event subscribers.
//!
//! Modules in reading order. The table in `ARCHITECTURE.md` says which module may use which.
//!
//! - [`domain`]: the vocabulary: documents, collections, changes, cursors
//! - [`shares`]: permits and budgets that principals share fairly
//! - [`supervision`]: notices when a part of the server ends or stops moving
//! - [`query`]: filters, sorts and pages, and judging a document in memory
//! - [`wire`]: what is said on a live stream, as bytes
//! - [`store`]: all SQL
//! - [`auth`]: who is asking, and may they
//! - [`hub`]: fans committed changes out to subscriptions
//! - [`writer`]: commits mutations in groups and publishes their changes
//! - [`mail`]: mails to users: the queue, SMTP and the outbox
//! - [`providers`]: what other providers of sign-ins are asked, and what is believed of their answers
//! - [`live`]: a subscription's life between the hub and its client
//! - [`service`]: use cases: what a request means
//! - [`api`]: HTTP, WebSocket and server-sent events
//! - [`config`], [`app`], [`cli`]: settings, assembly, command line

// Both macros panic where the output is a closed pipe or a full disk.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod domain;
pub mod hub;
pub mod live;
pub mod mail;
pub mod providers;
pub mod query;
pub mod service;
pub mod shares;
pub mod store;
pub mod supervision;
pub mod wire;
pub mod writer;
