//! Random filters and sorts for the documents of a [`corpus`](super::corpus). A filter takes its values from the documents, so
//! that each operator is often true and often false for each type.

use std::cmp::Ordering;

use coir::{
    domain::Document,
    query::{
        Filter,
        key::Key,
        parse::{Typing, parse_pairs, parse_value},
    },
};
use proptest::{
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Map, Value, json};

use super::corpus::{DOCUMENTS, FIELDS};

/// How many filters a round has.
const FILTERS: usize = 80;

const ORDERED: [&str; 4] = ["gt", "gte", "lt", "lte"];
const TEXTS: [&str; 3] = ["contains", "startswith", "endswith"];

/// A filter in the forms in which it can be sent.
#[derive(Clone, Debug)]
pub enum Question {
    Json(Value),
    Url(Vec<(String, String)>),
}

/// One filter. If it is a single comparison, it comes with the operator and the type that it tests.
#[derive(Clone, Debug)]
pub struct Asked {
    pub cell: Option<(String, &'static str)>,
    pub question: Question,
}

impl Asked {
    pub fn filter(&self) -> Filter {
        match &self.question {
            Question::Json(json) => parse_value(json.clone(), Typing::Typed).unwrap(),
            Question::Url(pairs) => {
                parse_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))).unwrap()
            }
        }
    }

    pub fn parameters(&self) -> Vec<(String, String)> {
        match &self.question {
            Question::Json(json) => vec![("filters".to_owned(), json.to_string())],
            Question::Url(pairs) => pairs.clone(),
        }
    }

    /// Returns the same question with each place of a document (`@7`) replaced by the document's value.
    pub fn with_time(&self, documents: &[Document]) -> Self {
        let mut asked = self.clone();
        if let Question::Url(pairs) = &mut asked.question
            && asked.cell.is_none()
        {
            for (key, value) in pairs {
                let Some(place) = value.strip_prefix('@') else { continue };
                let document = &documents[place.parse::<usize>().unwrap()];
                *value = match key.split("__").next() {
                    Some("id") => document.id.to_string(),
                    Some("createdAt") => document.created_at.to_string(),
                    _ => document.updated_at.to_string(),
                };
            }
        }
        asked
    }
}

/// Filters of one round: single comparisons, and what groups make of them.
pub fn filters(palettes: &[Vec<Value>]) -> impl Strategy<Value = Vec<Asked>> + use<> {
    let single = comparison(palettes.to_vec());
    let object =
        || comparison(palettes.to_vec()).prop_map(|(key, literal, _)| json!({ key: literal })).boxed();
    let nested = object().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({ "$and": members })),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|members| json!({ "$or": members })),
            inner.prop_map(|member| json!({ "$not": member })),
        ]
    });
    let nested = nested.prop_map(|json| Asked { cell: None, question: Question::Json(json) });
    let several =
        prop::collection::vec((object(), select(vec!["", "[or]", "[or:x]"])), 1..5).prop_map(|terms| {
            let mut json = Map::new();
            for (term, group) in terms {
                json.extend(
                    term.as_object()
                        .unwrap()
                        .iter()
                        .map(|(key, value)| (format!("{group}{key}"), value.clone())),
                );
            }
            Asked { cell: None, question: Question::Json(Value::Object(json)) }
        });
    let across = comparison(palettes.to_vec()).prop_map(|(key, literal, _)| Asked {
        cell: None,
        question: Question::Json(json!({ format!("n__or__a.b__or__{key}"): literal })),
    });
    let own = (select(vec!["id", "createdAt", "updatedAt"]), select(ORDERED.to_vec()), any::<Index>());
    let own = own.prop_map(|(field, operator, place)| Asked {
        cell: None,
        question: Question::Url(vec![(
            format!("{field}__{operator}"),
            format!("@{}", place.index(DOCUMENTS)),
        )]),
    });
    let asked = prop_oneof![12 => single.prop_map(|(.., asked)| asked), 3 => nested, 2 => several, 1 => across, 1 => own];
    prop::collection::vec(asked, FILTERS)
}

