//! Events in the dialect of the published Cocobase client libraries.

use bytes::Bytes;
use serde::Serialize;

use super::{
    event::{Event, EventKind},
    frames::text_frame,
};
use crate::domain::{Collection, CollectionName, Document, Timestamp};

/// A collection as these libraries read it.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionBody {
    /// The collection's id.
    pub id: String,
    name: String,
    created_at: String,
    webhook_url: Option<String>,
    permissions: Permissions,
}

/// The roles that each kind of call takes. An empty list means anyone with a key. Only servers see them, and others see empty lists.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Permissions {
    pub create: Vec<String>,
    pub read: Vec<String>,
    pub update: Vec<String>,
    pub delete: Vec<String>,
}

impl CollectionBody {
    /// Describes a collection that exists.
    pub fn new(collection: &Collection) -> Self {
        let created_at = collection.created_at.to_string();
        Self::of(collection.id.as_str(), collection.name.as_str(), created_at)
    }

    /// Describes a collection to a server, which sees the permissions.
    pub fn with_permissions(collection: &Collection, permissions: Permissions) -> Self {
        Self { permissions, ..Self::new(collection) }
    }

    /// Describes a collection that was renamed or removed after the document was written. Only its old name is known.
    pub fn gone(name: &CollectionName, written_at: Timestamp) -> Self {
        Self::of(name.as_str(), name.as_str(), written_at.to_string())
    }

    fn of(id: &str, name: &str, created_at: String) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            created_at,
            webhook_url: None,
            permissions: Permissions::default(),
        }
    }
}

/// Returns what events call a collection, one line each: the name that it was asked with as JSON, its id, its name and its
/// time. It is short because the hub compares it.
pub fn label(collection: &Collection, asked_name: &str) -> String {
    let Collection { id, name, created_at, .. } = collection;
    format!("{}\n{id}\n{name}\n{created_at}", serde_json::Value::from(asked_name))
}

/// Encodes `{"event","collection_id","data","document"}`, and `old_data` of an update. `data` is what the vendor's server
/// sends, and `document` what the JavaScript library's documentation says. `cursor` is for a watcher that resumes.
pub fn event(event: &Event<'_>, cursor: Option<&str>) -> Bytes {
    let mut lines = event.collection.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (asked_name, id, name, created_at) = (line(), line(), line(), line());
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
    if let Some(cursor) = cursor {
        // A cursor needs no escaping.
        text.push_str(&format!(r#","cursor":"{cursor}""#));
    }
    text.push('}');
    text_frame(text.as_bytes())
}

/// Writes a document by hand: ids and times need no escaping, and the rest is JSON text already.
fn document(document: &Document, collection_id: &str, collection: &str) -> String {
    format!(
        r#"{{"id":"{}","collection_id":"{collection_id}","data":{},"created_at":"{}","updated_at":"{}","collection":{collection}}}"#,
        document.id,
        document.data.text(),
        document.created_at,
        document.updated_at,
    )
}

/// Where a watcher begins that can resume.
pub struct Beginning {
    /// Every change after this cursor comes.
    pub cursor: String,
    /// Whether that is where the client was. `None` if it had no cursor.
    pub is_resumed: Option<bool>,
}

/// Encodes the first message of a watcher's socket. `filters` is what the client sent.
pub fn connected(
    asked_name: &str,
    filters: Option<&serde_json::Value>,
    beginning: Option<&Beginning>,
) -> Bytes {
    let asked_name = serde_json::Value::from(asked_name);
    let filters = filters.map(|filters| format!(r#","filters":{filters}"#)).unwrap_or_default();
    let cursor =
        beginning.map(|beginning| format!(r#","cursor":"{}""#, beginning.cursor)).unwrap_or_default();
    let resumed = beginning.and_then(|beginning| beginning.is_resumed);
    let resumed = resumed.map(|resumed| format!(r#","resumed":{resumed}"#)).unwrap_or_default();
    let text = format!(r#"{{"event":"connected","collection_id":{asked_name}{filters}{cursor}{resumed}}}"#);
    text_frame(text.as_bytes())
}

/// Encodes a message that is a whole JSON value.
pub fn message(json: &serde_json::Value) -> Bytes {
    text_frame(json.to_string().as_bytes())
}
