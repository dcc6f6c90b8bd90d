//! Schemas that the documents of a collection must satisfy: JSON Schema, draft 2020-12.

use std::sync::{Arc, OnceLock};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::{Data, json, json_mistake::explain, schema_cost, schema_keywords};

/// The longest text of a schema, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// The most violations that are reported for one document.
const MAX_VIOLATIONS: usize = 20;
/// The longest message, in characters, because it may repeat parts of the schema.
const MAX_MESSAGE: usize = 300;
/// The largest compiled regular expression, in bytes.
const REGEX_BYTES: usize = 256 * 1024;

/// A schema. It is compiled on first use, and stays compiled.
///
/// References are never fetched. Regular expressions take linear time. `format` is an annotation, as the draft says.
#[derive(Debug)]
pub struct Schema {
    text: Box<str>,
    validator: OnceLock<Option<Validator>>,
}

/// One way in which a document breaks its collection's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the document's data. Empty for the whole document.
    pub pointer: String,
    /// Explains the violation without repeating the value.
    pub message: String,
}

/// Why a text is not a valid schema. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema is not valid: {0}")]
pub struct SchemaError(pub String);

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schema {}

impl Schema {
    /// Parses and compiles a schema. This takes long enough to block other tasks of the thread.
    ///
    /// # Errors
    /// [`SchemaError`] for a schema that is not valid, refers to something outside, or is too large or too costly.
    pub fn parse(text: &str) -> Result<Arc<Self>, SchemaError> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError(format!("it is {} bytes; the limit is {MAX_SCHEMA_BYTES}", text.len())));
        }
        let value = json::parse(text.as_bytes()).map_err(|err| SchemaError(explain(&err)))?;
        if !value.is_object() {
            return Err(SchemaError("it must be a JSON object, such as {\"type\":\"object\"}".to_owned()));
        }
        schema_cost::check(&value).map_err(SchemaError)?;
        schema_keywords::check(&value).map_err(SchemaError)?;
        let validator = compile(&value).map_err(SchemaError)?;
        Ok(Arc::new(Self { text: value.to_string().into(), validator: OnceLock::from(Some(validator)) }))
    }

    /// Takes a stored schema without checking it.
    pub fn from_stored(text: &str) -> Arc<Self> {
        Arc::new(Self { text: text.into(), validator: OnceLock::new() })
    }

    /// Returns the schema as JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks a document.
    ///
    /// # Errors
    /// The first 20 violations.
    pub fn check(&self, data: &Data) -> Result<(), Arc<[Violation]>> {
        let compiled = self.validator.get_or_init(|| {
            let value = json::parse(self.text.as_bytes()).ok()?;
            compile(&value).ok()
        });
        let Some(validator) = compiled else {
            // It compiled when it was set, so this is unexpected. Accepting every document would be worse.
            let message = "the collection's schema can no longer be compiled; set it again".to_owned();
            return Err([Violation { pointer: String::new(), message }].into());
        };
        if validator.is_valid(data.value()) {
            return Ok(());
        }
        let violations = validator.iter_errors(data.value()).take(MAX_VIOLATIONS).map(|err| Violation {
            pointer: err.instance_path().to_string(),
            message: shorten(err.masked_with("the value").to_string()),
        });
        Err(violations.collect())
    }
}

const TYPES: &str =
    "a type must be one of array, boolean, integer, null, number, object and string, or a list of these";

fn compile(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES))
        .offline();
    options.build(schema).map_err(|err| {
        let place = err.instance_path().to_string();
        let message = shorten(err.masked_with("the value").to_string());
        match place.as_str() {
            "" => message,
            _ if place.ends_with("/type") => format!("at `{place}`: {TYPES}"),
            _ => format!("at `{place}`: {message}"),
        }
    })
}

