//! Judges documents in memory by a [`Filter`].

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{Field, Filter, Part, key::compare_numbers};
use crate::domain::{Data, Document, Segment};

/// Decides the two comparisons whose cost grows with the document's value, so that an index of many filters can look at a value
/// once for all of them. `'f` is the filter and `'d` the document.
pub trait Lookup<'f, 'd> {
    /// Whether `found`, the string in `field`, has `text` in it, in any ASCII case. `text` is in lower case.
    fn has_text(&self, field: &'f Field, found: &str, text: &str) -> bool;

    /// Whether one of `items`, the list in `field`, equals one of `values`.
    fn has_element(&self, field: &'f Field, items: &'d [Value], values: &[Value]) -> bool;
}

/// Looks at the values themselves.
struct Direct;

impl Lookup<'_, '_> for Direct {
    fn has_text(&self, _: &Field, found: &str, text: &str) -> bool {
        found.to_ascii_lowercase().contains(text)
    }

    fn has_element(&self, _: &Field, items: &[Value], values: &[Value]) -> bool {
        items.iter().any(|item| values.contains(item))
    }
}

impl Filter {
    /// Whether the document matches. SQL selects exactly the documents that match.
    pub fn matches(&self, document: &Document) -> bool {
        self.matches_by(document, &Direct)
    }

    /// The same, with another way to look at long values.
    pub fn matches_by<'f, 'd>(&'f self, document: &'d Document, lookup: &impl Lookup<'f, 'd>) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.matches_by(document, lookup)),
            Self::Or(terms) => terms.iter().any(|term| term.matches_by(document, lookup)),
            Self::Not(term) => !term.matches_by(document, lookup),
            Self::Equals(field, values) => match field.value_in(document) {
                Some(found) => values.contains(&found),
                None => values.contains(&Value::Null),
            },
            Self::Compares(field, comparison, values) => field.value_in(document).is_some_and(|found| {
                values.iter().any(|value| compare(&found, value).is_some_and(|order| comparison.holds(order)))
            }),
            Self::HasText(field, part, text) => match field.value_in(document).as_deref() {
                Some(Value::String(found)) => has_text(field, found, *part, text, lookup),
                _ => false,
            },
            Self::HasElement(field, values) => match field.value_in(document) {
                // Only data has lists, and it is borrowed.
                Some(Cow::Borrowed(Value::Array(items))) => lookup.has_element(field, items, values),
                _ => false,
            },
        }
    }

    /// Counts the passes over a string or a list: one for each text that is looked for anywhere, and for each element.
    pub fn passes(&self) -> usize {
        match self {
            Self::And(terms) | Self::Or(terms) => terms.iter().map(Self::passes).sum(),
            Self::Not(term) => term.passes(),
            Self::HasText(_, Part::Anywhere, _) => 1,
            Self::HasElement(_, values) => values.len(),
            _ => 0,
        }
    }
}

impl Field {
    /// Returns the field's value in a document. A time is in milliseconds. `None` if the field is missing.
    pub fn value_in<'a>(&self, document: &'a Document) -> Option<Cow<'a, Value>> {
        match self {
            Self::Id => Some(Cow::Owned(Value::from(document.id.as_str()))),
            Self::CreatedAt => Some(Cow::Owned(Value::from(document.created_at.0))),
            Self::UpdatedAt => Some(Cow::Owned(Value::from(document.updated_at.0))),
            Self::Data(path) => value_at(path.segments(), &document.data).map(Cow::Borrowed),
            Self::Masked(masked) => masked.value_in(document),
        }
    }
}

/// Compares two numbers or two strings. Other values have no order.
fn compare(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => Some(compare_numbers(one, two)),
        (Value::String(one), Value::String(two)) => Some(one.cmp(two)),
        _ => None,
    }
}

/// Looks for text in a string. It folds ASCII letters only, like both databases. The time is linear in both lengths.
fn has_text<'f, 'd>(
    field: &'f Field,
    found: &str,
    part: Part,
    text: &str,
    lookup: &impl Lookup<'f, 'd>,
) -> bool {
    let Some(last) = found.len().checked_sub(text.len()) else { return false };
    let stands_at =
        |start: usize| found.as_bytes()[start..start + text.len()].eq_ignore_ascii_case(text.as_bytes());
    match part {
        Part::Start => stands_at(0),
        Part::End => stands_at(last),
        Part::Anywhere => lookup.has_text(field, found, text),
    }
}

/// Returns the value at a path. `None` if there is none.
pub(super) fn value_at<'a>(path: &[Segment], data: &'a Data) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let Segment::Key(key) = first else { return None };
    rest.iter().try_fold(data.fields().get(key)?, |value, segment| match (segment, value) {
        (Segment::Key(key), Value::Object(fields)) => fields.get(key),
        (Segment::Index(index), Value::Array(items)) => items.get(*index as usize),
        _ => None,
    })
}
