//! The state that a document must be in for a write to happen.

use super::error::WriteError;
use crate::domain::Document;

/// The state that a document must be in for an operation to happen (RFC 9110, section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    #[default]
    None,
    /// `If-Match: *`: it exists.
    Exists,
    /// `If-Match`: it has one of these entity tags.
    Tag(Vec<String>),
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// It does not exist. Unlike [`Precondition::Absent`], an existing document is a conflict.
    Free,
    /// It has this version; 0 means that it does not exist.
    Version(u64),
}

impl Precondition {
    /// Checks the precondition against the current document.
    ///
    /// # Errors
    /// [`WriteError::PreconditionFailed`], or [`WriteError::DocumentExists`] for an id that should be free.
    pub fn check(&self, document: Option<&Document>) -> Result<(), WriteError> {
        let holds = match self {
            Self::None => true,
            Self::Exists => document.is_some(),
            Self::Absent => document.is_none(),
            Self::Free => match document {
                Some(document) => return Err(WriteError::DocumentExists(document.id.clone())),
                None => true,
            },
            Self::Version(version) => document.map_or(0, |document| document.version) == *version,
            Self::Tag(tags) => document.is_some_and(|document| tags.contains(&document.entity_tag())),
        };
        if holds { Ok(()) } else { Err(WriteError::PreconditionFailed) }
    }
}
