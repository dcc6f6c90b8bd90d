//! The value of a filter's term: typed JSON, or text, and what that stands for. An error is the rest of a sentence that
//! names the term.

use serde_json::Value;

use crate::domain::data::canonicalise;

/// The deepest that groups, and the values in a filter, may be nested.
pub(super) const MAX_DEPTH: usize = 8;
/// The most values of an `in` list.
const MAX_LIST: usize = 1000;
/// The longest text to look for inside strings, in bytes: SQLite's search takes the product of both lengths.
const MAX_TEXT_BYTES: usize = 4096;

/// Whether the values of a JSON filter are typed, or mean what their text would mean in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// `7` matches the number only.
    Typed,
    /// `7` and `"7"` match the number and the string.
    Text,
}

/// A term's value: typed JSON, or text that means any value it could denote.
#[derive(Clone, Debug)]
pub(super) enum Literal {
    Json(Value),
    Text(String),
}

impl Literal {
    /// What a value of a JSON filter is.
    pub(super) fn of(value: Value, typing: Typing) -> Self {
        match (typing, value) {
            (Typing::Text, Value::String(text)) => Self::Text(text),
            (Typing::Text, value @ (Value::Bool(_) | Value::Number(_))) => Self::Text(value.to_string()),
            (_, value) => Self::Json(value),
        }
    }

    /// The values that equal it.
    pub(super) fn values(&self) -> Result<Vec<Value>, String> {
        match self {
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

    /// The literals of an `in` list. Text is split at commas and trimmed; empty text is the empty list.
    pub(super) fn list(&self, typing: Typing) -> Result<Vec<Literal>, String> {
        let items: Vec<_> = match self {
            Literal::Text(text) if text.trim().is_empty() => Vec::new(),
            Literal::Text(text) => {
                text.split(',').map(|item| Literal::Text(item.trim().to_owned())).collect()
            }
            Literal::Json(Value::Array(items)) => {
                items.iter().map(|item| Literal::of(item.clone(), typing)).collect()
            }
            Literal::Json(_) => return Err("takes a list of values".to_owned()),
        };
        if items.len() > MAX_LIST {
            return Err(format!("its list has {} values; {MAX_LIST} are allowed", items.len()));
        }
        Ok(items)
    }

    /// The values that equal one of its list.
    pub(super) fn list_values(&self, typing: Typing) -> Result<Vec<Value>, String> {
        let lists = self.list(typing)?.iter().map(Literal::values).collect::<Result<Vec<_>, _>>()?;
        Ok(lists.concat())
    }

    /// The text of `contains` and its like, with small letters.
    pub(super) fn text_part(&self) -> Result<String, String> {
        let text = match self {
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

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// A message names the term, but doesn't repeat a kilobyte of it.
pub(super) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}
