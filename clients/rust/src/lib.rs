#![doc = include_str!("../README.md")]
//! # Layers
//!
//! - **Without I/O** (always there): [`sse::Parser`] turns bytes into blocks, [`Message`] turns a block or a WebSocket text into a
//!   typed message, [`Replica`] keeps a view by messages.
//! - **Connections**: [`EventStream`] (feature `sse`) and [`Socket`] (feature `websocket`) read the messages of one connection.
//! - **Watching**: [`Client::watch`] connects again after a cut and resumes by cursor. [`Messages`] returns what comes,
//!   [`View`] feeds it to a replica.

#![warn(missing_docs)]

mod cursor;
mod history;
mod message;
mod replica;
pub mod sse;

#[cfg(feature = "live")]
mod backoff;
#[cfg(feature = "live")]
mod client;
#[cfg(feature = "live")]
mod connection;
#[cfg(feature = "live")]
mod error;
#[cfg(feature = "sse")]
mod event_stream;
#[cfg(feature = "live")]
mod messages;
#[cfg(feature = "websocket")]
mod socket;
#[cfg(feature = "live")]
mod subscribe;
#[cfg(feature = "live")]
mod view;
#[cfg(feature = "live")]
mod watch;

pub use cursor::Cursor;
pub use message::{Content, Document, Event, EventKind, Message, MessageError, Reason};
pub use replica::{Change, Counts, Documents, Misfit, Replica};

#[cfg(feature = "live")]
pub use client::Client;
#[cfg(feature = "live")]
pub use error::Error;
#[cfg(feature = "sse")]
pub use event_stream::EventStream;
#[cfg(feature = "live")]
pub use messages::{Messages, Update};
#[cfg(feature = "websocket")]
pub use socket::Socket;
#[cfg(feature = "live")]
pub use subscribe::Subscribe;
#[cfg(feature = "live")]
pub use view::View;
#[cfg(feature = "live")]
pub use watch::{Transport, Watch};
