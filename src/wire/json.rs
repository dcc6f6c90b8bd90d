//! Events and documents as JSON text, in the documented dialect.
//!
//! The text is put together by hand, because this is the hot path: ids, names, times and cursors need no escaping, and the
//! data of a document is JSON text already.

use super::event::{Event, EventKind, Reason};
use crate::domain::Document;

/// Writes an event for a subscription without `id`. The order and set of its members is fixed by the specification.
pub fn event(event: &Event<'_>) -> String {
    format!(
        r#"{{"type":"event","collection":"{}","event":"{}","document":{{"id":"{}","data":{},"createdAt":"{}"}}}}"#,
        event.collection,
        kind(event),
        event.document.id,
        event.document.data.text(),
        event.document.created_at,
    )
}

/// Writes an event for a named subscription, from the member after its `id` to the closing brace.
pub fn named_event(event: &Event<'_>) -> String {
    let reason = match event.reason {
        Reason::Written => "written",
        Reason::Entered => "entered",
        Reason::Left => "left",
        Reason::Removed => "removed",
    };
    let mut text =
        format!(r#""collection":"{}","event":"{}","reason":"{reason}","#, event.collection, kind(event));
    if event.shows_cursor {
        text.push_str(&format!(r#""cursor":"{}","#, event.cursor()));
    }
    text.push_str(r#""document":"#);
    write_document(&mut text, event.document);
    text.push('}');
    text
}

/// Writes a document as named subscriptions and snapshots show it.
pub fn write_document(text: &mut String, document: &Document) {
    text.push_str(&format!(
        r#"{{"id":"{}","data":{},"createdAt":"{}","updatedAt":"{}","version":{}}}"#,
        document.id,
        document.data.text(),
        document.created_at,
        document.updated_at,
        document.version,
    ));
}

fn kind(event: &Event<'_>) -> &'static str {
    match event.kind {
        EventKind::Created => "created",
        EventKind::Updated => "updated",
        EventKind::Deleted => "deleted",
    }
}
