//! Parses JSON filters and query strings into a [`Filter`]. Every mistake of a client in a filter is found here.
//!
//! A key has three parts: `[or]` or `[or:name]`, if the term belongs to a group; field names with `__or__` between them; and
//! `__` or `_` with an operator, if that is not `eq`. JSON and query strings share all functions. They differ in their values
//! (`literal`).
//!
//! Reading order: this file, `literal`, `operator`, `term`, and `times` for `createdAt` and `updatedAt`. Names that would mean
//! something else are refused by `spelling` (of a URL), `json_names`, `endings` and `fields`; `foreign` has the tables.

mod endings;
mod fields;
mod foreign;
mod json_names;
mod literal;
mod operator;
mod spelling;
mod term;
mod times;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    domain::{FieldPath, json, json_mistake::explain, name::NameError},
    query::{Field, Filter, FilterSize},
};
use endings::check_endings;
pub use fields::check_own_member;
pub(super) use fields::{check_selected, check_sort_term};
pub use foreign::advice_for;
use json_names::check_json_member;
pub use literal::Typing;
pub(super) use literal::shorten;
use literal::{Literal, MAX_DEPTH};
use operator::Operator;
use spelling::check_spelling;
pub use spelling::{Names, PARAMETERS};

/// The most terms of a filter.
const MAX_TERMS: usize = 50;
/// The most values of all terms of a filter, because each is compared, and stored while the filter is live. The text of a URL
/// may stand for two.
const MAX_VALUES: usize = 5000;
/// The most text of a filter's values and field names, in bytes.
const MAX_TEXT: usize = 128 * 1024;

/// Why a filter is not valid. The message names the term and is for the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

impl FilterError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Parses JSON text: the value of `filters=` in a URL.
///
/// # Errors
/// [`FilterError`] for a text that is not a JSON object, or a filter that is too large or not valid.
pub fn parse_json(text: &str) -> Result<Filter, FilterError> {
    parse_json_with(text, Names::Strict)
}

/// The same, and says how strictly names are read.
///
/// # Errors
/// As [`parse_json`].
pub fn parse_json_with(text: &str, names: Names) -> Result<Filter, FilterError> {
    let value = json::parse(text.as_bytes()).map_err(|err| {
        FilterError(format!(
            "`filters` must be a JSON object such as {{\"status\":\"published\"}}: {}",
            explain(&err)
        ))
    })?;
    parse_object(value, Terms::new(Typing::Typed, names))
}

/// Parses a JSON value: the member `filters` of a message or body. Text values are those of the client libraries, which are
/// read leniently.
///
/// # Errors
/// [`FilterError`] for a value that is not an object, or a filter that is too large or not valid.
pub fn parse_value(value: Value, typing: Typing) -> Result<Filter, FilterError> {
    let names = match typing {
        Typing::Typed => Names::Strict,
        Typing::Text => Names::Lenient,
    };
    parse_object(value, Terms::new(typing, names))
}

fn parse_object(value: Value, mut terms: Terms) -> Result<Filter, FilterError> {
    match value {
        Value::Object(fields) => terms.object(fields, 1),
        _ => {
            let message = "filters must be a JSON object such as {\"status\":\"published\"}";
            Err(FilterError(message.to_owned()))
        }
    }
}

/// Parses the decoded parameters of a URL, without those in [`PARAMETERS`]. Each occurrence of a repeated key is a term.
/// A value matches any value that its text could denote.
///
/// # Errors
/// [`FilterError`] for too many terms, or a term that is not valid.
pub fn parse_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Filter, FilterError> {
    parse_pairs_with(pairs, Names::Strict)
}

