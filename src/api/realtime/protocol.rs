//! What is said on a live stream, in bytes: messages of clients, and what the server answers on each transport.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::{
    api::error::{ApiError, ErrorCode},
    hub::Form,
};

/// A message of a client.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// Says who is asking.
    Auth {
        /// The key.
        token: String,
    },
    /// Begins to watch a collection, or replaces the filters.
    Subscribe {
        /// Name or id.
        collection: String,
        /// JSON filters, if there are any.
        filters: Option<Value>,
    },
    /// Ends watching a collection.
    Unsubscribe {
        /// Name or id.
        collection: String,
    },
    /// Wants a `pong`.
    Ping,
}

/// A message that can't be understood, or can't be done.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: ApiError,
    /// The message's `id`, if it had one: the answer carries it.
    pub id: Option<Value>,
}

/// Reads one text frame: the message, and its `id`, if it has one.
///
/// # Errors
/// [`Refusal`] with `INVALID_BODY`; the connection goes on.
pub fn parse_message(text: &str) -> Result<(ClientMessage, Option<Value>), Refusal> {
    let refuse = |message: String, id: Option<Value>| Refusal {
        error: ApiError::new(ErrorCode::InvalidBody, message),
        id,
    };
    let value: Value = serde_json::from_str(text)
        .map_err(|err| refuse(format!("the message is not valid JSON: {err}"), None))?;
    let Value::Object(mut members) = value else {
        return Err(refuse("a message is a JSON object with a member `type`".to_owned(), None));
    };
    let id = members.get("id").cloned();
    let kind = match members.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        _ => return Err(refuse("a message has a member `type`, which is a string".to_owned(), id)),
    };
    let mut text_member = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(refuse(format!("`{kind}` takes a member `{name}`, which is a string"), id.clone())),
    };
    let message = match kind.as_str() {
        "auth" => ClientMessage::Auth { token: text_member("token")? },
        "ping" => ClientMessage::Ping,
        "subscribe" | "unsubscribe" if id.is_some() => {
            let message =
                "subscriptions with an `id` are not available yet; leave it out for one per collection";
            return Err(refuse(message.to_owned(), id));
        }
        "subscribe" => {
            let collection = text_member("collection")?;
            if let Some(name) = ["since", "snapshot"].into_iter().find(|name| members.contains_key(*name)) {
                return Err(refuse(format!("`{name}` is not available yet"), id));
            }
            let filters = members.remove("filters").filter(|filters| !filters.is_null());
            ClientMessage::Subscribe { collection, filters }
        }
        "unsubscribe" => ClientMessage::Unsubscribe { collection: text_member("collection")? },
        _ => {
            let message = "the message's `type` is none of: auth, subscribe, unsubscribe, ping";
            return Err(refuse(message.to_owned(), id));
        }
    };
    Ok((message, id))
}

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
        Form::WebSocket => text_frame(message.as_bytes()),
        Form::Sse => Bytes::from(format!("event: error\ndata: {message}\n\n")),
    }
}

/// What an idle stream writes, so that both sides find out when the other is gone. On SSE it moves `Last-Event-ID`.
pub fn heartbeat(form: Form, cursor: Option<&str>) -> Bytes {
    match form {
        // RFC 6455, section 5.5.2: a ping, which every client library answers by itself.
        Form::WebSocket => Bytes::from_static(&[0x89, 0]),
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

/// What the client holds can't be brought up to date; it is live from the cursor on.
pub fn sse_resync(code: &str, cursor: &str) -> Bytes {
    Bytes::from(format!(
        "event: resync\nid: {cursor}\ndata: {{\"type\":\"resync\",\"code\":\"{code}\",\"cursor\":\"{cursor}\"}}\n\n"
    ))
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
    let mut frame = BytesMut::with_capacity(10 + text.len());
    frame.put_u8(0x81);
    match text.len() {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(text);
    frame.freeze()
}
