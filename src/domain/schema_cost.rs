//! Bounds the cost of checking any document against a JSON schema, before the schema is compiled.
//!
//! References can double the work at every step: if `a` refers twice to `b`, and `b` twice to `c`, a document of a few bytes
//! takes for ever. So this module counts how many schemas look at the values on one path from a document's root to its
//! deepest level, and takes the path with the most.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use serde_json::{Map, Value};

use super::data::MAX_DEPTH;

/// The most references to other parts of the schema.
const MAX_REFERENCES: usize = 200;
/// The most regular expressions, because each is compiled.
const MAX_PATTERNS: usize = 100;
/// The most looks at values on one path through a document. It also bounds the stack of a check.
const MAX_COST: u64 = 1000;

/// Keywords with a schema for the same value.
const SAME: [&str; 4] = ["if", "then", "else", "not"];
/// Keywords with a list of schemas for the same value.
const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with a schema for every member.
const MEMBERS: [&str; 2] = ["propertyNames", "unevaluatedProperties"];
/// Keywords with a schema for every item of a list.
const ITEMS: [&str; 4] = ["items", "contains", "unevaluatedItems", "additionalItems"];

/// Rejects a schema that is too costly or refers to something outside of itself.
///
/// # Errors
/// A message for the caller.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut survey = Survey::default();
    survey.walk(schema, "", Level::Root)?;
    if survey.patterns > MAX_PATTERNS {
        return Err(format!("it has {} patterns; the limit is {MAX_PATTERNS}", survey.patterns));
    }
    if survey.references > MAX_REFERENCES {
        return Err(format!("it has {} references; the limit is {MAX_REFERENCES}", survey.references));
    }
    let mut costs =
        Costs { root: schema, anchors: survey.anchors, looks: HashMap::new(), known: HashMap::new() };
    if costs.of(schema, MAX_DEPTH)? > MAX_COST {
        return Err(too_costly());
    }
    Ok(())
}

fn too_costly() -> String {
    format!(
        "a check could look at one document more than {MAX_COST} times; use fewer nested combinations and references"
    )
}

/// Where in a schema a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Inner,
}

/// The anchors, references and patterns of a schema, at any level.
#[derive(Default)]
struct Survey<'a> {
    anchors: HashMap<&'a str, &'a Value>,
    references: usize,
    patterns: usize,
}

impl<'a> Survey<'a> {
    /// Walks through all values, also those that are not schemas, such as `const`. Counting too much is safe.
    fn walk(&mut self, value: &'a Value, key: &str, level: Level) -> Result<(), String> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item, "", Level::Inner)),
            Value::Object(fields) => {
                // The keys below these are names, not keywords.
                if matches!(key, "properties" | "patternProperties" | "$defs" | "dependentSchemas") {
                    self.patterns += if key == "patternProperties" { fields.len() } else { 0 };
                    return fields.values().try_for_each(|field| self.walk(field, "", Level::Inner));
                }
                // The values of these are data, not schemas.
                if !matches!(key, "const" | "enum" | "default" | "examples" | "dependentRequired") {
                    self.note(fields, value, level)?;
                }
                fields.iter().try_for_each(|(key, field)| self.walk(field, key, Level::Inner))
            }
            _ => Ok(()),
        }
    }

    fn note(
        &mut self,
        fields: &'a Map<String, Value>,
        schema: &'a Value,
        level: Level,
    ) -> Result<(), String> {
        self.patterns += usize::from(fields.contains_key("pattern"));
        self.references += usize::from(fields.contains_key("$ref"));
        if let Some(Value::String(anchor)) = fields.get("$anchor") {
            self.anchors.insert(anchor, schema);
        }
        for keyword in ["$dynamicRef", "$dynamicAnchor", "$recursiveRef"] {
            if fields.contains_key(keyword) {
                return Err(format!("`{keyword}` is not supported; use `$ref`"));
            }
        }
        if level == Level::Inner && fields.contains_key("$id") {
            return Err("`$id` inside a schema is not supported; use `$anchor` or `#/$defs/…`".to_owned());
        }
        match fields.get("$schema") {
            None => Ok(()),
            Some(Value::String(draft))
                if draft.trim_end_matches('#') == "https://json-schema.org/draft/2020-12/schema" =>
            {
                Ok(())
            }
            Some(other) => Err(format!(
                "`$schema` must be https://json-schema.org/draft/2020-12/schema or missing, not {other}"
            )),
        }
    }
}

type Schemas<'a> = Vec<&'a Value>;

