//! An event on the wire, in each form.

use bytes::{BufMut, Bytes};

use super::protocol::{frame_header, text_frame};
use crate::{
    api::cocobase,
    domain::{Document, cursor::Cursor},
    wire::{Encode, Event, EventKind, Form, Head, Reason},
};

/// The dialect of the documented API.
pub struct Encoder;

impl Encode for Encoder {
    fn encode(&self, event: &Event<'_>, form: Form) -> Bytes {
        match form {
            Form::WebSocket => text_frame(message(event).as_bytes()),
            Form::Named => Bytes::from(named_rest(event)),
            Form::Library => cocobase::encode::event(event),
            Form::Sse => {
                let id = if event.shows_cursor { format!("id: {}\n", cursor(event)) } else { String::new() };
                // JSON has no line breaks of its own, so the data is one line.
                Bytes::from(format!("{id}data: {}\n\n", message(event)))
            }
        }
    }
}

/// What the events of a named subscription begin with.
pub struct NamedHead(Bytes);

impl NamedHead {
    /// The head of the subscription `id`.
    pub fn new(id: &str) -> Self {
        Self(Bytes::from(format!(r#"{{"type":"event","id":{},"#, serde_json::Value::from(id))))
    }
}

impl Head for NamedHead {
    fn before(&self, rest: usize) -> Bytes {
        let mut head = frame_header(self.0.len() + rest, self.0.len());
        head.put_slice(&self.0);
        head.freeze()
    }
}

/// A document as named subscriptions and snapshots show it.
pub fn write_document(text: &mut String, document: &Document) {
    // Ids and times need no escaping, and the data is JSON text already.
    text.push_str(&format!(
        r#"{{"id":"{}","data":{},"createdAt":"{}","updatedAt":"{}","version":{}}}"#,
        document.id,
        document.data.text(),
        document.created_at,
        document.updated_at,
        document.version,
    ));
}

/// Written by hand: it is the hot path, ids and names need no escaping, and the data is JSON text already.
fn message(event: &Event<'_>) -> String {
    format!(
        r#"{{"type":"event","collection":"{}","event":"{}","document":{{"id":"{}","data":{},"createdAt":"{}"}}}}"#,
        event.collection,
        kind(event),
        event.document.id,
        event.document.data.text(),
        event.document.created_at,
    )
}

fn named_rest(event: &Event<'_>) -> String {
    let reason = match event.reason {
        Reason::Written => "written",
        Reason::Entered => "entered",
        Reason::Left => "left",
        Reason::Removed => "removed",
    };
    let mut text =
        format!(r#""collection":"{}","event":"{}","reason":"{reason}","#, event.collection, kind(event));
    if event.shows_cursor {
        text.push_str(&format!(r#""cursor":"{}","#, cursor(event)));
    }
    text.push_str(r#""document":"#);
    write_document(&mut text, event.document);
    text.push('}');
    text
}

fn kind(event: &Event<'_>) -> &'static str {
    match event.kind {
        EventKind::Created => "created",
        EventKind::Updated => "updated",
        EventKind::Deleted => "deleted",
    }
}

fn cursor(event: &Event<'_>) -> String {
    Cursor { epoch: event.epoch, position: event.position }.encode(event.project)
}
