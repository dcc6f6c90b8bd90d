//! Blocks of a server-sent event stream, in the documented dialect.
//!
//! JSON text has no line breaks of its own, so each block has one `data:` line.

use bytes::Bytes;

use super::{event::Event, json};

/// Encodes an event. It has no name, so that `onmessage` of an `EventSource` gets it.
pub fn event(event: &Event<'_>) -> Bytes {
    let id = if event.shows_cursor { format!("id: {}\n", event.cursor()) } else { String::new() };
    Bytes::from(format!("{id}data: {}\n\n", json::event(event)))
}

/// Encodes a message as an event of the name `kind`.
pub fn message(kind: &str, json: &str) -> Bytes {
    Bytes::from(format!("event: {kind}\ndata: {json}\n\n"))
}

/// The same with an `id:`, which may be empty.
pub fn message_at(id: &str, kind: &str, json: &str) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {json}\n\n"))
}

/// Encodes a comment, and an `id:` if there is a position to tell.
pub fn heartbeat(cursor: Option<&str>) -> Bytes {
    match cursor {
        Some(cursor) => Bytes::from(format!(": heartbeat\nid: {cursor}\n\n")),
        None => Bytes::from_static(b": heartbeat\n\n"),
    }
}

/// Returns the beginning of the first block of a stream: how soon to come back after a cut. The block goes on with what is sent next,
/// because some clients tell a page of each block, also of one without `data:`.
pub fn retry() -> Bytes {
    Bytes::from_static(b"retry: 1000\n")
}

/// Returns the same as a block of its own, for a stream that has no other.
pub fn retry_alone() -> Bytes {
    Bytes::from_static(b"retry: 1000\n\n")
}

/// Encodes a block that only moves `Last-Event-ID`.
pub fn position(cursor: &str) -> Bytes {
    Bytes::from(format!("id: {cursor}\n\n"))
}