/// The looks of a schema at a value, together with those of the schemas that it applies to the same value.
#[derive(Default)]
struct Looks<'a> {
    /// The number of these schemas.
    count: u64,
    /// Schemas for a member with this name.
    named: HashMap<&'a str, Schemas<'a>>,
    /// Schemas for every member with none of these names.
    additional: Vec<(Option<&'a Map<String, Value>>, &'a Value)>,
    /// Schemas for every member.
    members: Schemas<'a>,
    /// Schemas for the item at this position.
    placed: HashMap<usize, Schemas<'a>>,
    /// Schemas for every item.
    items: Schemas<'a>,
}

struct Costs<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    looks: HashMap<*const Value, Rc<Looks<'a>>>,
    /// Costs by schema and remaining levels of the document.
    known: HashMap<(*const Value, usize), u64>,
}

impl<'a> Costs<'a> {
    /// Returns the most looks at values on one path of so many levels.
    fn of(&mut self, schema: &'a Value, levels: usize) -> Result<u64, String> {
        if let Some(known) = self.known.get(&(std::ptr::from_ref(schema), levels)) {
            return Ok(*known);
        }
        let looks = self.looks(schema)?;
        let mut cost = looks.count;
        if levels > 0 && cost <= MAX_COST {
            let below = levels - 1;
            let every = self.sum(&looks.members, below)?;
            let (mut additional, mut excepted) = (0u64, HashMap::<&str, u64>::new());
            for (names, schema) in &looks.additional {
                let own = self.of(schema, below)?;
                additional = additional.saturating_add(own);
                for name in names.iter().flat_map(|names| names.keys()) {
                    *excepted.entry(name).or_default() += own.min(MAX_COST);
                }
            }
            let mut most = additional;
            for (name, schemas) in &looks.named {
                let others = additional.saturating_sub(excepted.get(name).copied().unwrap_or(0));
                most = most.max(self.sum(schemas, below)?.saturating_add(others));
            }
            let mut most_placed = 0;
            for schemas in looks.placed.values() {
                most_placed = most_placed.max(self.sum(schemas, below)?);
            }
            let items = self.sum(&looks.items, below)?.saturating_add(most_placed);
            cost = cost.saturating_add(every.saturating_add(most).max(items));
        }
        self.known.insert((std::ptr::from_ref(schema), levels), cost);
        Ok(cost)
    }

