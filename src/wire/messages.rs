//! Everything that the server says on a stream of the documented protocol, except for events.

use bytes::Bytes;
use serde_json::Value;

use super::{Form, json, sse};
use crate::domain::Document;

/// Encodes the answer to a client's `ping` message.
pub fn pong() -> Bytes {
    Form::WebSocket.message("pong", r#"{"type":"pong"}"#)
}

/// Encodes an error. `code` is a word that programs compare, and `message` a sentence for people, to which `hint` adds what a fixed
/// message can't say. `id` is that of the client's message, if it had one.
pub fn error(form: Form, code: &str, message: &str, hint: Option<&str>, id: Option<&Value>) -> Bytes {
    form.message("error", &error_json(code, message, hint, id))
}

/// The same, after which the stream goes on from a cursor.
pub fn error_at(form: Form, cursor: &str, code: &str, message: &str) -> Bytes {
    form.message_at(cursor, "error", &error_json(code, message, None, None))
}

fn error_json(code: &str, message: &str, hint: Option<&str>, id: Option<&Value>) -> String {
    // By hand, because the specification has an order of members that `json!` would not keep.
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    let hint = hint.map(|hint| format!(r#","hint":{}"#, Value::from(hint))).unwrap_or_default();
    format!(r#"{{"type":"error","code":"{code}","message":{}{hint}{id}}}"#, Value::from(message))
}

/// Encodes that a subscription has begun, and that every change after the cursor will come. Without a cursor, a snapshot
/// comes first. `None` where the client isn't told.
pub fn subscribed(form: Form, id: Option<&str>, collection: &str, cursor: Option<&str>) -> Option<Bytes> {
    match form {
        Form::Sse => cursor.map(sse::position),
        Form::Named => {
            let members = format!(r#","collection":{}{}"#, Value::from(collection), cursor_member(cursor));
            Some(form.message("subscribed", &typed("subscribed", id, &members)))
        }
        Form::WebSocket | Form::Library | Form::ResumableLibrary => None,
    }
}

/// Encodes that a named subscription has begun, and waits for its collection, which doesn't exist.
pub fn waiting(id: &str, collection: &str, cursor: Option<&str>) -> Bytes {
    let collection = Value::from(collection);
    let members = format!(r#","collection":{collection}{},"exists":false"#, cursor_member(cursor));
    Form::Named.message("subscribed", &typed("subscribed", Some(id), &members))
}

/// Encodes one page of a snapshot.
pub fn snapshot(form: Form, id: Option<&str>, documents: &[Document]) -> Bytes {
    let mut members = String::from(r#","documents":["#);
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            members.push(',');
        }
        json::write_document(&mut members, document);
    }
    members.push(']');
    form.message("snapshot", &typed("snapshot", id, &members))
}

/// Encodes that the client's view is now the result of its query at this cursor.
pub fn ready(form: Form, id: Option<&str>, cursor: &str) -> Bytes {
    form.message_at(cursor, "ready", &typed("ready", id, &cursor_member(Some(cursor))))
}

/// Encodes that nothing matched for a while, so that the client can resume from this cursor.
pub fn progress(id: &str, cursor: &str) -> Bytes {
    Form::Named.message("progress", &typed("progress", Some(id), &cursor_member(Some(cursor))))
}

/// Encodes that the client's view can't be brought up to date. With a cursor, an SSE stream is live from there on. Without
/// one a snapshot follows, and `Last-Event-ID` is cleared, so that a stream that is cut in the middle starts anew.
pub fn resync(form: Form, id: Option<&str>, code: &str, message: &str, cursor: Option<&str>) -> Bytes {
    let members = format!(r#","code":"{code}","message":{}{}"#, Value::from(message), cursor_member(cursor));
    form.message_at(cursor.unwrap_or_default(), "resync", &typed("resync", id, &members))
}

fn cursor_member(cursor: Option<&str>) -> String {
    cursor.map(|cursor| format!(r#","cursor":"{cursor}""#)).unwrap_or_default()
}

/// Writes a message as JSON; `members` begin with a comma.
fn typed(kind: &str, id: Option<&str>, members: &str) -> String {
    let id = id.map(|id| format!(r#","id":{}"#, Value::from(id))).unwrap_or_default();
    format!(r#"{{"type":"{kind}"{id}{members}}}"#)
}
