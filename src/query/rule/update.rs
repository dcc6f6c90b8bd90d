//! Alternatives under which a document may be changed.

use serde_json::{Map, Value};

use super::{
    condition::{Condition, Missing},
    variable::Values,
};
use crate::{
    domain::{Data, Document, FieldPath, Segment},
    query::matches::value_at,
};

/// An alternative under which a document may be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateRule {
    /// Holds of the document as it is.
    pub before: Condition,
    /// Holds of the document as it will be.
    pub after: Condition,
    /// Fields that stay as they are.
    pub unchanged: Vec<FieldPath>,
    /// The only fields that change; `None` for all.
    pub only: Option<Vec<FieldPath>>,
}

/// The part of an alternative that a change does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    Before,
    After,
    Unchanged,
    Only,
}

impl Unmet {
    /// Returns the member of the alternative.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Unchanged => "unchanged",
            Self::Only => "only",
        }
    }
}

impl UpdateRule {
    /// Checks a change of a document.
    ///
    /// # Errors
    /// The first part that it does not meet.
    /// The outer error says which sets of other collections have to be read first.
    pub fn check(
        &self,
        (before, after): (&Document, &Document),
        values: &Values,
    ) -> Result<Result<(), Unmet>, Missing> {
        if !self.before.bind(values)?.matches(before) {
            return Ok(Err(Unmet::Before));
        }
        if self.unchanged.iter().any(|path| is_changed(path, &before.data, &after.data)) {
            return Ok(Err(Unmet::Unchanged));
        }
        if let Some(only) = &self.only
            && without(&before.data, only) != without(&after.data, only)
        {
            return Ok(Err(Unmet::Only));
        }
        if !self.after.bind(values)?.matches(after) {
            return Ok(Err(Unmet::After));
        }
        Ok(Ok(()))
    }

    pub(super) fn conditions(&self) -> [&Condition; 2] {
        [&self.before, &self.after]
    }
}

/// Whether a field has another value than before. A field that is missing has another value than null.
pub fn is_changed(path: &FieldPath, before: &Data, after: &Data) -> bool {
    value_at(path.segments(), before) != value_at(path.segments(), after)
}

/// Returns the fields of a document without those at the paths.
fn without(data: &Data, paths: &[FieldPath]) -> Map<String, Value> {
    let mut fields = data.fields().clone();
    for path in paths {
        if let Some((Segment::Key(first), rest)) = path.segments().split_first() {
            remove(&mut fields, first, rest);
        }
    }
    fields
}

/// Removes the value at a path. An element of a list becomes null, so that the others keep their places.
fn remove(fields: &mut Map<String, Value>, first: &str, rest: &[Segment]) {
    let Some((last, between)) = rest.split_last() else {
        fields.remove(first);
        return;
    };
    let mut place = fields.get_mut(first);
    for segment in between {
        place = place.and_then(|value| child(value, segment));
    }
    match (last, place) {
        (Segment::Key(key), Some(Value::Object(fields))) => {
            fields.remove(key);
        }
        (Segment::Index(index), Some(Value::Array(items))) => {
            if let Some(item) = items.get_mut(*index as usize) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}

fn child<'a>(value: &'a mut Value, segment: &Segment) -> Option<&'a mut Value> {
    match (segment, value) {
        (Segment::Key(key), Value::Object(fields)) => fields.get_mut(key),
        (Segment::Index(index), Value::Array(items)) => items.get_mut(*index as usize),
        _ => None,
    }
}