    fn sum(&mut self, schemas: &[&'a Value], levels: usize) -> Result<u64, String> {
        schemas.iter().try_fold(0u64, |sum, schema| Ok(sum.saturating_add(self.of(schema, levels)?)))
    }

    fn looks(&mut self, schema: &'a Value) -> Result<Rc<Looks<'a>>, String> {
        if let Some(looks) = self.looks.get(&std::ptr::from_ref(schema)) {
            return Ok(looks.clone());
        }
        let mut looks = Looks::default();
        self.gather(schema, &mut looks, &mut HashSet::new())?;
        let looks = Rc::new(looks);
        self.looks.insert(std::ptr::from_ref(schema), looks.clone());
        Ok(looks)
    }

    fn gather(
        &self,
        schema: &'a Value,
        looks: &mut Looks<'a>,
        within: &mut HashSet<*const Value>,
    ) -> Result<(), String> {
        looks.count += 1;
        if looks.count > MAX_COST {
            return Err(too_costly());
        }
        let Value::Object(fields) = schema else { return Ok(()) };
        if !within.insert(std::ptr::from_ref(schema)) {
            return Err("a reference leads back to itself without entering a member or an item".to_owned());
        }
        if let Some(target) = fields.get("$ref") {
            self.gather(self.resolve(target)?, looks, within)?;
        }
        for keyword in SAME {
            if let Some(schema) = fields.get(keyword) {
                self.gather(schema, looks, within)?;
            }
        }
        for keyword in SAME_LISTS {
            for schema in fields.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.gather(schema, looks, within)?;
            }
        }
        let object = |keyword| fields.get(keyword).and_then(Value::as_object);
        // The second is from older drafts, and validators still apply it.
        for keyword in ["dependentSchemas", "dependencies"] {
            for schema in object(keyword).iter().flat_map(|schemas| schemas.values()) {
                self.gather(schema, looks, within)?;
            }
        }
        let properties = object("properties");
        for (name, schema) in properties.into_iter().flatten() {
            looks.named.entry(name).or_default().push(schema);
        }
        if let Some(schema) = fields.get("additionalProperties") {
            looks.additional.push((properties, schema));
        }
        looks.members.extend(object("patternProperties").iter().flat_map(|schemas| schemas.values()));
        looks.members.extend(MEMBERS.iter().filter_map(|keyword| fields.get(*keyword)));
        looks.items.extend(ITEMS.iter().filter_map(|keyword| fields.get(*keyword)));
        let placed = fields.get("prefixItems").and_then(Value::as_array);
        for (place, schema) in placed.into_iter().flatten().enumerate() {
            looks.placed.entry(place).or_default().push(schema);
        }
        within.remove(&std::ptr::from_ref(schema));
        Ok(())
    }

    /// Finds the target of `#`, `#/a/json/pointer` or `#anchor`.
    fn resolve(&self, target: &Value) -> Result<&'a Value, String> {
        let text = target.as_str().ok_or("`$ref` must be a string")?;
        let inside = text.strip_prefix('#').ok_or_else(|| {
            format!("`$ref` must refer to the schema itself, as `#/$defs/name` does; `{text}` is elsewhere")
        })?;
        let found = match inside.strip_prefix('/') {
            _ if inside.is_empty() => Some(self.root),
            // Percent-encoding (RFC 6901 §6) is not supported, because a name in `$defs` does not need it.
            Some(_) if !inside.contains('%') => self.root.pointer(inside),
            Some(_) => None,
            None => self.anchors.get(inside).copied(),
        };
        found.ok_or_else(|| format!("`$ref`: `{text}` does not exist in the schema"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn common_schemas_are_cheap_enough() {
        let many: Map<String, Value> =
            (0..500).map(|n| (format!("f{n}"), json!({ "type": "string", "pattern": "" }))).collect();
        let tree = json!({
            "type": "object",
            "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" }, "value": { "type": "number" } },
            "additionalProperties": { "$ref": "#" },
        });
        let any = json!({
            "properties": { "root": { "$ref": "#any" } },
            "$defs": { "any": { "$anchor": "any", "anyOf": [
                { "type": ["string", "number"] },
                { "type": "array", "items": { "$ref": "#/$defs/any" } },
                { "type": "object", "additionalProperties": { "$ref": "#/$defs/any" } },
            ] } },
        });
        for (why, schema) in [
            (
                "500 fields",
                json!({ "properties": many.iter().map(|(name, _)| (name.clone(), json!({}))).collect::<Map<_, _>>() }),
            ),
            ("a tree", tree),
            ("any JSON", any),
            (
                "tuples",
                json!({ "$defs": { "e": { "prefixItems": [{}, { "$ref": "#/$defs/e" }, { "$ref": "#/$defs/e" }] } }, "properties": { "e": { "$ref": "#/$defs/e" } } }),
            ),
            (
                "a field named like a keyword",
                json!({ "properties": { "$ref": { "type": "string" }, "$id": {} }, "const": { "$ref": 1 } }),
            ),
        ] {
            assert_eq!(check(&schema), Ok(()), "{why}");
        }
        assert!(check(&json!({ "properties": many })).unwrap_err().contains("500 patterns"));
    }

    #[test]
    fn schemas_that_double_the_work_at_every_step_are_rejected() {
        let laughs = |keyword: &str| {
            let mut definitions = Map::new();
            for n in 0..60 {
                let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
                definitions.insert(format!("d{n}"), json!({ keyword: [next, next] }));
            }
            definitions.insert("d60".to_owned(), json!({ "type": "string" }));
            json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
        };
        for (why, schema, part) in [
            ("allOf", laughs("allOf"), "more than 1000 times"),
            ("oneOf", laughs("oneOf"), "more than 1000 times"),
            (
                "twice at every level",
                json!({ "properties": { "a": { "$ref": "#" } }, "patternProperties": { "": { "$ref": "#" } } }),
                "more than 1000 times",
            ),
            (
                "twice at every level of lists",
                json!({ "properties": { "a": { "$ref": "#/$defs/l" } }, "$defs": { "l": { "items": { "$ref": "#/$defs/l" }, "contains": { "$ref": "#/$defs/l" } } } }),
                "more than 1000 times",
            ),
            ("a circle", json!({ "$ref": "#" }), "leads back"),
            (
                "a circle of two",
                json!({ "$defs": { "a": { "not": { "$ref": "#/$defs/b" } }, "b": { "anyOf": [{ "$ref": "#/$defs/a" }] } }, "$ref": "#/$defs/a" }),
                "leads back",
            ),
            (
                "elsewhere",
                json!({ "properties": { "a": { "$ref": "https://example.com/schema.json" } } }),
                "elsewhere",
            ),
            ("a file", json!({ "$ref": "other.json#/a" }), "elsewhere"),
            ("nowhere", json!({ "$ref": "#/$defs/none" }), "does not exist"),
            ("a base of its own", json!({ "properties": { "a": { "$id": "x" } } }), "`$id`"),
            ("dynamic", json!({ "$dynamicRef": "#x" }), "`$dynamicRef`"),
            ("another draft", json!({ "$schema": "http://json-schema.org/draft-07/schema#" }), "2020-12"),
        ] {
            let message = check(&schema).unwrap_err();
            assert!(message.contains(part), "{why}: {message}");
        }
    }
}
