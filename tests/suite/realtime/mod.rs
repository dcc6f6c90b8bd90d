//! WebSocket and server-sent event streams.

pub mod costly;
mod filter_bounds;
mod malformed_websocket;
mod named;
mod nodes;
mod revoked;
mod seam;
mod slow_reader;
mod snapshot;
mod sse;
mod tickets;
mod verify;
mod waiting;
mod watch;
mod websocket;
mod websocket_connections;
