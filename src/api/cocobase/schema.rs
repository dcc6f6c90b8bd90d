//! Describes the fields of documents, which the Flutter library asks for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::domain::Document;

/// The most fields that are described.
const MAX_FIELDS: usize = 1000;
/// How many values of each field are shown.
const SAMPLES: usize = 3;
/// The longest text that is shown as a value.
const MAX_SAMPLE_BYTES: usize = 100;

#[derive(Default)]
struct Seen {
    types: BTreeMap<&'static str, usize>,
    nulls: usize,
    samples: Vec<Value>,
}

/// Describes the top-level fields of documents, by name: their types, and how often they are null or missing.
pub fn describe(documents: &[Document]) -> Vec<Value> {
    let mut fields: BTreeMap<&str, Seen> = BTreeMap::new();
    for (name, value) in documents.iter().flat_map(|document| document.data.fields()) {
        if !fields.contains_key(name.as_str()) && fields.len() == MAX_FIELDS {
            continue;
        }
        let seen = fields.entry(name).or_default();
        match kind(value) {
            None => seen.nulls += 1,
            Some(kind) => *seen.types.entry(kind).or_default() += 1,
        }
        if seen.samples.len() < SAMPLES && is_short(value) && !seen.samples.contains(value) {
            seen.samples.push(value.clone());
        }
    }
    fields.into_iter().map(|(name, seen)| body(name, &seen, documents.len())).collect()
}

fn body(name: &str, seen: &Seen, documents: usize) -> Value {
    let has_value: usize = seen.types.values().sum();
    let nulls = documents - has_value;
    // Among equally frequent types, the first by name wins.
    let primary = seen.types.iter().rev().max_by_key(|(_, count)| **count).map_or("null", |(kind, _)| *kind);
    let types: Vec<_> = seen.types.keys().copied().chain((seen.nulls > 0).then_some("null")).collect();
    json!({
        "name": name,
        "type": primary,
        "nullable": nulls > 0,
        "types": types,
        "primary_type": primary,
        "null_percentage": nulls as f64 * 100.0 / documents as f64,
        "samples": seen.samples,
    })
}

fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
        Value::Object(_) => Some("object"),
    }
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= MAX_SAMPLE_BYTES,
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
