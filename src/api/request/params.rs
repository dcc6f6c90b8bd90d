//! Parameters that a caller gives to the rules of collections.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use serde_json::{Map, Value};

use crate::{
    api::error::{ApiError, ErrorCode},
    domain::{json, json_mistake::explain},
    query::rule::Params,
};

/// The header with the parameters of a request, as a JSON object. They may be secrets, such as that of an invitation, so they
/// are taken from no URL.
const HEADER: &str = "X-Coir-Params";
/// The most bytes of the parameters of a request or a subscription, as JSON.
const MAX_BYTES: usize = 4096;

/// Reads the parameters of a request. `None` if it has none.
///
/// # Errors
/// `INVALID_BODY` for anything but one JSON object.
pub fn params_of(headers: &HeaderMap) -> Result<Option<Params>, ApiError> {
    let mut given = headers.get_all(HEADER);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refuse("is there twice; send one JSON object"));
    }
    let value = json::parse(value.as_bytes())
        .map_err(|err| refuse(&format!("is not valid JSON: {}", explain(&err))))?;
    parse_params(value).map(Some).map_err(|why| refuse(&why))
}

/// Reads the parameters of a request or a subscription.
///
/// # Errors
/// The end of a sentence that names them.
pub fn parse_params(value: Value) -> Result<Params, String> {
    let Value::Object(params) = value else {
        return Err("must be a JSON object, such as {\"invite\":\"…\"}".to_owned());
    };
    if bytes_of(&params) > MAX_BYTES {
        return Err(format!("must have at most {MAX_BYTES} bytes"));
    }
    Ok(Arc::new(params))
}

fn bytes_of(params: &Map<String, Value>) -> usize {
    serde_json::to_string(params).map_or(usize::MAX, |text| text.len())
}

fn refuse(why: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidBody, format!("the header `{HEADER}` {why}"))
}
