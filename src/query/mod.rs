//! Filters, sorts, pages, selections, relations and aggregates: parsed once, and judged in memory. This module never asks a
//! database. The store has the same filters and sorts as SQL.
//!
//! Both back-ends of [`Filter`] give every comparison the same meaning:
//!
//! | operator | is true if |
//! |---|---|
//! | `eq` with a number, string or boolean | the field has an equal value of the same type |
//! | `eq` with null; `isnull` | the field is null or missing |
//! | `eq` with an array or object | the whole value is equal |
//! | `in` | `eq` is true for one value of the list |
//! | `ne`, `notin` | `eq`, `in` is not true, so they are true for a missing field |
//! | `gt gte lt lte` with a number or string | the field has a value of the same type that is greater or less |
//! | `contains startswith endswith` | the field is a string that has the text there, in any ASCII case |
//! | `array_contains` | the field is an array with an equal element |
//!
//! URL parameters are untyped: `25` matches both the number and the string.
//!
//! A comparison is true or false and never unknown, so `$not` is the plain complement. Numbers are compared exactly, and
//! strings by code point. `id` is a string to every operator. `createdAt` and `updatedAt` are times, which take the operators
//! `eq ne in notin isnull gt gte lt lte`.
//!
//! Reading order: this file, [`parse`], `matches`, `size`, `compact`, [`key`], [`page`], [`mask`], [`index_definition`], [`planner`], [`select`],
//! [`populate`], [`aggregate`] with [`sum`], `of_users`, [`rule`].

pub mod aggregate;
mod compact;
pub mod index_definition;
pub mod key;
pub mod mask;
mod matches;
mod of_users;
pub mod page;
pub mod parse;
pub mod planner;
pub mod populate;
pub mod rule;
pub mod select;
mod size;
pub mod sum;

use std::{cmp::Ordering, fmt, sync::Arc};

use serde_json::Value;

pub use mask::{Mask, MaskedField};
pub use matches::Lookup;
pub use of_users::{of_users, unknown_field_of_users};
pub use size::FilterSize;

use crate::domain::{FieldPath, Segment};

/// A true/false expression over a document. Only [`parse`] builds one. All values are in the canonical form of
/// `domain::data`, and times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of these hold. True without any.
    And(Vec<Filter>),
    /// One of these holds. False without any.
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// The field equals one of these values. [`Value::Null`] also matches a missing field. False without any.
    Equals(Field, Vec<Value>),
    /// The field is a number or string, and the comparison with one of these values of its type holds. False without any.
    Compares(Field, Comparison, Vec<Value>),
    /// The field is a string with this text in it. ASCII letters of the text are in lower case.
    HasText(Field, Part, String),
    /// The field is an array with an element that equals one of these values. Null matches null only.
    HasElement(Field, Vec<Value>),
}

/// A comparison of two values of one type.
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

/// The part of a string in which a text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// `startswith`
    Start,
    /// `endswith`
    End,
    /// `contains`
    Anywhere,
}

/// A field of a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Id,
    CreatedAt,
    UpdatedAt,
    /// A value inside the document's data.
    Data(FieldPath),
    /// The same, as a caller sees it who may not read all of it. No parser makes one.
    Masked(Arc<MaskedField>),
}

impl Comparison {
    /// Whether the comparison holds for two values with this order.
    pub fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }

    /// Whether the comparison holds for all greater values as well.
    pub fn is_upwards(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual)
    }
}

/// Writes the text that `parse::parse_field` reads.
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
            Self::Masked(masked) => Self::Data(masked.path.clone()).fmt(f),
        }
    }
}

impl Filter {
    /// Returns the filter that every document matches.
    pub fn all() -> Self {
        Self::And(Vec::new())
    }

    /// Returns the filter that no document matches.
    pub fn nothing() -> Self {
        Self::Or(Vec::new())
    }

    /// Whether it is the filter that no document matches. Others may match none, too.
    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing()
    }

    /// Returns the filter that holds if both do.
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

    /// Returns the complement.
    pub fn negate(self) -> Self {
        match self {
            Self::Not(filter) => *filter,
            filter => Self::Not(Box::new(filter)),
        }
    }

    /// Returns the terms that must all hold: the members of a conjunction, or the filter itself.
    pub fn terms(&self) -> &[Filter] {
        match self {
            Self::And(terms) => terms,
            term => std::slice::from_ref(term),
        }
    }
}
