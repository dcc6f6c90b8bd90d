//! Which part of the server failed, and how.

use std::{fmt, sync::Arc};

/// The name of a part, as the log and readiness call it.
pub type Part = Arc<str>;

/// Why the server can't go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The part that failed first.
    pub part: Part,
    pub how: How,
}

/// How a part failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The log has the panic's message and place.
    Panicked,
    Ended,
    Stalled,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, how } = self;
        match how {
            How::Panicked => write!(f, "the {part} has panicked"),
            How::Ended => write!(f, "the {part} has ended before the server stopped"),
            How::Stalled => write!(f, "the {part} does not move any more"),
        }
    }
}

impl std::error::Error for Failure {}
