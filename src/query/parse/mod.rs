//! JSON filters and query strings → [`Filter`]. All mistakes of a client in a filter are found here.
//!
//! A key is `[or]`, `[or:name]` or nothing, then field names parted by `__or__`, then `__` or `_` and an operator, or
//! nothing for `eq`. Both forms are read by the same functions; they differ in what a value is (`Literal`).
//! What one term means is in this file's parts: `literal`, `operator`, and `times` for the document's own.

mod literal;
mod operator;
mod times;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    domain::FieldPath,
    query::{Field, Filter},
};
pub use literal::Typing;
use literal::{Literal, MAX_DEPTH, shorten};
use operator::Operator;

/// The most comparisons that a filter may have.
const MAX_TERMS: usize = 50;

/// Parameters of a URL that are no filters; a field of such a name is reached with `__eq`.
pub const PARAMETERS: [&str; 19] = [
    "limit",
    "offset",
    "after",
    "orderBy",
    "order",
    "sort",
    "sort_by",
    "sort_order",
    "select",
    "populate",
    "filters",
    "field",
    "operation",
    "of",
    "format",
    "ticket",
    "token",
    "since",
    "snapshot",
];

/// Why a filter was refused; the message names the term and can be shown to the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

impl FilterError {
    /// With a sentence for the caller.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Reads a filter from JSON text, as `filters=` of a URL carries it.
///
/// # Errors
/// [`FilterError`] for what is no JSON object, too large, or not understood.
pub fn parse_json(text: &str) -> Result<Filter, FilterError> {
    let value = serde_json::from_str(text).map_err(|err| {
        FilterError(format!("`filters` must be a JSON object such as {{\"status\":\"published\"}}: {err}"))
    })?;
    parse_value(value, Typing::Typed)
}

/// Reads a filter from JSON, as a `subscribe` message carries it.
///
/// # Errors
/// [`FilterError`] for what is no object, too large, or not understood.
pub fn parse_value(value: Value, typing: Typing) -> Result<Filter, FilterError> {
    let mut terms = Terms { count: 0, typing };
    match value {
        Value::Object(fields) => terms.object(fields, 1),
        _ => {
            let message = "filters must be a JSON object such as {\"status\":\"published\"}";
            Err(FilterError(message.to_owned()))
        }
    }
}

/// Reads the filters among a URL's decoded parameters, in their order; [`PARAMETERS`] are left out. Repeated keys all
/// count. Text means any value that it could denote.
///
/// # Errors
/// [`FilterError`] for too many terms, or one that is not understood.
pub fn parse_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Filter, FilterError> {
    let mut terms = Terms { count: 0, typing: Typing::Text };
    let mut groups = Groups::default();
    for (key, text) in pairs.into_iter().filter(|(key, _)| !PARAMETERS.contains(key)) {
        let (group, key) = split_group(key)?;
        groups.add(group, terms.term(key, &Literal::Text(text.to_owned()))?);
    }
    Ok(groups.into_filter())
}

/// The terms of one object or query string. Those of an `[or]` group are alternatives.
#[derive(Default)]
struct Groups {
    all: Vec<Filter>,
    any: BTreeMap<String, Vec<Filter>>,
}

impl Groups {
    fn add(&mut self, group: Option<&str>, term: Filter) {
        match group {
            None => self.all.push(term),
            Some(name) => self.any.entry(name.to_owned()).or_default().push(term),
        }
    }

