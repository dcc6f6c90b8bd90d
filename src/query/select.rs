//! Selections: the fields of a document that a client asks for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Field,
    page::split_names,
    parse::{FilterError, Names, check_selected, parse_field},
};
use crate::domain::{FieldPath, Segment};

/// The most fields of a selection.
const MAX_FIELDS: usize = 100;

/// The fields of a document's data to keep. A document's own members are always kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    top: Vec<String>,
    root: Node,
}

/// The parts of a value to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// Keep all of it.
    is_whole: bool,
    keys: BTreeMap<String, Node>,
    elements: BTreeMap<usize, Node>,
}

impl Selection {
    /// Parses `title,author.name`: fields as in a filter, with commas between them (`\,` is a comma in a name). All texts
    /// together are one list. Strict names are not those of other products, such as `*`.
    ///
    /// # Errors
    /// [`FilterError`] for a name that is not a field, or too many names.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>, names: Names) -> Result<Self, FilterError> {
        let (mut selection, mut count) = (Self::default(), 0);
        for name in texts.into_iter().flat_map(split_names) {
            count += 1;
            if count > MAX_FIELDS {
                return Err(FilterError::new(format!("`select` must have at most {MAX_FIELDS} fields")));
            }
            if name.is_empty() {
                return Err(FilterError::new(
                    "`select` must name fields, as in `select=title,author.name`; one of these names is empty",
                ));
            }
            let refuse = |why: &dyn std::fmt::Display| {
                FilterError::new(format!("`{name}` is not a valid field to select: {why}"))
            };
            if names == Names::Strict {
                check_selected(&name).map_err(|why| refuse(&why))?;
            }
            let field = parse_field(&name).map_err(|err| refuse(&err))?;
            // A document's own members are always kept.
            if let Field::Data(path) = field {
                selection.add(&path);
            }
        }
        Ok(selection)
    }

    fn add(&mut self, path: &FieldPath) {
        if let Some(Segment::Key(name)) = path.segments().first()
            && !self.top.contains(name)
        {
            self.top.push(name.clone());
        }
        let leaf = path.segments().iter().fold(&mut self.root, |node, segment| match segment {
            Segment::Key(key) => node.keys.entry(key.clone()).or_default(),
            Segment::Index(index) => node.elements.entry(*index as usize).or_default(),
        });
        leaf.is_whole = true;
    }

    /// Returns the top-level fields of which something is kept, in the order of the request.
    pub fn top_level(&self) -> &[String] {
        &self.top
    }

    /// Returns the selected parts of a document's fields. Objects keep their shape. An array has the selected elements only,
    /// without gaps. A path that leads nowhere is left out.
    pub fn of(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        self.root.of_object(fields)
    }
}

impl Node {
    fn of_object(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let kept = |(key, node): (&String, &Node)| Some((key.clone(), node.of(fields.get(key)?)?));
        self.keys.iter().filter_map(kept).collect()
    }

    fn of(&self, value: &Value) -> Option<Value> {
        if self.is_whole {
            return Some(value.clone());
        }
        match value {
            Value::Object(fields) => {
                let kept = self.of_object(fields);
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) => {
                let kept: Vec<_> =
                    self.elements.iter().filter_map(|(index, node)| node.of(items.get(*index)?)).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_selected_fields_keep_their_shape() {
        let document = json!({
            "title": "T", "author": { "name": "Ada", "mail": "a@x", "home": { "city": "London" } },
            "tags": ["x", "y", { "deep": 1, "more": 2 }], "a,b": 1, "a.b": 2, "0": "zero", "none": null, "id": "mine",
        });
        let fields = document.as_object().unwrap();
        for (select, expected) in [
            (vec!["title"], json!({ "title": "T" })),
            (vec!["title,author.name"], json!({ "title": "T", "author": { "name": "Ada" } })),
            (
                vec!["author.name", "author.home.city"],
                json!({ "author": { "name": "Ada", "home": { "city": "London" } } }),
            ),
            (vec!["author.name,author"], json!({ "author": document["author"] })),
            (vec!["tags.2.deep,tags.0"], json!({ "tags": ["x", { "deep": 1 }] })),
            (vec![r"a\,b", r"a\.b", r"\0"], json!({ "a,b": 1, "a.b": 2, "0": "zero" })),
            (vec!["none"], json!({ "none": null })),
            (vec!["id,createdAt"], json!({})),
            (vec!["data.id,data.title"], json!({ "id": "mine", "title": "T" })),
            (vec!["gone,title.deep,author.0,tags.name,tags.9"], json!({})),
        ] {
            let selection = Selection::parse(select.clone(), Names::Strict).unwrap();
            assert_eq!(Value::Object(selection.of(fields)), expected, "{select:?}");
        }
        assert_eq!(Selection::parse(["b.x,a", "b"], Names::Strict).unwrap().top_level(), ["b", "a"]);
    }

    #[test]
    fn a_name_that_is_not_a_field_is_named_in_the_error() {
        for (text, named) in [("", "select"), ("a,,b", "select"), ("a..b", "a..b"), ("a\0", "a\0")] {
            let message = Selection::parse([text], Names::Strict).unwrap_err().to_string();
            assert!(message.contains(named), "{text:?}: {message}");
        }
        let many = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
        assert!(Selection::parse([many(100).as_str()], Names::Strict).is_ok());
        assert!(Selection::parse([many(101).as_str()], Names::Strict).is_err());
    }
}
