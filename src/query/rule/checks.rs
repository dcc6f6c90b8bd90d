//! Checks of the parts of rules, each of which names the place of a mistake.

use serde_json::{Map, Value, json};

use super::{condition::filter_of, rule_set::RuleError, variable::Template};
use crate::domain::{FieldPath, Segment, nearest};

pub(super) type Result<T> = std::result::Result<T, RuleError>;

/// Checks that the operator of a term takes a value of some type where its variables stand.
pub(super) fn check_term(place: &str, key: &str, value: &Template) -> Result<()> {
    let probes = [json!("2026-01-01T00:00:00Z"), json!(1), json!(true), json!(["x"])];
    let mut first = None;
    for probe in probes {
        match filter_of(key, with_probe(value, &probe)) {
            Ok(_) => return Ok(()),
            Err(message) => first = first.or(Some(message)),
        }
    }
    refuse(place, first.unwrap_or_default())
}

/// Returns the value with `probe` for each variable.
pub(super) fn with_probe(template: &Template, probe: &Value) -> Value {
    match template {
        Template::Fixed(value) => value.clone(),
        Template::Variable(_) => probe.clone(),
        Template::List(items) => items.iter().map(|item| with_probe(item, probe)).collect(),
        Template::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_probe(value, probe))).collect()
        }
    }
}

pub(super) fn template(place: &str, value: &Value) -> Result<Template> {
    Template::parse(value.clone()).or_else(|message| refuse(place, message))
}

pub(super) fn object<'a>(place: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        _ => refuse(place, "must be a JSON object"),
    }
}

pub(super) fn paths(place: &str, value: &Value) -> Result<Vec<FieldPath>> {
    let refused = || refuse(place, "must be a list of fields, such as [\"likes\"]");
    let Value::Array(names) = value else { return refused() };
    let parse = |name: &Value| match name {
        Value::String(name) => path(place, name),
        _ => refuse(place, "must be a list of fields, such as [\"likes\"]"),
    };
    names.iter().map(parse).collect()
}

/// Parses the name of a field of the data. A document's own members are not written by anybody.
pub(super) fn path(place: &str, name: &str) -> Result<FieldPath> {
    if ["id", "createdAt", "updatedAt", "version", "collection"].contains(&name) {
        let message = format!("nobody writes `{name}`; a field of this name in the data is `data.{name}`");
        return refuse(place, message);
    }
    let name = name.strip_prefix("data.").unwrap_or(name);
    FieldPath::parse(name).or_else(|err| refuse(place, err.to_string()))
}

/// Parses the name of a member of an object.
pub(super) fn member_path(place: &str, name: &str) -> Result<FieldPath> {
    let path = path(place, name)?;
    match path.segments().iter().any(|segment| matches!(segment, Segment::Index(_))) {
        true => refuse(place, "the field is a member of an object, and no element of a list"),
        false => Ok(path),
    }
}

pub(super) fn check_members(place: &str, members: &Map<String, Value>, known: &[&str]) -> Result<()> {
    let Some(unknown) = members.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let hint = match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its members are {}", known.join(", ")),
    };
    refuse(place, format!("unknown member `{}`; {hint}", shorten(unknown)))
}

pub(super) fn shorten(text: &str) -> String {
    crate::query::parse::shorten(text)
}

pub(super) fn refuse<T>(place: &str, message: impl Into<String>) -> Result<T> {
    Err(RuleError { place: place.to_owned(), message: message.into() })
}
