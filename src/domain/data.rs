//! A document's data: JSON in one canonical form, so that equal values have equal texts.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Number, Value};

use super::{json, json_mistake::explain, survey::survey};

/// Why a text is not a document's data.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Not JSON, a number outside the range of doubles, a lone surrogate, or nesting that the parser refuses.
    #[error("the body is not valid JSON: {0}")]
    Syntax(String),
    /// An object has a member twice.
    #[error("the body is not valid: {0}")]
    Doubled(String),
    #[error("the body is empty; send a JSON object, such as {{\"title\":\"Hello\"}}")]
    Empty,
    #[error("a document must be a JSON object; this is {0}")]
    NotAnObject(&'static str),
    /// The document itself is level 1.
    #[error("the document is nested deeper than {0} levels, which is the limit")]
    TooDeep(usize),
    /// PostgreSQL can't store this character, and both databases must give the same answer.
    #[error("a string or field name contains the character U+0000, which can't be stored")]
    Nul,
}

/// The most levels of a document. A parser that recurses must not run out of stack.
pub const MAX_DEPTH: usize = 64;

/// A document's data: a JSON object in its one canonical form.
///
/// In canonical form, keys are sorted, each is there once, there is no white space, and each number has one
/// spelling. So the matcher, SQLite and PostgreSQL see the same document, and equal values have equal texts.
///
/// A number is a signed 64-bit integer or an IEEE double. An integer outside of 64 bits becomes the nearest double, and a
/// whole double inside becomes an integer. The text is made once. It is stored, sent, and bounded in bytes.
///
/// Stored data is parsed when its values are first needed, since most readers send the text as it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Data(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    text: String,
    /// The text as a value. Always an object.
    value: OnceLock<Value>,
    weight: usize,
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Data {
    /// Returns the object without members.
    pub fn empty() -> Self {
        let text = "{}".to_owned();
        let weight = weight(&text, 0);
        Self(Arc::new(Parts { text, value: Value::Object(Map::new()).into(), weight }))
    }

    /// Parses the body of a request.
    ///
    /// # Errors
    /// [`DataError`], whose message is for the caller.
    pub fn parse(json: &[u8]) -> Result<Self, DataError> {
        if json.trim_ascii().is_empty() {
            return Err(DataError::Empty);
        }
        Self::from_value(json::parse(json).map_err(mistake)?)
    }

    /// Brings an object into canonical form.
    ///
    /// # Errors
    /// [`DataError`], whose message is for the caller.
    pub fn from_value(value: Value) -> Result<Self, DataError> {
        let mut fields = match value {
            Value::Object(fields) => fields,
            other => return Err(DataError::NotAnObject(kind_of(&other))),
        };
        canonicalise_fields(&mut fields, 1)?;
        Self::from_canonical(fields)
    }

    fn from_canonical(fields: Map<String, Value>) -> Result<Self, DataError> {
        let text = serde_json::to_string(&fields).map_err(|err| DataError::Syntax(err.to_string()))?;
        let weight = weight(&text, count_values(fields.values()));
        Ok(Self(Arc::new(Parts { text, value: Value::Object(fields).into(), weight })))
    }

    /// Reads data from a text that was stored and comes back as it was. Looks at each byte once, and keeps the text. A text that
    /// something else has written is brought into canonical form, as far as its order of keys and its numbers show that.
    ///
    /// # Errors
    /// [`DataError`] if something else wrote to the database.
    pub fn from_stored(text: String) -> Result<Self, DataError> {
        match survey(&text) {
            Some(values) => {
                let weight = weight(&text, values);
                Ok(Self(Arc::new(Parts { text, value: OnceLock::new(), weight })))
            }
            None => Self::from_value(json::parse_lenient(text.as_bytes()).map_err(mistake)?),
        }
    }

    pub fn fields(&self) -> &Map<String, Value> {
        match self.value() {
            Value::Object(fields) => fields,
            _ => unreachable!("data is made of an object"),
        }
    }

    pub fn value(&self) -> &Value {
        self.0.value.get_or_init(|| {
            // The survey has found that it is an object, and has read it to its end with the same parser.
            json::parse(self.0.text.as_bytes()).unwrap_or_else(|_| Value::Object(Map::new()))
        })
    }

    /// Returns the canonical JSON text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns this object with the top-level members of `patch` over its own. `null` is a value like any other.
    ///
    /// # Errors
    /// None in practice: both objects are canonical, and members keep their depth.
    pub fn merge(&self, patch: &Data) -> Result<Self, DataError> {
        let mut fields = self.fields().clone();
        fields.extend(patch.fields().iter().map(|(key, value)| (key.clone(), value.clone())));
        Self::from_canonical(fields)
    }

    /// Estimates the bytes of memory that this takes: up to 20 times its text, for a list of digits.
    pub fn weight(&self) -> usize {
        self.0.weight
    }
}

