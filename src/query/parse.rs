//! JSON filters and query strings → [`Filter`]. All mistakes of a client in a filter are found here.
//!
//! A key is `[or]`, `[or:name]` or nothing, then field names parted by `__or__`, then `__` or `_` and an operator, or
//! nothing for `eq`. Both forms are read by the same functions; they differ in what a value is ([`Literal`]).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Comparison, Field, Filter, Part};
use crate::domain::{FieldPath, Timestamp, document::canonicalise};

/// The most comparisons that a filter may have.
const MAX_TERMS: usize = 50;
/// The deepest that groups, and the values in a filter, may be nested.
const MAX_DEPTH: usize = 8;
/// The most values of an `in` list.
const MAX_LIST: usize = 1000;
/// The longest text to look for inside strings, in bytes: SQLite's search takes the product of both lengths.
const MAX_TEXT_BYTES: usize = 4096;

/// What a term does with its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Eq,
    Ne,
    Compares(Comparison),
    HasText(Part),
    In,
    NotIn,
    IsNull,
    HasElement,
}

/// The suffixes that name an operator. One that ends like another stands before it.
const OPERATORS: [(&str, Operator); 13] = [
    ("eq", Operator::Eq),
    ("ne", Operator::Ne),
    ("gt", Operator::Compares(Comparison::Greater)),
    ("gte", Operator::Compares(Comparison::GreaterOrEqual)),
    ("lt", Operator::Compares(Comparison::Less)),
    ("lte", Operator::Compares(Comparison::LessOrEqual)),
    ("array_contains", Operator::HasElement),
    ("contains", Operator::HasText(Part::Anywhere)),
    ("startswith", Operator::HasText(Part::Start)),
    ("endswith", Operator::HasText(Part::End)),
    ("notin", Operator::NotIn),
    ("in", Operator::In),
    ("isnull", Operator::IsNull),
];

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

/// A term's value: typed JSON, or text that means any value it could denote.
#[derive(Clone, Debug)]
enum Literal {
    Json(Value),
    Text(String),
}

