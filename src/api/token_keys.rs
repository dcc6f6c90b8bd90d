//! The public keys of access tokens, for other services.

use actix_web::{HttpResponse, http::header};

use super::state::State;

/// An answer may be kept for five minutes. A service that meets a token of an unknown key asks again.
const MAX_AGE: &str = "public, max-age=300";

/// `GET /.well-known/jwks.json` → 200 with a key set (RFC 7517), which is empty with HS256. It takes no key, and every page may
/// read it that may call the API.
pub async fn get(state: State) -> HttpResponse {
    let keys = state.authenticator.tokens.published_keys();
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, MAX_AGE)).json(keys)
}
