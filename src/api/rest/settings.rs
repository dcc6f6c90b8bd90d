//! A collection as it is answered, and its settings.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{
    domain::Collection,
    query::index_definition::{Index, IndexDefinition, IndexState},
    service::collections::{HiddenSettings, IndexAdvice},
};

/// A collection without its settings.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionBody<'a> {
    id: &'a str,
    name: &'a str,
    created_at: String,
}

impl<'a> CollectionBody<'a> {
    pub fn new(collection: &'a Collection) -> Self {
        Self {
            id: collection.id.as_str(),
            name: collection.name.as_str(),
            created_at: collection.created_at.to_string(),
        }
    }
}

/// A collection with its settings.
#[derive(Serialize)]
pub struct SettingsBody<'a> {
    #[serde(flatten)]
    collection: CollectionBody<'a>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    indexes: Option<Vec<IndexBody<'a>>>,
    /// As they were set; `null` for a collection without rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Option<&'a Value>>,
    /// Indexes that the rules want and that are not declared; missing if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advice: Vec<AdviceBody<'a>>,
}

#[derive(Serialize)]
struct AdviceBody<'a> {
    collection: &'a str,
    fields: &'a [String],
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
            IndexState::Awaited | IndexState::Building => ("building", None),
            IndexState::Ready => ("ready", None),
            IndexState::Failed(why) => ("failed", Some(why.as_str())),
        };
        let IndexDefinition { names, unique, .. } = &index.definition;
        Self { name: index.name(), fields: names, unique: *unique, state, error }
    }
}

impl<'a> AdviceBody<'a> {
    fn new(IndexAdvice { collection, fields }: &'a IndexAdvice) -> Self {
        Self { collection, fields }
    }
}

impl<'a> SettingsBody<'a> {
    /// `hidden` is `None` for a caller that may not see it.
    pub fn new(collection: &'a Collection, hidden: Option<&'a HiddenSettings>) -> Self {
        let indexes =
            |hidden: &'a HiddenSettings| hidden.indexes.iter().map(|index| IndexBody::new(index)).collect();
        let schema = collection.schema.as_ref().map(|schema| schema.text());
        Self {
            collection: CollectionBody::new(collection),
            indexes: hidden.map(indexes),
            rules: hidden.map(|hidden| hidden.rules.as_ref().map(|rules| rules.source())),
            advice: hidden.iter().flat_map(|hidden| &hidden.advice).map(AdviceBody::new).collect(),
            // A schema's text is JSON by construction. `null` would be a bug, but not a crash.
            schema: schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(RawValue::NULL),
        }
    }
}
