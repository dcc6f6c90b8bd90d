//! The origin of the page that sends a request. Browsers name it, and nothing else has to.

use actix_web::{HttpRequest, http::header};

/// Returns the origin that a request names. One that is no text is none that a key has.
pub fn origin_of(request: &HttpRequest) -> Option<&str> {
    request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("null"))
}