/// The same, and says how strictly names are read.
///
/// # Errors
/// As [`parse_pairs`].
pub fn parse_pairs_with<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    names: Names,
) -> Result<Filter, FilterError> {
    let mut terms = Terms::new(Typing::Text, names);
    let mut groups = Groups::default();
    for (key, text) in pairs.into_iter().filter(|(key, _)| !PARAMETERS.contains(key)) {
        if names == Names::Strict && !Operator::split(key).is_some_and(|split| split.is_explicit) {
            let rest = split_group(key)?.rest;
            check_spelling(rest)
                .map_err(|why| FilterError(format!("unknown parameter `{}`: {why}", shorten(key))))?;
        }
        let GroupedKey { group, rest } = split_group(key)?;
        groups.add(group, terms.term(rest, &Literal::Text(text.to_owned()))?);
    }
    Ok(groups.into_filter())
}

/// The terms of one object or query string. The terms of an `[or]` group are alternatives.
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

/// Parses terms, and counts them.
struct Terms {
    count: usize,
    size: FilterSize,
    typing: Typing,
    names: Names,
}

impl Terms {
    fn new(typing: Typing, names: Names) -> Self {
        Self { count: 0, size: FilterSize::default(), typing, names }
    }

    /// Parses an object, all of whose members must hold. It stands at the level `depth` of groups.
    fn object(&mut self, fields: Map<String, Value>, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError(format!("a filter must have at most {MAX_DEPTH} levels of groups")));
        }
        let mut groups = Groups::default();
        for (key, value) in fields {
            if key.starts_with('$') {
                groups.add(None, self.group(&key, value, depth)?);
                continue;
            }
            let GroupedKey { group, rest } = split_group(&key)?;
            if self.names == Names::Strict && !Operator::split(rest).is_some_and(|split| split.is_explicit) {
                check_json_member(rest, &value).map_err(|why| refuse(&key, &why))?;
            }
            groups.add(group, self.term(rest, &Literal::of(value, self.typing))?);
        }
        Ok(groups.into_filter())
    }

    fn group(&mut self, key: &str, value: Value, depth: usize) -> Result<Filter, FilterError> {
        let mut member = |value: Value| match value {
            Value::Object(fields) => self.object(fields, depth + 1),
            _ => Err(refuse(key, &"its members must be filters, which are JSON objects")),
        };
        match (key, value) {
            ("$and", Value::Array(members)) => {
                members.into_iter().map(member).collect::<Result<_, _>>().map(Filter::And)
            }
            ("$or", Value::Array(members)) => {
                members.into_iter().map(member).collect::<Result<_, _>>().map(any_of)
            }
            ("$not", value) => member(value).map(Filter::negate),
            ("$and" | "$or", _) => Err(refuse(key, &"its value must be a list of filters")),
            _ => Err(refuse(key, &"unknown group; use `$and`, `$or` or `$not`")),
        }
    }

    /// Parses a term without its group. Its operator applies to each of its fields, one of which must match.
    fn term(&mut self, key: &str, literal: &Literal) -> Result<Filter, FilterError> {
        let split = Operator::split(key);
        if self.names == Names::Strict {
            check_endings(key, split.as_ref()).map_err(|why| refuse(key, &why))?;
        }
        let (names, operator) = split.map_or((key, Operator::Eq), |split| (split.names, split.operator));
        let mut alternatives = Vec::new();
        for name in names.split("__or__") {
            self.count += 1;
            if self.count > MAX_TERMS {
                return Err(FilterError(format!("a filter must have at most {MAX_TERMS} terms")));
            }
            if self.names == Names::Strict {
                check_own_member(name).map_err(|why| refuse(key, &why))?;
            }
            let field = parse_field(name).map_err(|err| refuse(key, &err))?;
            let comparison = match field {
                Field::CreatedAt | Field::UpdatedAt => times::comparison,
                Field::Id | Field::Data(_) | Field::Masked(_) => term::comparison,
            };
            let term = comparison(field, operator, literal, self.typing).map_err(|why| refuse(key, &why))?;
            self.size.add(term.size());
            if self.size.values > MAX_VALUES {
                return Err(FilterError(format!("a filter must have at most {MAX_VALUES} values")));
            }
            if self.size.text > MAX_TEXT {
                return Err(FilterError(format!("a filter must have at most {MAX_TEXT} bytes of text")));
            }
            alternatives.push(term);
        }
        Ok(any_of(alternatives))
    }
}

