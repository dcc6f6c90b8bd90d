//! The in-memory back-end of [`Filter`].

use std::borrow::Cow;

use serde_json::Value;

use super::{Field, Filter};
use crate::domain::{Document, FieldPath, Segment};

impl Filter {
    /// Whether `document` is one of those that the same filter selects in SQL.
    pub fn matches(&self, document: &Document) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.matches(document)),
            Self::Equals(field, values) => match field.value_in(document) {
                Some(found) => values.contains(&found),
                None => values.contains(&Value::Null),
            },
        }
    }
}

impl Field {
    /// The field's value in `document`, `None` if it is missing. Times are milliseconds.
    pub fn value_in<'a>(&self, document: &'a Document) -> Option<Cow<'a, Value>> {
        match self {
            Self::Id => Some(Cow::Owned(Value::from(document.id.as_str()))),
            Self::CreatedAt => Some(Cow::Owned(Value::from(document.created_at.0))),
            Self::UpdatedAt => Some(Cow::Owned(Value::from(document.updated_at.0))),
            Self::Data(path) => value_at(path, document).map(Cow::Borrowed),
        }
    }
}

fn value_at<'a>(path: &FieldPath, document: &'a Document) -> Option<&'a Value> {
    let (first, rest) = path.segments().split_first()?;
    let Segment::Key(key) = first else { return None };
    rest.iter().try_fold(document.data.fields().get(key)?, |value, segment| match (segment, value) {
        (Segment::Key(key), Value::Object(fields)) => fields.get(key),
        (Segment::Index(index), Value::Array(items)) => items.get(*index as usize),
        _ => None,
    })
}
