//! The documented API over REST, one file per resource. Success is `{"success":true,"data":…}`; `error` says failure.

pub mod batches;
pub mod collections;
pub mod documents;
pub mod export;
pub mod queries;
pub(in crate::api) mod shown;
pub mod tickets;
pub mod transactions;

use std::sync::Arc;

use actix_web::{HttpResponseBuilder, http::header};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    auth::Principal,
    domain::{Collection, Document},
    query::index_definition::{Index, IndexDefinition, IndexState},
    writer::Committed,
};

use shown::DocumentBody;

/// An answer that is none of the errors.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Success<T> {
    success: bool,
    data: T,
    #[serde(flatten)]
    page: Option<PageEnd>,
}

/// What a list adds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageEnd {
    /// `null` at the end.
    next_cursor: Option<String>,
    cursor: String,
}

impl<T> Success<T> {
    fn new(data: T) -> Self {
        Self { success: true, data, page: None }
    }
}

/// A collection.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct CollectionBody<'a> {
    id: &'a str,
    name: &'a str,
    created_at: String,
}

impl<'a> CollectionBody<'a> {
    pub(in crate::api) fn new(collection: &'a Collection) -> Self {
        Self {
            id: collection.id.as_str(),
            name: collection.name.as_str(),
            created_at: collection.created_at.to_string(),
        }
    }
}

/// A collection with all of its settings.
#[derive(Serialize)]
struct SettingsBody<'a> {
    #[serde(flatten)]
    collection: CollectionBody<'a>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    indexes: Option<Vec<IndexBody<'a>>>,
}

#[derive(Serialize)]
struct IndexBody<'a> {
    name: String,
    fields: &'a [String],
    unique: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> IndexBody<'a> {
    fn new(index: &'a Index) -> Self {
        let (state, error) = match &index.state {
            IndexState::Building => ("building", None),
            IndexState::Ready => ("ready", None),
            IndexState::Failed(why) => ("failed", Some(why.as_str())),
        };
        let IndexDefinition { names, unique, .. } = &index.definition;
        Self { name: index.name(), fields: names, unique: *unique, state, error }
    }
}

impl<'a> SettingsBody<'a> {
    /// Without indexes for who may not see them.
    fn new(collection: &'a Collection, indexes: Option<&'a [Arc<Index>]>) -> Self {
        let schema = collection.schema.as_ref().map(|schema| schema.text());
        Self {
            collection: CollectionBody::new(collection),
            indexes: indexes.map(|indexes| indexes.iter().map(|index| IndexBody::new(index)).collect()),
            // JSON by construction, as a document's text is.
            schema: schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(RawValue::NULL),
        }
    }
}

/// The header of every answer to a write: where in the log its last change is.
pub(in crate::api) fn add_cursor(
    response: &mut HttpResponseBuilder,
    principal: &Principal,
    committed: &Committed,
) {
    response.insert_header(("X-Cursor", committed.cursor.encode(&principal.project)));
}

fn add_entity_tag(response: &mut HttpResponseBuilder, document: &Document) {
    response.insert_header((header::ETAG, document.entity_tag()));
}