fn refuse(key: &str, why: &dyn std::fmt::Display) -> FilterError {
    FilterError(format!("filter term `{}`: {why}", shorten(key)))
}

/// A key without its group.
struct GroupedKey<'a> {
    /// The name of the group: empty for `[or]`.
    group: Option<&'a str>,
    rest: &'a str,
}

/// Splits `[or]key` and `[or:name]key`.
fn split_group(key: &str) -> Result<GroupedKey<'_>, FilterError> {
    let Some(rest) = key.strip_prefix("[or") else { return Ok(GroupedKey { group: None, rest: key }) };
    let split = rest.split_once(']').and_then(|(name, key)| match name {
        "" => Some(("", key)),
        name => name.strip_prefix(':').map(|name| (name, key)),
    });
    match split {
        Some((name, rest)) => Ok(GroupedKey { group: Some(name), rest }),
        None => Err(refuse(key, &"a group is written `[or]field` or `[or:name]field`")),
    }
}

/// Rewrites the names of the fields in the key of a term, such as `[or]data.name__or__data.email_contains`, for a door that
/// shows documents in another form. A key that is not one comes back as it was.
pub fn rename_fields(key: &str, rename: impl FnMut(&str) -> String) -> String {
    let Ok(GroupedKey { rest, .. }) = split_group(key) else { return key.to_owned() };
    let group = &key[..key.len() - rest.len()];
    let (names, operator) =
        rest.split_at(Operator::split(rest).map_or(rest.len(), |split| split.names.len()));
    let names: Vec<_> = names.split("__or__").map(rename).collect();
    format!("{group}{}{operator}", names.join("__or__"))
}

/// Splits the key of a term before its operator. The second part is empty if the key names none.
pub(super) fn split_operator(key: &str) -> (&str, &str) {
    let names = Operator::split(key).map_or(key, |split| split.names);
    key.split_at(names.len())
}

/// Parses the name of a field: a document's own members by their names, and everything else as a path into its data.
///
/// # Errors
/// [`NameError`] for a text that is not a path.
pub fn parse_field(name: &str) -> Result<Field, NameError> {
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

    /// Returns the field with a name.
    pub(in crate::query) fn field(name: &str) -> Field {
        parse_field(name).unwrap()
    }

    /// Returns the filter of `eq` and `in`.
    pub(in crate::query) fn equals(name: &str, values: Vec<Value>) -> Filter {
        Filter::Equals(field(name), values)
    }

    /// Parses JSON with typed values.
    pub(in crate::query) fn typed(value: Value) -> Result<Filter, FilterError> {
        parse_value(value, Typing::Typed)
    }

    /// Returns the only term of a filter.
    pub(in crate::query) fn term(filter: Result<Filter, FilterError>) -> Filter {
        match filter {
            Ok(Filter::And(mut terms)) if terms.len() == 1 => terms.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_of_json_are_typed_and_text_is_not() {
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
    fn terms_of_a_group_are_alternatives() {
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
    fn a_term_that_is_not_valid_is_named_in_the_error() {
        let deep_groups = (0..9).fold(json!({}), |inner, _| json!({ "$not": inner }));
        for (why, filter, named) in [
            ("an unknown group", json!({"$nor": []}), "$nor"),
            ("a group of no list", json!({"$or": {}}), "$or"),
            ("a member that is no object", json!({"$and": [1]}), "$and"),
            ("groups too deep", deep_groups, "levels"),
            ("an operator of another language", json!({"age": {"$gte": 18}}), "age__gte"),
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
        let lists = |lists: usize, value: Value| {
            let lists = (0..lists).map(|i| (format!("f{i}__in"), Value::from(vec![value.clone(); 1000])));
            typed(Value::Object(lists.collect()))
        };
        assert!(lists(5, json!(1)).is_ok());
        assert!(lists(6, json!(1)).unwrap_err().to_string().contains("5000 values"));
        assert!(lists(1, json!("x".repeat(140))).unwrap_err().to_string().contains("bytes of text"));
    }
}
