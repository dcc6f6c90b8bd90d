//! The parameters of a list as the JSON body of a POST, for what is too long for a URL.

use serde_json::{Map, Value};

use super::{
    Parameters,
    body::{Body, json_object},
    list::{ListParameters, ListStyle},
    parameters::invalid_parameter,
};
use crate::{
    api::error::{ApiError, ErrorCode},
    domain::{json::Unique, nearest},
    query::{
        Filter,
        parse::{self, Typing},
    },
};

const MEMBERS: [&str; 8] = ["filters", "orderBy", "limit", "offset", "after", "select", "populate", "access"];

impl ListParameters {
    /// Reads `{"filters","orderBy","limit","offset","after","select","populate","access"}`. Each may be missing or null, and no body
    /// is an empty one. Returns the parameters, and whether the body asks what the caller may do with each document.
    ///
    /// # Errors
    /// As [`ListParameters::parse`], and `INVALID_BODY` for a body that is no object or has an unknown member.
    pub fn of_body(body: &Body, style: &ListStyle, max_limit: u64) -> Result<(Self, bool), ApiError> {
        let mut filter = Filter::all();
        let mut pairs = Vec::new();
        let mut wants_access = false;
        let members = match body.bytes.is_empty() {
            true => Map::new(),
            false => match json_object(&body.bytes)? {
                Unique(Value::Object(members)) => members,
                Unique(_) => Map::new(),
            },
        };
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "filters" => filter = parse::parse_value(value, Typing::Typed)?,
                "access" => match value {
                    Value::Bool(wanted) => wants_access = wanted,
                    _ => return Err(invalid_parameter("`access` must be true or false")),
                },
                "limit" | "offset" => match value {
                    Value::Number(number) => pairs.push((name, number.to_string())),
                    _ => return Err(invalid_parameter(format!("`{name}` must be a whole number"))),
                },
                "after" => match value {
                    Value::String(text) => pairs.push((name, text)),
                    _ => {
                        return Err(invalid_parameter(
                            "`after` must be the `nextCursor` of a page, which is a string",
                        ));
                    }
                },
                "orderBy" | "select" | "populate" => pairs.push((name.clone(), names(&name, value)?)),
                _ => return Err(unknown_member(&name)),
            }
        }
        let mut parameters = Self::parse(&Parameters::of_pairs(pairs), style, max_limit)?;
        parameters.filter = parameters.filter.and(filter);
        Ok((parameters, wants_access))
    }
}

/// Reads names: a text with commas between them, or a list.
fn names(member: &str, value: Value) -> Result<String, ApiError> {
    let refuse = || {
        invalid_parameter(format!(
            "`{member}` must be a string, as in \"status,title\", or a list of strings"
        ))
    };
    match value {
        Value::String(text) => Ok(text),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
            Ok(texts.ok_or_else(refuse)?.join(","))
        }
        _ => Err(refuse()),
    }
}

fn unknown_member(name: &str) -> ApiError {
    let name: String = name.chars().take(60).collect();
    let advice = match nearest(&name, MEMBERS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "it may have {}; a filter on a field stands in `filters`, as in {{\"filters\":{{\"genre\":\"Fantasy\"}}}}",
            MEMBERS.join(", ")
        ),
    };
    ApiError::new(ErrorCode::InvalidBody, format!("the body has no member `{name}`; {advice}"))
}
