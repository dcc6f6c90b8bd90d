//! How the sockets of this door say that something is wrong: `{"error":…}`, and then, unless they go on, a close frame.

use serde_json::{Value, json};

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        realtime::conversation::End,
    },
    hub::Outbox,
    wire::{CloseCode, cocobase::message},
};

/// Says what is wrong with a message. The socket goes on.
pub(super) fn say_error(outbox: &Outbox, error: &str) {
    outbox.send(message(&json!({ "error": error })));
}

/// Ends a socket with an error and 1008.
pub(super) fn refused(error: impl Into<String>) -> End {
    refused_with(&json!({ "error": error.into() }))
}

/// The same with more members.
pub(super) fn refused_with(error: &Value) -> End {
    End { last: Some(message(error)), ..End::new(CloseCode::NotAllowed, "refused") }
}

/// Ends the socket of an unknown or revoked key.
pub(super) fn invalid_key() -> End {
    refused_with(&json!({ "error": "Invalid API key", "error_detail": "Project not found" }))
}

/// Ends a socket whose client missed changes that can't be sent any more.
pub(super) fn behind() -> End {
    End::new(CloseCode::TryAgain, "missed too much; list again")
}

/// Ends a socket with an error of the documented API, in the words of the libraries.
pub(super) fn failed(error: ApiError) -> End {
    match error.code {
        ErrorCode::Forbidden | ErrorCode::InvalidCollection => refused_with(&json!({
            "error": "Collection not found or access denied",
            "error_detail": error.message,
        })),
        ErrorCode::Unauthorized => invalid_key(),
        ErrorCode::Overloaded | ErrorCode::Internal | ErrorCode::RateLimited => {
            End { code: CloseCode::TryAgain, reason: "try again", ..refused(error.message) }
        }
        _ => refused(error.message),
    }
}