    fn into_filter(self) -> Filter {
        let groups = self.any.into_values().map(any_of);
        Filter::And(self.all.into_iter().chain(groups).collect())
    }
}

fn any_of(mut terms: Vec<Filter>) -> Filter {
    match terms.len() {
        1 => terms.remove(0),
        _ => Filter::Or(terms),
    }
}

/// Reads terms and counts them.
struct Terms {
    count: usize,
    typing: Typing,
}

impl Terms {
    /// An object whose members must all hold, at `depth` levels of groups.
    fn object(&mut self, fields: Map<String, Value>, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError(format!("a filter has at most {MAX_DEPTH} levels of groups")));
        }
        let mut groups = Groups::default();
        for (key, value) in fields {
            if key.starts_with('$') {
                groups.add(None, self.group(&key, value, depth)?);
                continue;
            }
            let (group, key) = split_group(&key)?;
            groups.add(group, self.term(key, &Literal::of(value, self.typing))?);
        }
        Ok(groups.into_filter())
    }

    fn group(&mut self, key: &str, value: Value, depth: usize) -> Result<Filter, FilterError> {
        let mut member = |value: Value| match value {
            Value::Object(fields) => self.object(fields, depth + 1),
            _ => Err(refuse(key, &"takes filters, which are JSON objects")),
        };
        match (key, value) {
            ("$and", Value::Array(members)) => {
                members.into_iter().map(member).collect::<Result<_, _>>().map(Filter::And)
            }
            ("$or", Value::Array(members)) => {
                members.into_iter().map(member).collect::<Result<_, _>>().map(any_of)
            }
            ("$not", value) => member(value).map(Filter::negate),
            ("$and" | "$or", _) => Err(refuse(key, &"takes a list of filters")),
            _ => Err(refuse(key, &"is no group; there are `$and`, `$or` and `$not`")),
        }
    }

    /// A term without its group: any of its fields, all by the same operator.
    fn term(&mut self, key: &str, literal: &Literal) -> Result<Filter, FilterError> {
        let (names, operator) = Operator::split(key).unwrap_or((key, Operator::Eq));
        let mut alternatives = Vec::new();
        for name in names.split("__or__") {
            self.count += 1;
            if self.count > MAX_TERMS {
                return Err(FilterError(format!("a filter has at most {MAX_TERMS} terms")));
            }
            let field = parse_field(name).map_err(|err| refuse(key, &err))?;
            let comparison = match field {
                Field::CreatedAt | Field::UpdatedAt => times::comparison,
                Field::Id | Field::Data(_) => operator::comparison,
            };
            let term = comparison(field, operator, literal, self.typing);
            alternatives.push(term.map_err(|why| refuse(key, &why))?);
        }
        Ok(any_of(alternatives))
    }
}

fn refuse(key: &str, why: &dyn std::fmt::Display) -> FilterError {
    FilterError(format!("filter term `{}`: {why}", shorten(key)))
}

/// `[or]key` and `[or:name]key` → the group's name, which is empty for `[or]`, and the key.
fn split_group(key: &str) -> Result<(Option<&str>, &str), FilterError> {
    let Some(rest) = key.strip_prefix("[or") else { return Ok((None, key)) };
    let split = rest.split_once(']').and_then(|(name, key)| match name {
        "" => Some(("", key)),
        name => name.strip_prefix(':').map(|name| (name, key)),
    });
    match split {
        Some((name, key)) => Ok((Some(name), key)),
        None => Err(refuse(key, &"a group is written `[or]field` or `[or:name]field`")),
    }
}

