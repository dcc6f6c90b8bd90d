//! The header `Idempotency-Key`, with which a write that is sent again is done once.

use actix_web::HttpRequest;
use sha2::{Digest, Sha256};

use crate::{
    api::error::{ApiError, ErrorCode},
    service::documents::RequestKey,
};

const HEADER: &str = "Idempotency-Key";

/// Reads the key of a write, and hashes the request; a repetition has the same hash. `None` if there is no key.
///
/// # Errors
/// `INVALID_BODY` for a key that is empty, longer than 255 characters, not ASCII, or there more than once.
pub fn request_key(request: &HttpRequest, body: &[u8]) -> Result<Option<RequestKey>, ApiError> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else { return Ok(None) };
    let key = match (value.to_str(), values.next()) {
        (Ok(text), None) if (1..=255).contains(&text.trim().len()) => text.trim(),
        _ => {
            let message =
                format!("the header `{HEADER}` must be there once and have 1 to 255 ASCII characters");
            return Err(ApiError::new(ErrorCode::InvalidBody, message));
        }
    };
    Ok(Some(RequestKey { key: key.to_owned(), request: hash(request, body) }))
}

/// Hashes everything that the outcome of a write depends on. Each part is preceded by its length, so that no two requests run
/// together to the same text.
fn hash(request: &HttpRequest, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    let header = |name| request.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
    for part in [
        request.method().as_str().as_bytes(),
        request.path().as_bytes(),
        request.query_string().as_bytes(),
        header("if-match"),
        header("if-none-match"),
        body,
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}
