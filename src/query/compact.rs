//! Filters that are kept for long, in little memory.

use super::{Field, Filter};
use crate::domain::FieldPath;

impl Filter {
    /// Returns the same filter in less memory: without conjunctions of one term and without spare room, and with the paths that
    /// `share` returns for equal ones.
    pub fn compact(self, share: &mut impl FnMut(FieldPath) -> FieldPath) -> Self {
        let mut field = |field: Field| match field {
            Field::Data(path) => Field::Data(share(path)),
            own @ (Field::Id | Field::CreatedAt | Field::UpdatedAt | Field::Masked(_)) => own,
        };
        match self {
            Self::And(mut terms) if terms.len() == 1 => terms.remove(0).compact(share),
            Self::And(terms) => Self::And(terms.into_iter().map(|term| term.compact(share)).collect()),
            Self::Or(terms) => Self::Or(terms.into_iter().map(|term| term.compact(share)).collect()),
            Self::Not(term) => Self::Not(Box::new(term.compact(share))),
            Self::Equals(path, mut values) => {
                values.shrink_to_fit();
                Self::Equals(field(path), values)
            }
            Self::Compares(path, comparison, mut values) => {
                values.shrink_to_fit();
                Self::Compares(field(path), comparison, values)
            }
            Self::HasText(path, part, mut text) => {
                text.shrink_to_fit();
                Self::HasText(field(path), part, text)
            }
            Self::HasElement(path, mut values) => {
                values.shrink_to_fit();
                Self::HasElement(field(path), values)
            }
        }
    }
}
