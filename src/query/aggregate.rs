//! What is computed over the values of one field.

use serde_json::Value;

use super::{Field, key::Key, parse::FilterError, sum::Sum};
use crate::domain::Timestamp;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// How many documents have a value; null is none.
    Count,
    /// The sum of the numbers.
    Sum,
    /// The mean of the numbers.
    Average,
    /// The least value but null, in the order of [`Key`].
    Least,
    /// The greatest value.
    Greatest,
}

impl Operation {
    /// Reads `count`, `sum`, `avg`, `min` or `max`.
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
            _ => Err(FilterError::new("`operation` is count, sum, avg, min or max")),
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

    /// Whether only numbers count.
    pub fn is_of_numbers(self) -> bool {
        matches!(self, Self::Sum | Self::Average)
    }

    /// Refuses what could only ever be 0 or null.
    ///
    /// # Errors
    /// [`FilterError`] for the sum or mean of an id or of times.
    pub fn check(self, field: &Field) -> Result<(), FilterError> {
        match field {
            Field::Data(_) => Ok(()),
            _ if self.is_of_numbers() => Err(FilterError::new(format!(
                "`{}` takes numbers; id, createdAt and updatedAt have min, max and count",
                self.as_str()
            ))),
            _ => Ok(()),
        }
    }
}

/// An operation under way.
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
    /// Of values that are alike to a sort, the document's id decides, so that the order of the documents doesn't.
    place: (Key, String),
    value: Value,
    bytes: usize,
}

impl Aggregate {
    /// Of nothing so far.
    pub fn new(operation: Operation) -> Self {
        Self { operation, count: 0, sum: Sum::default(), extreme: None }
    }

    /// Takes one more value, in canonical form, of a document with this id; its text has `bytes`. Times are milliseconds.
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
                let place = (Key::of(Some(&value)), id.to_owned());
                let is_better = self.extreme.as_ref().is_none_or(|best| match self.operation {
                    Operation::Least => place < best.place,
                    _ => place > best.place,
                });
                if is_better {
                    self.extreme = Some(Extreme { place, value, bytes });
                }
            }
        }
    }

    /// The bytes of the text of what is held.
    pub fn held_bytes(&self) -> usize {
        self.extreme.as_ref().map_or(0, |extreme| extreme.bytes)
    }

    /// What came out. The sum of none is 0, all else of none null, but for the count.
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

/// A value of a field as it is answered: a time as text.
pub fn shown(field: &Field, value: Value) -> Value {
    match (field, value.as_i64()) {
        (Field::CreatedAt | Field::UpdatedAt, Some(millis)) => Value::from(Timestamp(millis).to_string()),
        _ => value,
    }
}
