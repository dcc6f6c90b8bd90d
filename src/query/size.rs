//! How large a filter is.

use serde_json::Value;

use super::{Field, Filter, Part};
use crate::domain::{FieldPath, Segment};

/// The bytes that an allocation takes besides its own.
const ALLOCATION: usize = 16;
/// The bytes that a live filter takes for each value that it can be found by, besides the value: its anchor, and its place in the filter
/// index of the hub.
const ANCHOR: usize = 96;
/// The bytes that the hub takes for each of the first bytes of a text that it looks for in all strings at once.
const STATE: usize = 64;
/// How many bytes of a text these are.
const MAX_STATES: usize = 32;

/// The size of a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterSize {
    /// Values and texts, also inside arrays and objects.
    pub values: usize,
    /// Bytes of the values' text and of field names.
    pub text: usize,
    /// Bytes of memory that it takes while it is live, about.
    pub memory: usize,
}

impl FilterSize {
    /// Adds another size.
    pub fn add(&mut self, other: Self) {
        self.values += other.values;
        self.text += other.text;
        self.memory += other.memory;
    }

    fn add_text(&mut self, text: &str) {
        self.text += text.len();
        self.memory += text.len() + ALLOCATION;
    }

    fn add_field(&mut self, field: &Field) {
        match field {
            Field::Data(path) => self.add_path(path),
            Field::Masked(masked) => {
                self.add_path(&masked.path);
                for hide in &masked.hides {
                    self.add_path(&hide.path);
                    self.add(hide.except.size());
                }
            }
            Field::Id | Field::CreatedAt | Field::UpdatedAt => {}
        }
    }

    fn add_path(&mut self, path: &FieldPath) {
        for segment in path.segments() {
            self.memory += size_of::<Segment>();
            if let Segment::Key(key) = segment {
                self.add_text(key);
            }
        }
    }

    fn add_value(&mut self, value: &Value) {
        self.values += 1;
        self.memory += size_of::<Value>();
        match value {
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.add_text(name);
                    self.add_value(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Filter {
    /// Returns how large the filter is.
    pub fn size(&self) -> FilterSize {
        let mut size = FilterSize { memory: size_of::<Self>(), ..FilterSize::default() };
        match self {
            Self::And(terms) | Self::Or(terms) => terms.iter().for_each(|term| size.add(term.size())),
            Self::Not(term) => size.add(term.size()),
            Self::Equals(field, values)
            | Self::Compares(field, _, values)
            | Self::HasElement(field, values) => {
                size.add_field(field);
                for value in values {
                    size.memory += ANCHOR;
                    size.add_value(value);
                }
            }
            Self::HasText(field, part, text) => {
                size.add_field(field);
                size.values += 1;
                size.add_text(text);
                if *part == Part::Anywhere {
                    size.memory += ANCHOR + STATE * text.len().min(MAX_STATES);
                }
            }
        }
        size
    }
}