/// A field's name as callers write it: the document's own members by their names, everything else inside the data.
///
/// # Errors
/// The path's own error, for text that is no path.
pub fn parse_field(name: &str) -> Result<Field, crate::domain::name::NameError> {
    Ok(match name {
        "id" => Field::Id,
        "createdAt" | "created_at" => Field::CreatedAt,
        "updatedAt" | "updated_at" => Field::UpdatedAt,
        _ => Field::Data(FieldPath::parse(name.strip_prefix("data.").unwrap_or(name))?),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// The field of a name.
    pub(in crate::query) fn field(name: &str) -> Field {
        parse_field(name).unwrap()
    }

    /// What `eq` and `in` mean.
    pub(in crate::query) fn equals(name: &str, values: Vec<Value>) -> Filter {
        Filter::Equals(field(name), values)
    }

    /// A filter from JSON whose values are typed.
    pub(in crate::query) fn typed(value: Value) -> Result<Filter, FilterError> {
        parse_value(value, Typing::Typed)
    }

    /// The one term of a filter.
    pub(in crate::query) fn term(filter: Result<Filter, FilterError>) -> Filter {
        match filter {
            Ok(Filter::And(mut terms)) if terms.len() == 1 => terms.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_is_typed_and_text_is_not() {
        assert_eq!(term(typed(json!({"room": 7}))), equals("room", vec![json!(7)]));
        assert_eq!(term(parse_pairs([("room", "7")])), equals("room", vec![json!("7"), json!(7)]));
        assert_eq!(
            term(parse_value(json!({"room": 7}), Typing::Text)),
            equals("room", vec![json!("7"), json!(7)])
        );
        assert_eq!(term(parse_pairs([("done", "True")])), equals("done", vec![json!("True"), json!(true)]));
        assert_eq!(term(parse_pairs([("a", "1e400")])), equals("a", vec![json!("1e400")]));
    }

    #[test]
    fn groups_are_alternatives() {
        let one = |name: &str| equals(name, vec![json!("1"), json!(1)]);
        let any = |names: &[&str]| Filter::Or(names.iter().map(|name| one(name)).collect());
        assert_eq!(term(parse_pairs([("a__or__b", "1")])), any(&["a", "b"]));
        assert_eq!(
            parse_pairs([("[or]a", "1"), ("c", "1"), ("[or:x]d", "1"), ("[or]b", "1"), ("[or:x]e_eq", "1")]),
            Ok(Filter::And(vec![one("c"), any(&["a", "b"]), any(&["d", "e"])]))
        );
        assert_eq!(
            term(typed(json!({"$or": [{"a": 1}, {"$not": {"b": 1}}]}))),
            Filter::Or(vec![
                Filter::And(vec![equals("a", vec![json!(1)])]),
                Filter::And(vec![Filter::And(vec![equals("b", vec![json!(1)])]).negate()]),
            ])
        );
        assert_eq!(term(typed(json!({"$or": []}))), Filter::Or(vec![]));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let deep_groups = (0..9).fold(json!({}), |inner, _| json!({ "$not": inner }));
        for (why, filter, named) in [
            ("an unknown group", json!({"$nor": []}), "$nor"),
            ("a group of no list", json!({"$or": {}}), "$or"),
            ("a member that is no object", json!({"$and": [1]}), "$and"),
            ("groups too deep", deep_groups, "levels"),
            ("an operator of another language", json!({"age": {"$gte": 18}}), "$gte"),
            ("a comparison with a boolean", json!({"age__gte": true}), "age__gte"),
            ("a list that is none", json!({"a__in": 1}), "a__in"),
            ("a long list", json!({"a__in": vec![1; 1001]}), "a__in"),
            ("null or not", json!({"a__isnull": "maybe"}), "a__isnull"),
            ("a number in a string", json!({"a__contains": 1}), "a__contains"),
            ("a long text", json!({"a__contains": "x".repeat(5000)}), "a__contains"),
            ("text in a time", json!({"createdAt__contains": "2026"}), "createdAt__contains"),
            ("an open group", json!({"[or": 1}), "[or"),
            ("an empty step", json!({"a..b": 1}), "a..b"),
            ("a time that is none", json!({"createdAt": "noon"}), "createdAt"),
            ("NUL", json!({"a": "\u{0}"}), "`a`"),
            ("depth", json!({"a": [[[[[[[[[1]]]]]]]]]}), "`a`"),
        ] {
            let message = typed(filter).unwrap_err().to_string();
            assert!(message.contains(named), "{why}: {message}");
        }
        assert!(typed(json!([])).is_err());
        assert!(parse_json("{").is_err());
        let many = |count: usize| (0..count).map(|i| (format!("f{i}"), json!(1))).collect();
        assert!(typed(Value::Object(many(50))).is_ok());
        assert!(typed(Value::Object(many(51))).is_err());
    }
}
