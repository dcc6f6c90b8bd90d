//! Who is asking, by the credential in a request's headers.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
};

use crate::{
    api::{error::ApiError, state::State},
    auth::Principal,
};

/// The holder of the key in `Authorization: Bearer` or `x-api-key`. A handler that takes one answers 401 to everybody else.
pub struct Caller(pub Arc<Principal>);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let key = credential(request.headers())?.ok_or_else(ApiError::unauthorized)?;
            // `app` registers the state before any route.
            let state = request.app_data::<State>().ok_or_else(ApiError::unauthorized)?;
            Ok(Self(state.keys.authenticate(key).await?))
        })
    }
}

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
