//! Fields that the server sets, whatever the caller sends.

use serde_json::{Map, Value};

use super::variable::{Template, Values};
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
        let mut variables = self.0.iter().flat_map(|(_, template)| template.variables());
        variables.any(|variable| variable.needs_user_document())
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
