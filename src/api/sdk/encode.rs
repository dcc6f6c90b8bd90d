//! Events in the libraries' words.

use bytes::Bytes;

use super::shape::CollectionBody;
use crate::{
    api::realtime::protocol::text_frame,
    domain::{Collection, Document},
    hub::{Event, EventKind},
};

/// What events of this door call a collection: the name that it was asked with, its id, and the object that each document
/// carries; as three JSON texts, one a line.
pub fn label(collection: &Collection, asked_name: &str) -> String {
    let text = serde_json::to_string(&CollectionBody::new(collection));
    let object = text.expect("strings can be written");
    format!(
        "{}\n{}\n{object}",
        serde_json::Value::from(asked_name),
        serde_json::Value::from(collection.id.as_str())
    )
}

/// `{"event","collection_id","data","document"}`, and `old_data` of an update. `data` is what the servers of the vendor send,
/// `document` what the JavaScript library's documentation says.
pub fn event(event: &Event<'_>) -> Bytes {
    let mut parts = event.collection.split('\n');
    let mut part = || parts.next().unwrap_or("null");
    let (asked_name, id, collection) = (part(), part(), part());
    let kind = match event.kind {
        EventKind::Created => "create",
        EventKind::Updated => "update",
        EventKind::Deleted => "delete",
    };
    let document = document(event.document, id, collection);
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
        r#"{{"id":"{}","collection_id":{collection_id},"data":{},"created_at":"{}","updated_at":"{}","collection":{collection}}}"#,
        document.id,
        document.data.text(),
        document.created_at,
        document.updated_at,
    )
}
