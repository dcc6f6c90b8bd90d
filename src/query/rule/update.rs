//! Alternatives under which a document may be changed.

use super::{
    condition::{Condition, Missing},
    stamp::{Stamps, without},
    variable::Values,
};
use crate::{
    domain::{Data, Document, FieldPath},
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

/// The part of an alternative that a change does not meet, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    Before,
    Unchanged,
    Only,
    After,
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
    /// Checks a change of a document. What the server has stamped is no change of the caller's.
    ///
    /// # Errors
    /// The first part that it does not meet.
    /// The outer error says which sets of other collections have to be read first.
    pub fn check(
        &self,
        (before, after): (&Document, &Document),
        stamps: &Stamps,
        values: &Values,
    ) -> Result<Result<(), Unmet>, Missing> {
        if !self.before.bind(values)?.matches(before) {
            return Ok(Err(Unmet::Before));
        }
        let (own_before, own_after) = (stamps.strip(&before.data), stamps.strip(&after.data));
        if self.unchanged.iter().any(|path| is_changed(path, &own_before, &own_after)) {
            return Ok(Err(Unmet::Unchanged));
        }
        if let Some(only) = &self.only
            && without(&own_before, only) != without(&own_after, only)
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
