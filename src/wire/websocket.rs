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

/// The `id` of a named subscription, as JSON. Each of its events begins with it.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedHead(Box<str>);

impl NamedHead {
    /// Makes the head of the subscription `id`.
    pub fn new(id: &str) -> Self {
        Self(serde_json::Value::from(id).to_string().into())
    }

    /// Returns the `id`.
    pub fn id(&self) -> String {
        // It was made of a string.
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Returns the bytes of the `id` as JSON.
    pub fn id_bytes(&self) -> usize {
        self.0.len()
    }

    /// Returns the frame header and the head, for an event whose shared part has `rest` bytes.
    pub fn before(&self, rest: usize) -> Bytes {
        const BEGIN: &[u8] = br#"{"type":"event","id":"#;
        let length = BEGIN.len() + self.0.len() + 1;
        let mut head = frame_header(length + rest, length);
        head.put_slice(BEGIN);
        head.put_slice(self.0.as_bytes());
        head.put_u8(b',');
        head.freeze()
    }
}
