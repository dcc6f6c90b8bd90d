//! Events in the libraries' words.

use bytes::Bytes;

use crate::{
    api::{cocobase::shape::CollectionBody, realtime::protocol::text_frame},
    domain::{Collection, Document},
    wire::{Event, EventKind},
};

/// What events of this door call a collection, a line each: the name that it was asked with, as JSON, and its id, name and
/// time. Short, since the hub compares it.
pub fn label(collection: &Collection, asked_name: &str) -> String {
    let Collection { id, name, created_at, .. } = collection;
    format!("{}\n{id}\n{name}\n{created_at}", serde_json::Value::from(asked_name))
}

/// `{"event","collection_id","data","document"}`, and `old_data` of an update. `data` is what the vendor's server sends,
/// `document` what the JavaScript library's documentation says.
pub fn event(event: &Event<'_>) -> Bytes {
    let mut parts = event.collection.split('\n');
    let mut part = || parts.next().unwrap_or_default();
    let (asked_name, id, name, created_at) = (part(), part(), part(), part());
    let collection = serde_json::to_string(&CollectionBody::of(id, name, created_at.to_owned()));
    let collection = collection.expect("strings can be written");
    let kind = match event.kind {
        EventKind::Created => "create",
        EventKind::Updated => "update",
        EventKind::Deleted => "delete",
    };
    let document = document(event.document, id, &collection);
    let mut text = format!(
        r#"{{"event":"{kind}","collection_id":{asked_name},"data":{document},"document":{document}"#,
    );
    if let Some(before) = event.before {
        text.push_str(r#","old_data":"#);
        text.push_str(before.data.text());
    }
    text.push('}');
    text_frame(text.as_bytes())
}

/// Written by hand, as on the other door: ids and times need no escaping, and the rest is JSON text already.
fn document(document: &Document, collection_id: &str, collection: &str) -> String {
    format!(
        r#"{{"id":"{}","collection_id":"{collection_id}","data":{},"created_at":"{}","updated_at":"{}","collection":{collection}}}"#,
        document.id,
        document.data.text(),
        document.created_at,
        document.updated_at,
    )
}
