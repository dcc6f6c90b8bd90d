//! The credential in a request's headers.

use actix_web::http::header::{self, HeaderMap};

use crate::api::error::ApiError;

/// Returns the credential in the headers, or `None` if no header has one.
///
/// # Errors
/// `UNAUTHORIZED` if two headers carry different credentials, or if one of them cannot be read.
pub fn credential(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut found = None;
    let bearer = headers.get_all(header::AUTHORIZATION).map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let keys = headers.get_all("x-api-key").map(|value| value.to_str().ok().map(str::trim));
    for credential in bearer.chain(keys) {
        let credential = credential.ok_or_else(ApiError::unauthorized)?;
        if found.is_some_and(|other| other != credential) {
            return Err(ApiError::unauthorized());
        }
        found = Some(credential);
    }
    Ok(found)
}