fn shorten(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, data: &Value) -> Result<(), Vec<(String, String)>> {
        let schema = Schema::parse(&schema.to_string()).unwrap();
        let stored = Schema::from_stored(schema.text());
        let data = Data::from_value(data.clone()).unwrap();
        let outcome = schema.check(&data);
        assert_eq!(outcome, stored.check(&data), "stored or not, it says the same");
        outcome.map_err(|violations| {
            violations.iter().map(|one| (one.pointer.clone(), one.message.clone())).collect()
        })
    }

    #[test]
    fn violations_tell_the_place_and_the_rule_but_not_the_value() {
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "properties": { "age": { "type": "integer", "minimum": 0 }, "tags": { "items": { "pattern": "^[a-z]+$" } } },
        });
        assert_eq!(check(&schema, &json!({ "name": "Ada", "age": 7.0, "tags": ["a"] })), Ok(()));
        let wrong = check(&schema, &json!({ "age": "secret", "tags": ["a", "B1"] })).unwrap_err();
        let pointers: Vec<_> = wrong.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers.len(), 3, "{wrong:?}");
        assert!(["", "/age", "/tags/1"].iter().all(|pointer| pointers.contains(pointer)), "{wrong:?}");
        assert!(
            !format!("{wrong:?}").contains("secret") && !format!("{wrong:?}").contains("B1"),
            "{wrong:?}"
        );
    }

    #[test]
    fn violations_are_bounded_in_number_and_length() {
        let list = json!({ "list": vec!["x"; 1000] });
        let wrong =
            check(&json!({ "properties": { "list": { "items": { "enum": ["y".repeat(5000)] } } } }), &list);
        let wrong = wrong.unwrap_err();
        assert_eq!(wrong.len(), MAX_VIOLATIONS);
        assert!(wrong.iter().all(|(_, message)| message.chars().count() <= MAX_MESSAGE + 1));
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let schema = json!({ "properties": { "a": { "pattern": "^(a+)+$" } } });
        assert!(check(&schema, &json!({ "a": format!("{}b", "a".repeat(50_000)) })).is_err());
    }

    #[test]
    fn a_text_that_is_not_a_valid_schema_is_rejected() {
        for (why, schema, part) in [
            ("not JSON", "{", "a `}` is missing"),
            ("a list", "[]", "must be a JSON object"),
            ("a boolean", "false", "must be a JSON object"),
            ("no type", r#"{"type":"text"}"#, "at `/type`"),
            ("look-ahead", r#"{"properties":{"a":{"pattern":"(?=a)b"}}}"#, "at `/properties/a/pattern`"),
            ("a pattern that grows", r#"{"pattern":"(\\w{100}){100}"}"#, "at `/pattern`"),
            ("elsewhere", r#"{"$ref":"http://127.0.0.1/schema"}"#, "elsewhere"),
            ("another draft", r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, "2020-12"),
        ] {
            let message = Schema::parse(schema).unwrap_err().to_string();
            assert!(message.contains(part), "{why}: {message}");
        }
        let large = json!({ "description": "x".repeat(MAX_SCHEMA_BYTES) }).to_string();
        assert!(Schema::parse(&large).unwrap_err().to_string().contains("the limit is"));
    }

    /// The threads of the writer and of this test have a stack of 2 MiB.
    #[test]
    fn the_costliest_schema_fits_on_the_stack() {
        let nested = |levels: usize, innermost: Value| {
            (0..levels).fold(innermost, |schema, _| json!({ "allOf": [schema] }))
        };
        let tree = json!({ "properties": { "a": { "$ref": "#" } } });
        let deep = (0..62).fold(json!({ "a": 1 }), |data, _| json!({ "a": data }));
        let recursive = nested(10, tree);
        assert_eq!(check(&recursive, &deep), Ok(()));
        let mut refusing = nested(10, json!({ "properties": { "a": { "$ref": "#" } }, "type": "object" }));
        assert_eq!(check(&refusing, &deep).unwrap_err().len(), 1);
        refusing["not"] = json!({ "required": ["a"] });
        assert_eq!(check(&refusing, &deep).unwrap_err().len(), MAX_VIOLATIONS);
        assert_eq!(check(&nested(60, json!({ "type": "object" })), &deep), Ok(()));

        let chain = |keyword: fn(Value) -> Value| {
            let next = |n: usize| keyword(json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
            let mut definitions: serde_json::Map<_, _> =
                (0..198).map(|n| (format!("d{n}"), next(n))).collect();
            definitions.insert("d198".to_owned(), json!({}));
            json!({ "$ref": "#/$defs/d0", "$defs": definitions })
        };
        assert_eq!(check(&chain(|next| next), &deep), Ok(()));
        assert_eq!(check(&chain(|next| json!({ "allOf": [next] })), &deep), Ok(()));
        assert_eq!(check(&chain(|next| json!({ "properties": { "a": next } })), &deep), Ok(()));
    }

    const WORDS: [&str; 24] = [
        "#",
        "#/$defs/a",
        "#/properties/a",
        "#a",
        "a",
        "b",
        "",
        "integer",
        "object",
        "array",
        "string",
        "date",
        "regex",
        "^(a|b)*$",
        "(",
        "\\p{L}",
        "http://[",
        "urn:x",
        "/",
        "~2",
        "%",
        "é",
        "base64",
        "application/json",
    ];
    const KEYWORDS: [&str; 45] = [
        "$id",
        "$schema",
        "$ref",
        "$anchor",
        "$defs",
        "$comment",
        "$vocabulary",
        "type",
        "enum",
        "const",
        "multipleOf",
        "maximum",
        "exclusiveMinimum",
        "maxLength",
        "minLength",
        "pattern",
        "items",
        "prefixItems",
        "contains",
        "maxContains",
        "minContains",
        "uniqueItems",
        "minItems",
        "properties",
        "patternProperties",
        "additionalProperties",
        "propertyNames",
        "unevaluatedProperties",
        "unevaluatedItems",
        "required",
        "dependentSchemas",
        "dependentRequired",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "format",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "dependencies",
        "default",
    ];

    fn any_json(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            prop_oneof![Just(0), Just(1), Just(-1), Just(2), Just(i64::MAX)].prop_map(Value::from),
            prop_oneof![Just(0.5), Just(1e300), Just(-0.0)].prop_map(Value::from),
            proptest::sample::select(&WORDS[..]).prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            let object = proptest::collection::vec((proptest::sample::select(keys), inner.clone()), 0..4);
            prop_oneof![
                1 => proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                3 => object.prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// A panic here would end the writer.
        #[test]
        fn no_schema_and_no_document_make_a_check_panic(
            mut schema in any_json(&KEYWORDS), definition in any_json(&KEYWORDS), data in any_json(&WORDS)
        ) {
            if let Value::Object(fields) = &mut schema {
                fields.insert("$defs".to_owned(), json!({ "a": definition }));
            }
            if let (Ok(schema), Ok(data)) = (Schema::parse(&schema.to_string()), Data::from_value(data)) {
                let _ = schema.check(&data);
            }
        }
    }
}
