//! Values of a filter's terms: typed JSON, or text that may stand for several values. Each error is the end of a sentence
//! that names the term.

use serde_json::Value;

use crate::{domain::data::canonicalise, query::parse::operator::nearest_operator};

const NUL: &str = "its value contains the character U+0000, which no document has";
/// The most levels of groups, and of a value in a filter.
pub(super) const MAX_DEPTH: usize = 8;
/// The most values of an `in` list.
const MAX_LIST: usize = 1000;
/// The longest text to look for inside strings, in bytes, because SQLite's search takes time by the product of both lengths.
const MAX_TEXT_BYTES: usize = 4096;

/// Whether the values of a JSON filter are typed, or mean the same as their text in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// `7` matches the number only.
    Typed,
    /// `7` and `"7"` match the number and the string.
    Text,
}

/// The value of a term.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    /// One typed value.
    Json(Value),
    /// Text that matches any value that it could denote.
    Text(String),
}

impl Literal {
    /// Reads a value of a JSON filter.
    pub(super) fn of(value: Value, typing: Typing) -> Self {
        match (typing, value) {
            (Typing::Text, Value::String(text)) => Self::Text(text),
            (Typing::Text, value @ (Value::Bool(_) | Value::Number(_))) => Self::Text(value.to_string()),
            (_, value) => Self::Json(value),
        }
    }

    /// Returns the values that equal this one.
    pub(super) fn values(&self) -> Result<Vec<Value>, String> {
        match self {
            Literal::Text(text) if text.contains('\0') => Err(NUL.to_owned()),
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
                    return Err(unknown_operator(name));
                }
                Ok(vec![value])
            }
        }
    }

    /// Returns the literals of an `in` list. Text is split at commas and trimmed. Empty text is the empty list.
    pub(super) fn list(&self, typing: Typing) -> Result<Vec<Literal>, String> {
        let items: Vec<_> = match self {
            Literal::Text(text) if text.trim().is_empty() => Vec::new(),
            Literal::Text(text) => {
                text.split(',').map(|item| Literal::Text(item.trim().to_owned())).collect()
            }
            Literal::Json(Value::Array(items)) => {
                items.iter().map(|item| Literal::of(item.clone(), typing)).collect()
            }
            Literal::Json(_) => return Err("its value must be a list".to_owned()),
        };
        if items.len() > MAX_LIST {
            return Err(format!("its list has {} values; the limit is {MAX_LIST}", items.len()));
        }
        Ok(items)
    }

    /// Returns the values that equal one of its list.
    pub(super) fn list_values(&self, typing: Typing) -> Result<Vec<Value>, String> {
        let lists = self.list(typing)?.iter().map(Literal::values).collect::<Result<Vec<_>, _>>()?;
        Ok(lists.concat())
    }

    /// Returns the text for `contains`, `startswith` and `endswith`, in lower case.
    pub(super) fn text_part(&self) -> Result<String, String> {
        let text = match self {
            Literal::Json(Value::String(text)) | Literal::Text(text) => text,
            Literal::Json(_) => return Err("its value must be a string".to_owned()),
        };
        if text.contains('\0') {
            return Err(NUL.to_owned());
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(format!("its text has {} bytes; the limit is {MAX_TEXT_BYTES}", text.len()));
        }
        Ok(text.to_ascii_lowercase())
    }
}

/// Returns the values that a text could denote: the string, and the number or boolean that it spells.
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

/// Explains an operator in the style of other query languages: `{"age": {"$gte": 18}}`.
fn unknown_operator(name: &str) -> String {
    let hint = match nearest_operator(name.trim_start_matches('$')) {
        Some(near) => format!("did you mean the field's name with `__{near}` behind it?"),
        None => "operators end the field's name, as in `age__gte`".to_owned(),
    };
    format!("unknown operator `{}`; {hint}", shorten(name))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Shortens a caller's text, because a message must not repeat a kilobyte of it.
pub(in crate::query) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}
