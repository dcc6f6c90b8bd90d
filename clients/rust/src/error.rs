//! Why a stream could not be opened, or ended.

use crate::{MessageError, Misfit};

/// Why a stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL of the server is not one.
    #[error("`{0}` is not the URL of a server, such as http://127.0.0.1:8080")]
    InvalidUrl(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Http(String),
    /// The subscription asks for something that its transport can't do.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The server refused, and would refuse again: a wrong key, an unknown collection, an invalid filter.
    #[error("{code}: {message}")]
    Refused {
        /// The error code, such as `UNAUTHORIZED`.
        code: String,
        /// A sentence that explains the code.
        message: String,
    },
    /// The answer is not one that a Coir server gives.
    #[error("the server answered {0}; is this a Coir server?")]
    UnexpectedAnswer(String),
    /// The server can't be reached, or is too busy. Trying later may help.
    #[error("{0}")]
    Unavailable(String),
    /// The connection was cut. Connecting again may help.
    #[error("the connection was cut: {0}")]
    Cut(String),
    /// The server sent something that is not part of the protocol.
    #[error(transparent)]
    InvalidMessage(#[from] MessageError),
    /// The server sent a message larger than this client takes.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    /// A message didn't fit the view that those before it had made.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl Error {
    /// Whether the same may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Cut(_))
    }
}
