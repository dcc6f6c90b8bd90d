//! One filter with two back-ends: SQL for lists, [`Filter::matches`] for events. It never asks a database itself.
//!
//! What a comparison means, the same in both:
//!
//! | operator | true if |
//! |---|---|
//! | `eq` a number, string or boolean | the field has an equal value of that type |
//! | `eq` null; `isnull` | the field is null or missing |
//! | `eq` an array or object | the whole value is equal |
//! | `in` | `eq` with one of the list |
//! | `ne`, `notin` | `eq`, `in` is not true: so it is for a missing field |
//! | `gt gte lt lte` a number or string | the field has a value of that type that is more, … |
//! | `contains startswith endswith` | the field is a string that does, without regard to ASCII case |
//! | `array_contains` | the field is an array with an element that equals |
//!
//! Text from a URL stands for any value that it could denote: `25` for the number and the string.
//!
//! Two-valued: a comparison is true or false, never unknown, and `$not` is the plain complement. Numbers are compared
//! exactly, strings by code point. `id` is a string to every operator; `createdAt` and `updatedAt` are times, which
//! `eq ne in notin isnull gt gte lt lte` take.
//!
//! Reading order: this file, [`parse`] with its parts `literal`, `operator` and `times`, `matches`, [`key`], [`page`],
//! [`index`], [`select`], [`populate`], [`aggregate`] with [`sum`], [`sql`], [`cursor`].

pub mod aggregate;
pub mod index_definition;
pub mod key;
mod matches;
pub mod page;
pub mod parse;
pub mod planner;
pub mod populate;
pub mod select;
pub mod sum;

use std::{cmp::Ordering, fmt};

use serde_json::Value;

use crate::domain::{FieldPath, Segment};

/// A true/false expression over a document; built only by [`parse`] and its parts. All values are in the canonical form of
/// `domain::data`; on a time they are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of these; of none, true.
    And(Vec<Filter>),
    /// Any of these; of none, false.
    Or(Vec<Filter>),
    /// The complement.
    Not(Box<Filter>),
    /// The field equals one of these values. [`Value::Null`] stands for null or missing. Of none, false.
    Equals(Field, Vec<Value>),
    /// The field is a number, or a string, that stands so to one of these numbers and strings. Of none, false.
    Compares(Field, Comparison, Vec<Value>),
    /// The field is a string with this text in that place; ASCII letters of the text are small.
    HasText(Field, Part, String),
    /// The field is an array with an element that equals one of these values; null stands for null alone.
    HasElement(Field, Vec<Value>),
}

/// How two values of one type stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `gt`
    Greater,
    /// `gte`
    GreaterOrEqual,
    /// `lt`
    Less,
    /// `lte`
    LessOrEqual,
}

/// Which part of a string a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `startswith`
    Start,
    /// `endswith`
    End,
    /// `contains`
    Anywhere,
}

/// What of a document a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The document's id.
    Id,
    /// When it was made.
    CreatedAt,
    /// When it was last written.
    UpdatedAt,
    /// A value inside its data.
    Data(FieldPath),
}

impl Comparison {
    /// Whether two values that stand to each other in `order` stand so.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }

    /// Whether it is true of ever greater values.
    pub fn is_upwards(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }
}

/// As `parse::parse_field` reads it.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::CreatedAt => f.write_str("createdAt"),
            Self::UpdatedAt => f.write_str("updatedAt"),
            Self::Data(path) => {
                let names_own =
                    |key: &str| ["id", "createdAt", "created_at", "updatedAt", "updated_at"].contains(&key);
                let is_ambiguous = match path.segments() {
                    [Segment::Key(key)] => names_own(key),
                    [Segment::Key(key), ..] => key == "data",
                    _ => false,
                };
                write!(f, "{}{path}", if is_ambiguous { "data." } else { "" })
            }
        }
    }
}

impl Filter {
    /// The filter that every document matches.
    pub fn all() -> Self {
        Self::And(Vec::new())
    }

    /// Both filters.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::And(mut terms), Self::And(more)) => {
                terms.extend(more);
                Self::And(terms)
            }
            (Self::And(mut terms), term) | (term, Self::And(mut terms)) => {
                terms.push(term);
                Self::And(terms)
            }
            (one, two) => Self::And(vec![one, two]),
        }
    }

    /// The complement. Not of not is the filter itself.
    pub fn negate(self) -> Self {
        match self {
            Self::Not(filter) => *filter,
            filter => Self::Not(Box::new(filter)),
        }
    }

    /// The comparisons that must all be true: the filter itself, or the members of its conjunction.
    pub fn terms(&self) -> &[Filter] {
        match self {
            Self::And(terms) => terms,
            term => std::slice::from_ref(term),
        }
    }
}
