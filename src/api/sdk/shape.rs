//! Documents and collections as the client libraries read them.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{Collection, CollectionName, Document};

/// A document. Times have a zone, which the Go library demands; `collection` is an object, which the Flutter one demands.
#[derive(Serialize)]
pub struct DocumentBody<'a> {
    id: &'a str,
    collection_id: &'a str,
    data: &'a RawValue,
    created_at: String,
    updated_at: String,
    collection: &'a CollectionBody,
}

impl<'a> DocumentBody<'a> {
    /// A document of a collection.
    pub fn new(document: &'a Document, collection: &'a CollectionBody) -> Self {
        Self {
            id: document.id.as_str(),
            collection_id: &collection.id,
            // A document's text is JSON by construction; `null` would be a bug, not a crash.
            data: serde_json::from_str(document.data.text()).unwrap_or(RawValue::NULL),
            created_at: document.created_at.to_string(),
            updated_at: document.updated_at.to_string(),
            collection,
        }
    }
}

/// A collection.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionBody {
    id: String,
    name: String,
    created_at: String,
    webhook_url: Option<String>,
    permissions: Permissions,
}

/// The roles that each kind of call takes; nobody has roles yet, and an empty list means anyone with a key.
#[derive(Clone, Debug, Default, Serialize)]
struct Permissions {
    create: [&'static str; 0],
    read: [&'static str; 0],
    update: [&'static str; 0],
    delete: [&'static str; 0],
}

impl CollectionBody {
    /// A collection that is there.
    pub fn new(collection: &Collection) -> Self {
        Self {
            id: collection.id.to_string(),
            name: collection.name.to_string(),
            created_at: collection.created_at.to_string(),
            webhook_url: None,
            permissions: Permissions::default(),
        }
    }

    /// One that was renamed or removed since the document was written: all that is known is the name that it had.
    pub fn gone(name: &CollectionName, document: &Document) -> Self {
        Self {
            id: name.to_string(),
            name: name.to_string(),
            created_at: document.created_at.to_string(),
            webhook_url: None,
            permissions: Permissions::default(),
        }
    }
}
