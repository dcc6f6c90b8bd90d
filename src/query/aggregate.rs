//! Aggregates over the values of one field.

use serde_json::Value;

use super::{Field, key::Key, parse::FilterError, sum::Sum};
use crate::domain::Timestamp;

/// The operation of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The number of documents with a value other than null.
    Count,
    Sum,
    Average,
    /// The least value in the order of [`Key`], without null.
    Least,
    /// The greatest value in the order of [`Key`].
    Greatest,
}

impl Operation {
    /// Parses `count`, `sum`, `avg`, `min` or `max`.
    ///
    /// # Errors
    /// [`FilterError`] for any other word.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        match text {
            "count" => Ok(Self::Count),
            "sum" => Ok(Self::Sum),
            "avg" => Ok(Self::Average),
            "min" => Ok(Self::Least),
            "max" => Ok(Self::Greatest),
            _ => Err(FilterError::new("`operation` must be count, sum, avg, min or max")),
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Average => "avg",
            Self::Least => "min",
            Self::Greatest => "max",
        }
    }

    /// Whether values that are not numbers are left out.
    pub fn is_of_numbers(self) -> bool {
        matches!(self, Self::Sum | Self::Average)
    }

    /// Rejects the sum or mean of an id or a time, which could only be 0 or null.
    ///
    /// # Errors
    /// [`FilterError`], which names the operations that these fields take.
    pub fn check(self, field: &Field) -> Result<(), FilterError> {
        match field {
            Field::Data(_) | Field::Masked(_) => Ok(()),
            _ if self.is_of_numbers() => Err(FilterError::new(format!(
                "`{}` takes a field with numbers; id, createdAt and updatedAt take min, max and count",
                self.as_str()
            ))),
            _ => Ok(()),
        }
    }
}

/// An aggregate that takes one value after another.
#[derive(Clone, Debug)]
pub struct Aggregate {
    operation: Operation,
    count: u64,
    sum: Sum,
    extreme: Option<Extreme>,
}

/// The least or greatest value so far.
#[derive(Clone, Debug)]
struct Extreme {
    key: Key,
    /// The id decides between equal keys, so that the result does not depend on the order of the documents.
    id: String,
    value: Value,
    bytes: usize,
}

impl Aggregate {
    pub fn new(operation: Operation) -> Self {
        Self { operation, count: 0, sum: Sum::default(), extreme: None }
    }

    /// Takes a value in canonical form. A time is in milliseconds. `bytes` is the length of the value's text.
    pub fn add(&mut self, value: Value, id: &str, bytes: usize) {
        match (self.operation, &value) {
            (_, Value::Null) => {}
            (Operation::Count, _) => self.count += 1,
            (Operation::Sum | Operation::Average, Value::Number(number)) => {
                self.count += 1;
                self.sum.add(number);
            }
            (Operation::Sum | Operation::Average, _) => {}
            (Operation::Least | Operation::Greatest, _) => {
                let key = Key::of(Some(&value));
                let place = (&key, id);
                let is_better = self.extreme.as_ref().is_none_or(|best| match self.operation {
                    Operation::Least => place < (&best.key, best.id.as_str()),
                    _ => place > (&best.key, best.id.as_str()),
                });
                if is_better {
                    self.extreme = Some(Extreme { key, id: id.to_owned(), value, bytes });
                }
            }
        }
    }

    /// Returns the length of the text of the value that is held.
    pub fn held_bytes(&self) -> usize {
        self.extreme.as_ref().map_or(0, |extreme| extreme.bytes)
    }

    /// Returns the result. Without any value, the count and the sum are 0, and the others are null.
    pub fn result(&self, field: &Field) -> Value {
        match self.operation {
            Operation::Count => self.count.into(),
            Operation::Sum => self.sum.total(),
            Operation::Average => self.sum.average(self.count),
            Operation::Least | Operation::Greatest => {
                self.extreme.as_ref().map_or(Value::Null, |extreme| shown(field, extreme.value.clone()))
            }
        }
    }
}

/// Returns a value of a field as clients see it: a time as text.
pub fn shown(field: &Field, value: Value) -> Value {
    match (field, value.as_i64()) {
        (Field::CreatedAt | Field::UpdatedAt, Some(millis)) => Value::from(Timestamp(millis).to_string()),
        _ => value,
    }
}
