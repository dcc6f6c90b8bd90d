//! Fields that the server sets, whatever the caller sends.

use serde_json::{Map, Value};

use super::variable::{Template, Values, Variable};
use crate::domain::{Data, DataError, FieldPath, Segment};

/// Fields that the server sets, whatever the caller sends, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stamps(pub(super) Vec<(FieldPath, Template)>);

/// Why a document can't be stamped.
#[derive(Debug)]
pub enum StampError {
    /// A variable has no value for the caller.
    Unknown(FieldPath),
    /// The stamped document would not be valid.
    Data(DataError),
}

impl Stamps {
    /// Returns the data without the fields that the server sets: what is the caller's.
    pub fn strip(&self, data: &Data) -> Data {
        if self.0.is_empty() {
            return data.clone();
        }
        let paths: Vec<_> = self.0.iter().map(|(path, _)| path.clone()).collect();
        // The rest of canonical data is canonical.
        Data::from_value(Value::Object(without(data, &paths))).unwrap_or_else(|_| data.clone())
    }

    /// Whether the server sets nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the data with the stamps in place. What the caller sent there is overwritten.
    ///
    /// # Errors
    /// [`StampError`].
    pub fn apply(&self, data: Data, values: &Values) -> Result<Data, StampError> {
        if self.0.is_empty() {
            return Ok(data);
        }
        let mut fields = data.fields().clone();
        for (path, template) in &self.0 {
            let value = template.fill(values).ok_or_else(|| StampError::Unknown(path.clone()))?;
            set(&mut fields, path.segments(), value);
        }
        Data::from_value(Value::Object(fields)).map_err(StampError::Data)
    }

    pub(super) fn needs_user_document(&self) -> bool {
        self.variables().any(Variable::needs_user_document)
    }

    /// Returns the variables of all stamps.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().flat_map(|(_, template)| template.variables())
    }
}

/// Sets the value at a path of keys. What stands in the way of the path is replaced by an object.
fn set(fields: &mut Map<String, Value>, path: &[Segment], value: Value) {
    match path {
        [Segment::Key(key)] => {
            fields.insert(key.clone(), value);
        }
        [Segment::Key(key), rest @ ..] => {
            let inner = fields.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
        // The parser takes no other paths.
        _ => {}
    }
}

/// Returns the fields of a document without those at the paths. An object that is empty then is gone as well: the path may be all
/// that it was made for.
pub(super) fn without(data: &Data, paths: &[FieldPath]) -> Map<String, Value> {
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
    match (rest, fields.get_mut(first)) {
        ([], _) => {
            fields.remove(first);
        }
        ([Segment::Key(key), rest @ ..], Some(Value::Object(inner))) => {
            remove(inner, key, rest);
            if inner.is_empty() {
                fields.remove(first);
            }
        }
        ([Segment::Index(index), rest @ ..], Some(Value::Array(items))) => {
            if let Some(item) = items.get_mut(*index as usize) {
                match (rest, item) {
                    ([], item) => *item = Value::Null,
                    ([Segment::Key(key), rest @ ..], Value::Object(inner)) => remove(inner, key, rest),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}
