//! JSON filters and query strings → [`Filter`]. All mistakes of a client in a filter are found here.

use serde_json::Value;

use super::{Field, Filter};
use crate::domain::{FieldPath, Timestamp, document::canonicalise};

/// The most comparisons that a filter may have.
const MAX_TERMS: usize = 50;
/// The deepest JSON that a filter may be.
const MAX_DEPTH: usize = 8;

/// The suffixes that name an operator, after `__` or `_`.
const OPERATORS: [&str; 13] = [
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "contains",
    "startswith",
    "endswith",
    "in",
    "notin",
    "isnull",
    "array_contains",
];

/// Parameters of a URL that are no filters; a field of such a name is reached with `__eq`.
pub const PARAMETERS: [&str; 18] = [
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

/// Reads a filter from JSON text, as `filters=` of a URL carries it.
///
/// # Errors
/// [`FilterError`] for what is no JSON object, too large, or not understood.
pub fn parse_json(text: &str) -> Result<Filter, FilterError> {
    let value = serde_json::from_str(text).map_err(|err| {
        FilterError(format!("`filters` must be a JSON object such as {{\"status\":\"published\"}}: {err}"))
    })?;
    parse_value(value)
}

/// Reads a filter from JSON, as a `subscribe` message carries it. Its values are typed: `7` matches the number only.
///
/// # Errors
/// [`FilterError`] for what is no object, too large, or not understood.
pub fn parse_value(value: Value) -> Result<Filter, FilterError> {
    let Value::Object(terms) = value else {
        return Err(FilterError(
            "filters must be a JSON object such as {\"status\":\"published\"}".to_owned(),
        ));
    };
    check_count(terms.len())?;
    let terms = terms.into_iter().map(|(key, value)| json_term(&key, value)).collect::<Result<_, _>>()?;
    Ok(Filter::And(terms))
}

/// Reads the filters among a URL's decoded parameters, in their order; [`PARAMETERS`] are left out. Repeated keys all
/// count. Text means any value that it could denote.
///
/// # Errors
/// [`FilterError`] for too many terms, or one that is not understood.
pub fn parse_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Filter, FilterError> {
    let terms: Vec<_> = pairs
        .into_iter()
        .filter(|(key, _)| !PARAMETERS.contains(key))
        .map(|(key, text)| text_term(key, text))
        .collect::<Result<_, _>>()?;
    check_count(terms.len())?;
    Ok(Filter::And(terms))
}

fn check_count(count: usize) -> Result<(), FilterError> {
    if count > MAX_TERMS {
        return Err(FilterError(format!("a filter has at most {MAX_TERMS} terms; this one has {count}")));
    }
    Ok(())
}

fn json_term(key: &str, mut value: Value) -> Result<Filter, FilterError> {
    let refuse = |why: &dyn std::fmt::Display| FilterError(format!("filter term `{}`: {why}", shorten(key)));
    if key.starts_with('$') {
        return Err(refuse(&"groups (`$and`, `$or`, `$not`) are not available yet"));
    }
    canonicalise(&mut value, 1).map_err(|err| refuse(&err))?;
    if depth(&value) > MAX_DEPTH {
        return Err(refuse(&format!("its value is nested deeper than {MAX_DEPTH} levels")));
    }
    let field = parse_key(key)?;
    let values = match field {
        Field::Data(_) => vec![value],
        Field::Id => vec![value],
        Field::CreatedAt | Field::UpdatedAt => match &value {
            Value::String(text) => vec![parse_time(key, text)?],
            _ => {
                return Err(refuse(
                    &"times are compared with RFC 3339 text, such as \"2026-01-31T09:30:00Z\"",
                ));
            }
        },
    };
    Ok(Filter::Equals(field, values))
}

fn text_term(key: &str, text: &str) -> Result<Filter, FilterError> {
    if text.contains('\0') {
        return Err(FilterError(format!(
            "filter term `{}`: its value contains the character U+0000",
            shorten(key)
        )));
    }
    let field = parse_key(key)?;
    let values = match field {
        Field::Data(_) => denoted_values(text),
        Field::Id => vec![Value::from(text)],
        Field::CreatedAt | Field::UpdatedAt => vec![parse_time(key, text)?],
    };
    Ok(Filter::Equals(field, values))
}

/// The values that text from a URL could denote: itself, and the number or boolean that it spells.
fn denoted_values(text: &str) -> Vec<Value> {
    let mut values = vec![Value::from(text)];
    let spelled = if text.eq_ignore_ascii_case("true") {
        Some(Value::Bool(true))
    } else if text.eq_ignore_ascii_case("false") {
        Some(Value::Bool(false))
    } else {
        serde_json::from_str::<serde_json::Number>(text).ok().map(Value::Number)
    };
    if let Some(mut value) = spelled
        && canonicalise(&mut value, 1).is_ok()
    {
        values.push(value);
    }
    values
}

/// `status`, `status__eq` and `status_eq` → the field; another operator is refused by name.
fn parse_key(key: &str) -> Result<Field, FilterError> {
    let refuse = |why: &dyn std::fmt::Display| FilterError(format!("filter term `{}`: {why}", shorten(key)));
    if key.starts_with('[') || key.contains("__or__") {
        return Err(refuse(&"OR groups are not available yet"));
    }
    let name = match split_operator(key) {
        Some((name, "eq")) => name,
        Some((_, operator)) => {
            return Err(refuse(&format!(
                "the operator `{operator}` is not available yet; `{}__eq` compares a field of this name",
                shorten(key)
            )));
        }
        None => key,
    };
    parse_field(name).map_err(|err| refuse(&err))
}

/// Splits an operator off a key: `__` is tried before `_`, and a suffix that is no operator belongs to the field.
fn split_operator(key: &str) -> Option<(&str, &str)> {
    ["__", "_"].iter().find_map(|separator| {
        OPERATORS.iter().find_map(|operator| {
            let name = key.strip_suffix(operator)?.strip_suffix(separator)?;
            (!name.is_empty()).then_some((name, *operator))
        })
    })
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

fn parse_time(key: &str, text: &str) -> Result<Value, FilterError> {
    Timestamp::parse(text).map(|moment| Value::from(moment.0)).ok_or_else(|| {
        FilterError(format!(
            "filter term `{}`: `{}` is no time; write RFC 3339 (2026-01-31T09:30:00Z) or a date",
            shorten(key),
            shorten(text)
        ))
    })
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A message names the term, but doesn't repeat a kilobyte of it.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn equals(field: &str, values: Vec<Value>) -> Filter {
        Filter::And(vec![Filter::Equals(parse_field(field).unwrap(), values)])
    }

    #[test]
    fn json_is_typed_and_text_is_not() {
        assert_eq!(parse_value(json!({"room": 7})), Ok(equals("room", vec![json!(7)])));
        assert_eq!(parse_pairs([("room", "7")]), Ok(equals("room", vec![json!("7"), json!(7)])));
        assert_eq!(parse_pairs([("done", "True")]), Ok(equals("done", vec![json!("True"), json!(true)])));
        assert_eq!(parse_pairs([("a", "1e400")]), Ok(equals("a", vec![json!("1e400")])));
        assert_eq!(
            parse_value(json!({"createdAt": "1970-01-02"})),
            Ok(equals("createdAt", vec![json!(86_400_000)]))
        );
    }

    #[test]
    fn a_suffix_that_is_no_operator_belongs_to_the_field() {
        for key in ["user_id", "user_id__eq", "user_id_eq"] {
            assert_eq!(parse_pairs([(key, "x")]), Ok(equals("user_id", vec![json!("x")])), "{key}");
        }
        assert_eq!(parse_pairs([("checked_in__eq", "x")]), Ok(equals("checked_in", vec![json!("x")])));
        assert_eq!(parse_pairs([("limit__eq", "x")]), Ok(equals("limit", vec![json!("x")])));
        assert_eq!(parse_pairs([("limit", "x")]), Ok(Filter::all()));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (why, filter, named) in [
            ("an operator", json!({"age__gte": 18}), "age__gte"),
            ("a group", json!({"$or": []}), "$or"),
            ("an empty step", json!({"a..b": 1}), "a..b"),
            ("a time that is none", json!({"createdAt": "noon"}), "createdAt"),
            ("NUL", json!({"a": "\u{0}"}), "`a`"),
            ("depth", json!({"a": [[[[[[[[[1]]]]]]]]]}), "`a`"),
        ] {
            let message = parse_value(filter).unwrap_err().to_string();
            assert!(message.contains(named), "{why}: {message}");
        }
        assert!(parse_value(json!([])).is_err());
        assert!(parse_json("{").is_err());
        let many = (0..51).map(|i| (format!("f{i}"), json!(1))).collect();
        assert!(parse_value(Value::Object(many)).is_err());
    }
}
