//! The keywords of a JSON schema (draft 2020-12). A validator ignores what it doesn't know, so a mistyped keyword would allow
//! every document.

use serde_json::{Map, Value};

use super::nearest;

/// Keywords whose value is a schema.
const SCHEMA: [&str; 12] = [
    "not",
    "if",
    "then",
    "else",
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "additionalItems",
];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value has a schema under each name. The last two are of older drafts, and references and validators take
/// them still.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions", "dependencies"];
/// Keywords without schemas in them: assertions, annotations and the names of a schema.
const PLAIN: [&str; 41] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "format",
    "contentEncoding",
    "contentMediaType",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$vocabulary",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "id",
];
/// Keywords of older drafts and of OpenAPI, which have no effect in this draft, with the one to use.
const ELSEWHERE: [(&str, &str); 5] = [
    ("nullable", "write `\"type\":[\"string\",\"null\"]`"),
    ("example", "write `\"examples\":[…]`"),
    ("additionalItems", "`items` holds for the items after those of `prefixItems`"),
    ("divisibleBy", "did you mean `multipleOf`?"),
    ("id", "did you mean `$id`?"),
];

/// Refuses a keyword that the draft doesn't have. A name that begins with `x-` is a note of the author's own.
///
/// # Errors
/// A message for the caller, which names the place and the nearest keyword.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    check_at(schema, "")
}

fn check_at(schema: &Value, place: &str) -> Result<(), String> {
    // `true` and `false` are schemas, too.
    let Value::Object(members) = schema else { return Ok(()) };
    for (name, value) in members {
        check_name(name, place)?;
        let inner = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
        match value {
            _ if SCHEMA.contains(&name.as_str()) => check_at(value, &inner)?,
            Value::Array(items) if LIST.contains(&name.as_str()) => {
                for (at, item) in items.iter().enumerate() {
                    check_at(item, &format!("{inner}/{at}"))?;
                }
            }
            Value::Object(named) if NAMED.contains(&name.as_str()) => check_named(named, &inner)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_named(named: &Map<String, Value>, place: &str) -> Result<(), String> {
    named.iter().try_for_each(|(name, schema)| {
        check_at(schema, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")))
    })
}

fn check_name(name: &str, place: &str) -> Result<(), String> {
    let known = || SCHEMA.iter().chain(&LIST).chain(&NAMED).chain(&PLAIN).copied();
    let elsewhere = ELSEWHERE.iter().find(|(own, _)| *own == name).map(|(_, advice)| (*advice).to_owned());
    if name.starts_with("x-") || (elsewhere.is_none() && known().any(|own| own == name)) {
        return Ok(());
    }
    let near = || nearest(name, known().filter(|own| !ELSEWHERE.iter().any(|(other, _)| other == own)));
    let advice =
        elsewhere.or_else(|| near().map(|near| format!("did you mean `{near}`?"))).unwrap_or_else(|| {
            "a field of documents stands in `properties`, and the name of a note of your own begins with `x-`"
                .to_owned()
        });
    let shown: String = name.chars().take(60).collect();
    let place = if place.is_empty() { String::new() } else { format!("at `{place}`: ") };
    Err(format!("{place}unknown keyword `{shown}`; {advice}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_keyword_that_the_draft_lacks_is_refused_where_a_schema_stands() {
        for (why, schema, expected) in [
            ("a typing mistake", json!({ "requierd": [] }), Some("did you mean `required`?")),
            ("in a property", json!({ "properties": { "a": { "minimun": 0 } } }), Some("at `/properties/a`")),
            ("in a list", json!({ "allOf": [{}, { "propertie": {} }] }), Some("at `/allOf/1`")),
            (
                "in a schema of a schema",
                json!({ "items": { "not": { "tipe": 1 } } }),
                Some("at `/items/not`"),
            ),
            ("in a definition", json!({ "$defs": { "a/b": { "typ": 1 } } }), Some("at `/$defs/a~1b`")),
            ("a field at the top", json!({ "year": "integer" }), Some("`properties`")),
            ("OpenAPI", json!({ "nullable": true }), Some("\"null\"")),
            ("a draft before", json!({ "additionalItems": false }), Some("`prefixItems`")),
            ("another case", json!({ "maxlength": 3 }), Some("`maxLength`")),
            ("a field named like none", json!({ "properties": { "requierd": {} } }), None),
            (
                "data",
                json!({ "const": { "typ": 1 }, "enum": [{ "typ": 1 }], "default": { "typ": 1 }, "examples": [{ "typ": 1 }] }),
                None,
            ),
            (
                "notes",
                json!({ "x-a": 1, "title": "", "description": "", "$comment": "", "deprecated": true }),
                None,
            ),
            (
                "names that depend",
                json!({ "dependencies": { "a": ["b"] }, "dependentRequired": { "a": ["b"] } }),
                None,
            ),
        ] {
            let told = check(&schema).err();
            assert_eq!(told.is_some(), expected.is_some(), "{why}: {told:?}");
            assert!(
                told.clone().unwrap_or_default().contains(expected.unwrap_or_default()),
                "{why}: {told:?}"
            );
        }
    }
}
