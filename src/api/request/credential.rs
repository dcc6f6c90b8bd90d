//! The credentials in a request's headers: a key, a user's token, or both.

use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::{
    api::error::ApiError,
    auth::{Credentials, KeyKind, Tickets},
};

/// The hint for a request without a credential.
pub const NO_CREDENTIAL: &str =
    "the request has no key; send it in the header `Authorization: Bearer <key>` or `x-api-key: <key>`";
/// A stream adds this to its hints, for pages whose `EventSource` sends no headers.
pub const IN_A_PAGE: &str = "an `EventSource` sends no headers: give it a publishable key as `?token=pk_…`, or a ticket as `?ticket=…`";
/// The hint for a request whose headers or parameters hold several.
pub const TWO_CREDENTIALS: &str = "the request has two different keys; send one";

/// Returns the credentials in the headers. A text with the form of a JWT is a user's token, and any other one a key.
///
/// # Errors
/// `UNAUTHORIZED` if the headers carry different keys or different tokens, or if one of them cannot be read.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials<'_>, ApiError> {
    let mut found = Credentials::default();
    let bearer = headers.get_all(header::AUTHORIZATION).map(bearer);
    let keys = headers.get_all("x-api-key").map(|value| {
        let text =
            value.to_str().map_err(|_| "the header `x-api-key` must be ASCII text: `x-api-key: <key>`")?;
        Some(text.trim())
            .filter(|text| !text.is_empty())
            .ok_or("the header `x-api-key` is empty; write `x-api-key: <key>`")
    });
    for credential in bearer.chain(keys) {
        let credential = credential.map_err(|hint| ApiError::unauthorized().with_hint(hint))?;
        let place = if Tickets::is_ticket(credential) { &mut found.user } else { &mut found.key };
        if let Some(other) = place.filter(|other| *other != credential) {
            return Err(ApiError::unauthorized().with_hint(two_credentials([other, credential])));
        }
        *place = Some(credential);
    }
    Ok(found)
}

/// Returns what is wrong with two credentials of one kind. One of them may be no key at all.
pub fn two_credentials(both: [&str; 2]) -> &'static str {
    both.into_iter()
        .filter(|text| !Tickets::is_ticket(text))
        .find_map(hint_about_key)
        .unwrap_or(TWO_CREDENTIALS)
}

/// Returns what is wrong with a text that can't be a key.
pub fn hint_about_key(key: &str) -> Option<&'static str> {
    if KeyKind::of_key(key).is_some() {
        return None;
    }
    let hint = match key {
        "undefined" | "null" | "None" | "nil" | "NaN" | "[object" | "[object Object]" | "true" | "false" => {
            "this is no key and no token, but what a program writes for a value that is not there: look where it takes the key or \
             the access token from (the answer to a sign-in has it as `data.accessToken`)"
        }
        _ if key.starts_with("rt_") => {
            "this is a refresh token, which POST /users/refresh takes in the body as `refreshToken`; send the access token here"
        }
        _ if key.starts_with(['"', '\'', '<']) => "write the key without quotes or brackets around it",
        _ if key.starts_with(['$', '{']) => {
            "this is the name of a variable and not its value; in a shell, write the header between double quotes"
        }
        _ => {
            "this is not the text of a key: a key begins with `pk_` or `sk_`, and 16 to 128 letters and digits follow"
        }
    };
    Some(hint)
}

/// Reads the value of `Authorization`.
///
/// # Errors
/// A sentence that says what to write.
fn bearer(value: &HeaderValue) -> Result<&str, &'static str> {
    let text = value
        .to_str()
        .map_err(|_| "the header `Authorization` must be ASCII text: `Authorization: Bearer <key>`")?;
    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    match (scheme.to_ascii_lowercase().as_str(), token.trim()) {
        ("bearer", "") => {
            Err("the header `Authorization` has no key after `Bearer`; write `Authorization: Bearer <key>`")
        }
        ("bearer", token) => Ok(token),
        ("basic", _) => Err(
            "the header `Authorization` is of the kind `Basic`, which this server doesn't take; write `Authorization: Bearer <key>`",
        ),
        (scheme, "") if scheme.starts_with("pk_") || scheme.starts_with("sk_") => Err(
            "the word `Bearer` is missing in the header `Authorization`; write `Authorization: Bearer <key>`",
        ),
        _ => Err("the header `Authorization` must be written `Authorization: Bearer <key>`"),
    }
}