/// Returns a sort by some of the fields, as text for `orderBy`.
pub fn sort_text() -> impl Strategy<Value = String> {
    let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).chain(["createdAt", "id"]).collect();
    prop::collection::vec((any::<bool>(), select(names)), 1..4).prop_map(|terms| {
        let terms = terms.iter().map(|(down, name)| format!("{}{name}", if *down { "-" } else { "" }));
        terms.collect::<Vec<_>>().join(",")
    })
}

/// Returns a comparison of a field with one of its own values.
fn comparison(palettes: Vec<Vec<Value>>) -> impl Strategy<Value = (String, Value, Asked)> {
    let chosen = (0..FIELDS.len(), any::<Index>(), any::<Index>(), any::<[Index; 2]>(), any::<bool>());
    chosen.prop_map(move |(field, value, operator, [other, to], as_text)| {
        let (name, values) = (FIELDS[field].0, &palettes[field]);
        let value = value.get(values).clone();
        let mut operators = vec!["eq", "ne", "in", "notin", "isnull"];
        let mut literal = value.clone();
        match &value {
            Value::Number(_) => operators.extend(ORDERED),
            Value::String(_) => operators.extend(ORDERED.iter().chain(&TEXTS)),
            Value::Array(elements) if !elements.is_empty() => operators.extend(["array_contains"; 5]),
            _ => {}
        }
        let operator = *operator.get(&operators);
        match (operator, &value) {
            ("in" | "notin", _) => literal = json!([value, other.get(values)]),
            // The value of the two that more documents are beyond.
            ("gt" | "gte" | "lt" | "lte", _) => {
                let another = other.get(values);
                let order = Key::of(Some(another)).cmp(&Key::of(Some(&value)));
                let wanted = if operator.starts_with('g') { Ordering::Less } else { Ordering::Greater };
                if kind_of(another) == kind_of(&value) && order == wanted {
                    literal = another.clone();
                }
            }
            ("isnull", _) => literal = Value::Bool(other.index(2) == 0),
            ("array_contains", Value::Array(elements)) => {
                literal = other.get(elements).clone();
            }
            (operator, Value::String(text)) if TEXTS.contains(&operator) => {
                literal = Value::from(part_of(text, other, to, operator));
            }
            _ => {}
        }
        let kind = match (operator, &literal) {
            ("in" | "notin", _) => kind_of(&value),
            ("isnull", _) => "any",
            (_, literal) => kind_of(literal),
        };
        let key = format!("{name}__{operator}");
        let is_list = matches!(operator, "in" | "notin");
        let text = if as_text && is_list == literal.is_array() { url_text(&literal) } else { None };
        let (cell, question) = match text {
            Some(text) => (format!("{operator}="), Question::Url(vec![(key.clone(), text)])),
            None => (operator.to_owned(), Question::Json(json!({ key.clone(): literal.clone() }))),
        };
        (key, literal, Asked { cell: Some((cell, kind)), question })
    })
}

/// Returns a part of a string, in upper or lower case.
fn part_of(text: &str, from: Index, to: Index, operator: &str) -> String {
    let chars: Vec<_> = text.chars().collect();
    let (mut first, mut last) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
    if first > last {
        std::mem::swap(&mut first, &mut last);
    }
    match operator {
        "startswith" => first = 0,
        "endswith" => last = chars.len(),
        _ => {}
    }
    let part: String = chars[first..last].iter().collect();
    if from.index(2) == 0 { part.to_ascii_uppercase() } else { part }
}

/// Returns a value as text of a URL; `None` if a URL can't express it.
fn url_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let items = items.iter().map(|item| match item {
                Value::Array(_) => None,
                item => url_text(item).filter(|text| !text.contains(',') && text.trim() == text),
            });
            items.collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "double",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