/// Whether the values of a JSON filter are typed, or mean what their text would mean in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// `7` matches the number only.
    Typed,
    /// `7` and `"7"` match the number and the string.
    Text,
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
            groups.add(group, self.term(key, &self.literal(value))?);
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

    fn literal(&self, value: Value) -> Literal {
        match (self.typing, value) {
            (Typing::Text, Value::String(text)) => Literal::Text(text),
            (Typing::Text, value @ (Value::Bool(_) | Value::Number(_))) => Literal::Text(value.to_string()),
            (_, value) => Literal::Json(value),
        }
    }

    /// A term without its group: any of its fields, all by the same operator.
    fn term(&mut self, key: &str, literal: &Literal) -> Result<Filter, FilterError> {
        let (names, operator) = split_operator(key).unwrap_or((key, Operator::Eq));
        let mut alternatives = Vec::new();
        for name in names.split("__or__") {
            self.count += 1;
            if self.count > MAX_TERMS {
                return Err(FilterError(format!("a filter has at most {MAX_TERMS} terms")));
            }
            let field = parse_field(name).map_err(|err| refuse(key, &err))?;
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

/// Splits an operator off a key: `__` is tried before `_`, and a suffix that is no operator belongs to the field.
fn split_operator(key: &str) -> Option<(&str, Operator)> {
    ["__", "_"].iter().find_map(|separator| {
        OPERATORS.iter().find_map(|(suffix, operator)| {
            let name = key.strip_suffix(suffix)?.strip_suffix(separator)?;
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

/// One comparison of one field. The error is the rest of a sentence that names the term.
fn comparison(field: Field, operator: Operator, literal: &Literal, typing: Typing) -> Result<Filter, String> {
    if matches!(field, Field::CreatedAt | Field::UpdatedAt) {
        return time_comparison(field, operator, literal, typing);
    }
    Ok(match operator {
        Operator::Eq => Filter::Equals(field, values(literal)?),
        Operator::Ne => Filter::Equals(field, values(literal)?).negate(),
        Operator::In => Filter::Equals(field, list_values(literal, typing)?),
        Operator::NotIn => Filter::Equals(field, list_values(literal, typing)?).negate(),
        Operator::IsNull => is_null(field, literal)?,
        Operator::HasElement => Filter::HasElement(field, values(literal)?),
        Operator::HasText(part) => Filter::HasText(field, part, text_part(literal)?),
        Operator::Compares(comparison) => {
            let mut values = values(literal)?;
            if matches!(literal, Literal::Json(_))
                && !matches!(values[..], [Value::Number(_) | Value::String(_)])
            {
                return Err("compares with a number or a string".to_owned());
            }
            values.retain(|value| matches!(value, Value::Number(_) | Value::String(_)));
            Filter::Compares(field, comparison, values)
        }
    })
}

/// The values that equal a literal.
fn values(literal: &Literal) -> Result<Vec<Value>, String> {
    match literal {
        Literal::Text(text) if text.contains('\0') => {
            Err("its value contains the character U+0000, which no document has".to_owned())
        }
        Literal::Text(text) => Ok(denoted_values(text)),
        Literal::Json(value) => {
            let mut value = value.clone();
            canonicalise(&mut value, 1).map_err(|err| err.to_string())?;
            if depth(&value) > MAX_DEPTH {
                return Err(format!("its value is nested deeper than {MAX_DEPTH} levels"));
            }
            if let Value::Object(fields) = &value
                && let Some(name) = fields.keys().find(|name| name.starts_with('$'))
            {
                return Err(format!(
                    "`{}` is no operator here; operators end the field's name, as in `age__gte`",
                    shorten(name)
                ));
            }
            Ok(vec![value])
        }
    }
}

/// The values that text could denote: itself, and the number or boolean that it spells.
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

/// The literals of an `in` list. Text is split at commas and trimmed; empty text is the empty list.
fn list(literal: &Literal, typing: Typing) -> Result<Vec<Literal>, String> {
    let items: Vec<_> = match literal {
        Literal::Text(text) if text.trim().is_empty() => Vec::new(),
        Literal::Text(text) => text.split(',').map(|item| Literal::Text(item.trim().to_owned())).collect(),
        Literal::Json(Value::Array(items)) => {
            let terms = Terms { count: 0, typing };
            items.iter().map(|item| terms.literal(item.clone())).collect()
        }
        Literal::Json(_) => return Err("takes a list of values".to_owned()),
    };
    if items.len() > MAX_LIST {
        return Err(format!("its list has {} values; {MAX_LIST} are allowed", items.len()));
    }
    Ok(items)
}

fn list_values(literal: &Literal, typing: Typing) -> Result<Vec<Value>, String> {
    let lists = list(literal, typing)?.iter().map(values).collect::<Result<Vec<_>, _>>()?;
    Ok(lists.concat())
}

fn is_null(field: Field, literal: &Literal) -> Result<Filter, String> {
    let wanted = match literal {
        Literal::Json(Value::Bool(wanted)) => Some(*wanted),
        Literal::Json(_) => None,
        Literal::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
    };
    let null = Filter::Equals(field, vec![Value::Null]);
    match wanted {
        Some(true) => Ok(null),
        Some(false) => Ok(null.negate()),
        None => Err("takes true or false".to_owned()),
    }
}

/// The text of `contains` and its like, with small letters.
fn text_part(literal: &Literal) -> Result<String, String> {
    let text = match literal {
        Literal::Json(Value::String(text)) | Literal::Text(text) => text,
        Literal::Json(_) => return Err("looks for a string".to_owned()),
    };
    if text.contains('\0') {
        return Err("its value contains the character U+0000, which no document has".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("its text has {} bytes; {MAX_TEXT_BYTES} are allowed", text.len()));
    }
    Ok(text.to_ascii_lowercase())
}

/// A comparison with the document's own times, which are always there.
fn time_comparison(
    field: Field,
    operator: Operator,
    literal: &Literal,
    typing: Typing,
) -> Result<Filter, String> {
    let equals = |literals: Vec<Literal>| {
        let times = literals.iter().map(time).collect::<Result<Vec<_>, _>>()?;
        // No stored time has a finer fraction than a millisecond.
        let exact =
            times.into_iter().filter(|time| time.is_exact).map(|time| Value::from(time.millis)).collect();
        Ok::<_, String>(Filter::Equals(field.clone(), exact))
    };
    let own = |literal: &Literal| match literal {
        Literal::Json(Value::Null) => Ok(Filter::Equals(field.clone(), vec![Value::Null])),
        literal => equals(vec![literal.clone()]),
    };
    Ok(match operator {
        Operator::Eq => own(literal)?,
        Operator::Ne => own(literal)?.negate(),
        Operator::In => equals(list(literal, typing)?)?,
        Operator::NotIn => equals(list(literal, typing)?)?.negate(),
        Operator::IsNull => is_null(field, literal)?,
        Operator::Compares(comparison) => {
            let time = time(literal)?;
            // Between two milliseconds, what is at least as late is later than the first of them.
            let comparison = match comparison {
                Comparison::GreaterOrEqual if !time.is_exact => Comparison::Greater,
                Comparison::Less if !time.is_exact => Comparison::LessOrEqual,
                comparison => comparison,
            };
            Filter::Compares(field, comparison, vec![Value::from(time.millis)])
        }
        Operator::HasText(_) | Operator::HasElement => {
            return Err("a time is compared by eq, ne, gt, gte, lt, lte, in and notin".to_owned());
        }
    })
}

/// A moment of a filter.
struct Time {
    /// The last millisecond that isn't after it.
    millis: i64,
    /// Whether it is that millisecond.
    is_exact: bool,
}

fn time(literal: &Literal) -> Result<Time, String> {
    let (Literal::Json(Value::String(text)) | Literal::Text(text)) = literal else {
        return Err("times are compared with RFC 3339 text, such as \"2026-01-31T09:30:00Z\"".to_owned());
    };
    match Timestamp::parse(text) {
        Some((moment, is_exact)) => Ok(Time { millis: moment.0, is_exact }),
        None => {
            let text = shorten(text);
            Err(format!("`{text}` is no time; write RFC 3339 (2026-01-31T09:30:00Z) or a date"))
        }
    }
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

    fn field(name: &str) -> Field {
        parse_field(name).unwrap()
    }

    fn equals(name: &str, values: Vec<Value>) -> Filter {
        Filter::Equals(field(name), values)
    }

    fn typed(value: Value) -> Result<Filter, FilterError> {
        parse_value(value, Typing::Typed)
    }

    /// The one term of a filter.
    fn term(filter: Result<Filter, FilterError>) -> Filter {
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
        assert_eq!(
            term(typed(json!({"createdAt": "1970-01-02"}))),
            equals("createdAt", vec![json!(86_400_000)])
        );
    }

    #[test]
    fn a_suffix_that_is_no_operator_belongs_to_the_field() {
        for key in ["user_id", "user_id__eq", "user_id_eq"] {
            assert_eq!(term(parse_pairs([(key, "x")])), equals("user_id", vec![json!("x")]), "{key}");
        }
        assert_eq!(term(parse_pairs([("checked_in__eq", "x")])), equals("checked_in", vec![json!("x")]));
        assert_eq!(term(parse_pairs([("limit__eq", "x")])), equals("limit", vec![json!("x")]));
        assert_eq!(parse_pairs([("limit", "x")]), Ok(Filter::all()));
        for (key, name) in [("tags_array_contains", "tags"), ("tags__array_contains", "tags")] {
            let expected = Filter::HasElement(field(name), vec![json!("x")]);
            assert_eq!(term(parse_pairs([(key, "x")])), expected, "{key}");
        }
    }

    #[test]
    fn operators_are_read_from_both_forms() {
        let list = equals("a", vec![json!("x"), json!("1"), json!(1)]);
        assert_eq!(term(parse_pairs([("a__in", "x, 1")])), list);
        assert_eq!(term(parse_pairs([("a_notin", "x,1")])), list.clone().negate());
        assert_eq!(term(parse_pairs([("a__in", "")])), equals("a", vec![]));
        assert_eq!(term(typed(json!({"a__in": ["x", null]}))), equals("a", vec![json!("x"), json!(null)]));
        assert_eq!(term(parse_value(json!({"a_in": "x,1"}), Typing::Text)), list);
        assert_eq!(term(parse_pairs([("a__isnull", "TRUE")])), equals("a", vec![json!(null)]));
        assert_eq!(term(typed(json!({"a__isnull": false}))), equals("a", vec![json!(null)]).negate());
        assert_eq!(
            term(typed(json!({"a__startswith": "Ä B"}))),
            Filter::HasText(field("a"), Part::Start, "Ä b".to_owned())
        );
        assert_eq!(
            term(parse_pairs([("a__gte", "1")])),
            Filter::Compares(field("a"), Comparison::GreaterOrEqual, vec![json!("1"), json!(1)])
        );
        // Half a millisecond after the start of 1970.
        for (operator, comparison) in [
            ("gt", Comparison::Greater),
            ("gte", Comparison::Greater),
            ("lt", Comparison::LessOrEqual),
            ("lte", Comparison::LessOrEqual),
        ] {
            let filter =
                parse_pairs([(format!("createdAt__{operator}").as_str(), "1970-01-01T00:00:00.0005Z")]);
            assert_eq!(
                term(filter),
                Filter::Compares(Field::CreatedAt, comparison, vec![json!(0)]),
                "{operator}"
            );
        }
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
