//! What the server says on a live stream, in bytes, on each transport.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{encode::write_document, subscription::Lost};
use crate::{api::error::ApiError, domain::Document, wire::Form};

/// The answer to `ping`.
pub fn pong() -> Bytes {
    text_frame(br#"{"type":"pong"}"#)
}

/// An error, as a message or a named event.
pub fn error(form: Form, error: &ApiError, id: Option<&Value>) -> Bytes {
    // In the order of the specification, which `json!` would not keep.
    let mut message =
        format!(r#"{{"type":"error","code":"{}","message":{}"#, error.code.as_str(), json!(error.message));
    if let Some(id) = id {
        message.push_str(&format!(r#","id":{id}"#));
    }
    message.push('}');
    match form {
        Form::WebSocket | Form::Named => text_frame(message.as_bytes()),
        Form::Library => text_frame(json!({ "error": error.message }).to_string().as_bytes()),
        Form::Sse => Bytes::from(format!("event: error\ndata: {message}\n\n")),
    }
}

/// What an idle stream writes, so that both sides find out when the other is gone. On SSE it moves `Last-Event-ID`.
pub fn heartbeat(form: Form, cursor: Option<&str>) -> Bytes {
    match form {
        // RFC 6455, section 5.5.2: a ping, which every client library answers by itself.
        Form::WebSocket | Form::Named | Form::Library => Bytes::from_static(&[0x89, 0]),
        Form::Sse => match cursor {
            Some(cursor) => Bytes::from(format!(": heartbeat\nid: {cursor}\n\n")),
            None => Bytes::from_static(b": heartbeat\n\n"),
        },
    }
}

/// The first block of an SSE stream: how soon to come back after a cut.
pub fn sse_retry() -> Bytes {
    Bytes::from_static(b"retry: 1000\n\n")
}

/// A block that only moves `Last-Event-ID`.
pub fn sse_id(cursor: &str) -> Bytes {
    Bytes::from(format!("id: {cursor}\n\n"))
}

/// A named subscription has begun. Every change after the cursor will come; without one, a snapshot comes first.
pub fn subscribed(id: &str, collection: &str, cursor: Option<&str>) -> Bytes {
    let collection = Value::from(collection);
    said(
        Form::Named,
        "subscribed",
        Some(id),
        &format!(r#","collection":{collection}{}"#, cursor_member(cursor)),
    )
}

/// A page of a snapshot.
pub fn snapshot(form: Form, id: Option<&str>, documents: &[Document]) -> Bytes {
    let mut members = String::from(r#","documents":["#);
    for (place, document) in documents.iter().enumerate() {
        if place > 0 {
            members.push(',');
        }
        write_document(&mut members, document);
    }
    members.push(']');
    said(form, "snapshot", id, &members)
}

/// The view is the query at this cursor.
pub fn ready(form: Form, id: Option<&str>, cursor: &str) -> Bytes {
    let members = cursor_member(Some(cursor));
    match form {
        Form::Sse => with_id(cursor, said(form, "ready", id, &members)),
        Form::WebSocket | Form::Named | Form::Library => said(form, "ready", id, &members),
    }
}

/// Nothing matched for a while: from here on is soon enough.
pub fn progress(id: &str, cursor: &str) -> Bytes {
    said(Form::Named, "progress", Some(id), &cursor_member(Some(cursor)))
}

/// What the client holds can't be brought up to date. With a cursor, an SSE stream is live from there on; without one, a
/// snapshot follows, and `Last-Event-ID` is cleared, so that one that is cut in the middle starts anew.
pub fn resync(form: Form, id: Option<&str>, lost: Lost, cursor: Option<&str>) -> Bytes {
    let message = Value::from(lost.sentence());
    let members = format!(r#","code":"{}","message":{message}{}"#, lost.as_str(), cursor_member(cursor));
    match form {
        Form::Sse => with_id(cursor.unwrap_or_default(), said(form, "resync", id, &members)),
        Form::WebSocket | Form::Named | Form::Library => said(form, "resync", id, &members),
    }
}

fn cursor_member(cursor: Option<&str>) -> String {
    cursor.map(|cursor| format!(r#","cursor":"{cursor}""#)).unwrap_or_default()
}

/// A message or a named event; `members` begin with a comma.
fn said(form: Form, kind: &str, id: Option<&str>, members: &str) -> Bytes {
    let id = id.map(|id| format!(r#","id":{}"#, Value::from(id))).unwrap_or_default();
    match form {
        Form::Sse => Bytes::from(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{id}{members}}}\n\n")),
        Form::WebSocket | Form::Named | Form::Library => {
            text_frame(format!(r#"{{"type":"{kind}"{id}{members}}}"#).as_bytes())
        }
    }
}

/// A block under an id.
fn with_id(id: &str, block: Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(block.len() + id.len() + 6);
    bytes.put_slice(b"id: ");
    bytes.put_slice(id.as_bytes());
    bytes.put_u8(b'\n');
    bytes.put_slice(&block);
    bytes.freeze()
}

/// Close codes (RFC 6455, section 7.4, and the registry that it set up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The client closed.
    Normal = 1000,
    /// The server stops, or the peer gives no sign of life.
    Away = 1001,
    /// Not WebSocket.
    Protocol = 1002,
    /// Text that is not UTF-8.
    InvalidData = 1007,
    /// Not authenticated in time, or no longer allowed.
    NotAllowed = 1008,
    /// Larger than a message may be.
    TooBig = 1009,
    /// Come back: too many connections, or what was missed can't be sent any more.
    TryAgain = 1013,
}

/// The last bytes of a connection: a close frame, or on SSE nothing, since the end of the body says it.
pub fn close(form: Form, code: CloseCode, reason: &str) -> Option<Bytes> {
    if form == Form::Sse {
        return None;
    }
    let mut frame = BytesMut::new();
    // RFC 6455, section 5.5: a control frame's payload fits in 125 bytes; ours are short sentences.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    frame.put_u8(0x88);
    frame.put_u8(2 + reason.len() as u8);
    frame.put_u16(code as u16);
    frame.put_slice(reason);
    Some(frame.freeze())
}

/// A pong frame with what the ping carried (RFC 6455, section 5.5.3).
pub fn pong_frame(payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(125)];
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(0x8a);
    frame.put_u8(payload.len() as u8);
    frame.put_slice(payload);
    frame.freeze()
}

/// A text frame of a server: not masked, in one piece.
pub fn text_frame(text: &[u8]) -> Bytes {
    let mut frame = frame_header(text.len(), text.len());
    frame.put_slice(text);
    frame.freeze()
}

/// What a text frame with so many bytes of text begins with, and room for so much of that text.
pub fn frame_header(length: usize, room: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(10 + room);
    frame.put_u8(0x81);
    match length {
        0..=125 => frame.put_u8(length as u8),
        126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame
}
