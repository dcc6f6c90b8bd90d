//! Live streams of the documented protocol over WebSocket and server-sent events, and the loop that the streams of every
//! door run in.
//!
//! Reading order: [`state`], [`local_shard`] and [`admission`] (what a stream needs, and who may open one), [`connection`], [`conversation`]
//! (the subject of a stream) and [`session`] (the loop) with [`pace`], [`protocol`] with [`messages`] and `validity` (the documented
//! conversation); then the transports: [`ws`] with [`guard`], and [`sse`].

pub mod admission;
pub mod connection;
pub mod conversation;
pub mod guard;
pub mod local_shard;
pub mod messages;
pub mod pace;
pub mod protocol;
pub mod session;
pub mod sse;
pub mod state;
mod validity;
pub mod ws;

pub use admission::{Admission, ConnectionCount};
pub use connection::Connection;
pub use local_shard::LocalShard;
pub use session::Session;
pub use state::Realtime;
