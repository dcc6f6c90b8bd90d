//! One filter with two back-ends: SQL for lists, [`Filter::matches`] for events. It never asks a database itself.
//!
//! What a comparison means, the same in both:
//!
//! | comparison | true if |
//! |---|---|
//! | with a number, string or boolean | the field has an equal value of that type |
//! | with `null` | the field is null or missing |
//! | with an array or object | the whole value is equal |
//! | with text from a URL | the field equals any value that the text could denote: `25` the number or the string |
//!
//! Two-valued: a comparison is true or false, never unknown. Numbers are compared exactly, strings by code point.
//!
//! Reading order: this file, [`parse`], [`matches`], [`sql`], [`page`], [`cursor`].

pub mod cursor;
mod matches;
pub mod page;
pub mod parse;
pub mod sql;

use serde_json::Value;

use crate::domain::FieldPath;

/// A true/false expression over a document; built only by [`parse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// All of these; of none, true.
    And(Vec<Filter>),
    /// The field equals one of these values, which are in the canonical form of `domain::document`. [`Value::Null`]
    /// stands for null or missing. On a time they are milliseconds. Of none, false.
    Equals(Field, Vec<Value>),
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

    /// The comparisons that must all be true: the filter itself, or the members of its conjunction.
    pub fn terms(&self) -> &[Filter] {
        match self {
            Self::And(terms) => terms,
            term => std::slice::from_ref(term),
        }
    }
}