fn mistake(err: serde_json::Error) -> DataError {
    // The parser has a limit of its own, above that of a document.
    if err.to_string().starts_with("recursion limit exceeded") {
        DataError::TooDeep(MAX_DEPTH)
    } else if err.is_data() {
        DataError::Doubled(explain(&err))
    } else {
        DataError::Syntax(explain(&err))
    }
}

/// The text is held twice: as it is, and in the strings of the parsed form.
fn weight(text: &str, values: usize) -> usize {
    2 * text.len() + BYTES_PER_VALUE * values
}

/// Estimates the bytes of memory that JSON takes once it is parsed as [`Data`], beside its text. Looks at each byte once.
pub fn estimate_weight(json: &[u8]) -> usize {
    // Each value but the first stands behind one of these. In strings they count, too, so that this is the most.
    let values = json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() + 1;
    2 * json.len() + BYTES_PER_VALUE * values
}

/// The memory of a parsed value beside its text: the value, its key, and its share of a tree node.
const BYTES_PER_VALUE: usize = 64;

fn count_values<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let count = |value: &Value| match value {
        Value::Array(items) => 1 + count_values(items.iter()),
        Value::Object(fields) => 1 + count_values(fields.values()),
        _ => 1,
    };
    values.map(count).sum()
}

/// Names the type of a value: `a string`.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Brings a JSON value at the level `depth` into the canonical form of [`Data`].
///
/// # Errors
/// [`DataError::TooDeep`] and [`DataError::Nul`].
pub fn canonicalise(value: &mut Value, depth: usize) -> Result<(), DataError> {
    match value {
        Value::Number(number) => canonicalise_number(number),
        Value::String(text) if text.contains('\0') => return Err(DataError::Nul),
        Value::Array(items) => {
            check_depth(depth)?;
            for item in items {
                canonicalise(item, depth + 1)?;
            }
        }
        Value::Object(fields) => canonicalise_fields(fields, depth)?,
        _ => {}
    }
    Ok(())
}

