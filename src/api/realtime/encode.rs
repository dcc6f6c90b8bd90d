//! An event on the wire, in each form.

use bytes::Bytes;

use super::protocol::text_frame;
use crate::{
    hub::{Encode, Event, EventKind, Form},
    query::cursor::Cursor,
};

/// The dialect of the documented API.
pub struct Encoder;

impl Encode for Encoder {
    fn encode(&self, event: &Event<'_>, form: Form) -> Bytes {
        match form {
            Form::WebSocket => text_frame(message(event).as_bytes()),
            Form::Sse => {
                let cursor = Cursor { epoch: event.epoch, position: event.position }.encode(event.project);
                // JSON has no line breaks of its own, so the data is one line.
                Bytes::from(format!("id: {cursor}\ndata: {}\n\n", message(event)))
            }
        }
    }
}

/// Written by hand: it is the hot path, ids and names need no escaping, and the data is JSON text already.
fn message(event: &Event<'_>) -> String {
    let kind = match event.kind {
        EventKind::Created => "created",
        EventKind::Updated => "updated",
        EventKind::Deleted => "deleted",
    };
    format!(
        r#"{{"type":"event","collection":"{}","event":"{kind}","document":{{"id":"{}","data":{},"createdAt":"{}"}}}}"#,
        event.collection,
        event.document.id,
        event.document.data.text(),
        event.document.created_at,
    )
}
