//! Events of the documented protocol as WebSocket text frames.
//!
//! The events of named subscriptions differ in their `id` only. So an event is encoded once without it, and each named
//! subscription puts its own [`NamedHead`] before the shared rest.

use bytes::{BufMut, Bytes};

use super::{
    event::Event,
    frames::{frame_header, text_frame},
    json,
};

/// Encodes an event for subscriptions without `id`.
pub fn event(event: &Event<'_>) -> Bytes {
    text_frame(json::event(event).as_bytes())
}

/// Encodes what the events of all named subscriptions have in common: the bytes after a [`NamedHead`].
pub fn named_event(event: &Event<'_>) -> Bytes {
    Bytes::from(json::named_event(event))
}

/// The beginning of each event of one named subscription, up to its `id`.
pub struct NamedHead(Bytes);

impl NamedHead {
    /// Makes the head of the subscription `id`.
    pub fn new(id: &str) -> Self {
        Self(Bytes::from(format!(r#"{{"type":"event","id":{},"#, serde_json::Value::from(id))))
    }

    /// Returns the frame header and the head, for an event whose shared part has `rest` bytes.
    pub fn before(&self, rest: usize) -> Bytes {
        let mut head = frame_header(self.0.len() + rest, self.0.len());
        head.put_slice(&self.0);
        head.freeze()
    }
}