fn canonicalise_fields(fields: &mut Map<String, Value>, depth: usize) -> Result<(), DataError> {
    check_depth(depth)?;
    for (key, value) in fields.iter_mut() {
        if key.contains('\0') {
            return Err(DataError::Nul);
        }
        canonicalise(value, depth + 1)?;
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), DataError> {
    if depth > MAX_DEPTH { Err(DataError::TooDeep(MAX_DEPTH)) } else { Ok(()) }
}

fn canonicalise_number(number: &mut Number) {
    if number.is_i64() {
        return;
    }
    let Some(double) = number.as_f64() else { return };
    // 2^63 is the first double outside of signed 64-bit integers.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double.fract() == 0.0 && (-LIMIT..LIMIT).contains(&double) {
        *number = Number::from(double as i64);
    } else if let Some(exact) = Number::from_f64(double) {
        *number = exact;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_documents_have_equal_texts() {
        for (why, json, text) in [
            ("keys are sorted", r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            ("a whole double is an integer", r#"{"a":[1.0,-0.0,1e3]}"#, r#"{"a":[1,0,1000]}"#),
            ("2^60 as a double", r#"{"a":1.152921504606847e18}"#, r#"{"a":1152921504606846976}"#),
            ("past 64 bits a double", r#"{"a":18446744073709551615}"#, r#"{"a":1.8446744073709552e+19}"#),
            ("i64 exactly", r#"{"a":-9223372036854775808}"#, r#"{"a":-9223372036854775808}"#),
            ("fractions stay", r#"{"a":0.1}"#, r#"{"a":0.1}"#),
        ] {
            assert_eq!(Data::parse(json.as_bytes()).unwrap().text(), text, "{why}");
        }
    }

    #[test]
    fn data_that_a_database_could_not_store_is_rejected() {
        let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(Data::parse(deep(64).as_bytes()).is_ok());
        assert_eq!(Data::parse(deep(65).as_bytes()), Err(DataError::TooDeep(64)));
        assert_eq!(Data::parse(deep(100_000).as_bytes()), Err(DataError::TooDeep(64)));
        assert_eq!(Data::parse(br#"{"a":"\u0000"}"#), Err(DataError::Nul));
        assert_eq!(Data::parse(br#"{"\u0000":1}"#), Err(DataError::Nul));
        assert_eq!(Data::parse(b"[]"), Err(DataError::NotAnObject("an array")));
        for doubled in [&br#"{"a":1,"a":1}"#[..], br#"{"b":[{"a":1,"a":2}]}"#] {
            assert!(matches!(Data::parse(doubled), Err(DataError::Doubled(_))), "{doubled:?}");
        }
        assert_eq!(
            Data::parse(
                b" 
"
            ),
            Err(DataError::Empty)
        );
        for broken in [&br#"{"a":"\ud800"}"#[..], br#"{"a":1e400}"#, b"{", b"{\"a\":\"\xff\"}", b"{} {}"] {
            assert!(matches!(Data::parse(broken), Err(DataError::Syntax(_))), "{broken:?}");
        }
    }

    #[test]
    fn a_stored_text_is_kept_and_means_what_it_meant() {
        for json in [
            r#"{}"#,
            r#"{"":"","a":{"x":[1,-2,0.5,1.5e-7,true,null,{"b":1,"c":2}]},"b":"é\n\"\u001f😀","z":9223372036854775807}"#,
        ] {
            let (stored, parsed) =
                (Data::from_stored(json.to_owned()).unwrap(), Data::parse(json.as_bytes()).unwrap());
            assert_eq!((stored.text(), parsed.text()), (json, json));
            assert!(stored.0.value.get().is_none(), "it is not parsed before that is needed");
            assert_eq!((stored.weight(), stored.value()), (parsed.weight(), parsed.value()));
        }
        assert_eq!(Data::from_stored(r#"{"a":1,"a":2}"#.to_owned()).unwrap().text(), r#"{"a":2}"#);
        for (why, json) in [
            ("keys out of order", r#"{"b":1,"a":2}"#),
            ("keys out of order inside", r#"{"a":[{"b":1,"a":2}]}"#),
            ("a whole double", r#"{"a":1.0}"#),
            ("past 64 bits", r#"{"a":18446744073709551615}"#),
        ] {
            let stored = Data::from_stored(json.to_owned()).unwrap();
            assert_eq!(stored.text(), Data::parse(json.as_bytes()).unwrap().text(), "{why}");
        }
        for broken in [r#"[]"#, r#"{"a":1"#, r#"{"a":1}}"#, r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, ""] {
            assert!(Data::from_stored(broken.to_owned()).is_err(), "{broken}");
        }
    }

    #[test]
    fn merge_replaces_top_level_members_only() {
        let old = Data::parse(br#"{"a":{"x":1},"b":1,"c":3}"#).unwrap();
        let patch = Data::parse(br#"{"a":{"y":2},"b":null}"#).unwrap();
        assert_eq!(old.merge(&patch).unwrap().text(), r#"{"a":{"y":2},"b":null,"c":3}"#);
    }
}
