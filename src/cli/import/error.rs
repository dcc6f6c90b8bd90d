//! Why an import did not finish, told to the person who typed it.

use std::path::PathBuf;

use crate::cli::{output::OutputError, target::TargetError};

/// Why an import did not finish.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("an API key is needed: --key sk_…, or COIR_KEY in the environment")]
    NoKey,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("`{0}` can't be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("`{0}` is {1}")]
    NoFile(PathBuf, &'static str),
    /// Nothing was written.
    #[error("`{0}` is not a valid import file: {1}")]
    Content(PathBuf, String),
    #[error("the HTTP client can't be made: {0}")]
    Client(reqwest::Error),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("{failed} of {total} documents were not written")]
    Incomplete { failed: usize, total: usize },
    #[error("{failed} of {total} documents would not be written; nothing was written")]
    WouldBeIncomplete { failed: usize, total: usize },
    /// The server would refuse every further document, too.
    #[error("{0}")]
    Refused(String),
}
