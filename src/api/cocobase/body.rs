//! Unwraps the bodies that the client libraries send.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    api::{error::ApiError, request::Body},
    domain::Data,
};

/// `{"data":…}` without other members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads the data of a new document: the bare object, `{"data":{…}}`, or that wrapped once more, which the Python library sends.
///
/// # Errors
/// As [`Body::document`].
pub fn document(body: &Body) -> Result<Data, ApiError> {
    match unwrap(&body.bytes) {
        None => body.document(),
        Some(outer) => {
            body.part(unwrap(outer.get().as_bytes()).filter(|inner| is_object(inner)).unwrap_or(outer))
        }
    }
}

/// Reads the members of an update: the bare object or `{"data":{…}}`.
///
/// # Errors
/// As [`Body::document`].
pub fn patch(body: &Body) -> Result<Data, ApiError> {
    match unwrap(&body.bytes) {
        None => body.document(),
        Some(inner) => body.part(inner),
    }
}

/// Unwraps one update of a batch: `{…}`, or `{"data":{…}}`, which the vendor's server takes.
pub fn batch_patch(raw: &RawValue) -> &RawValue {
    unwrap(raw.get().as_bytes()).filter(|inner| is_object(inner)).unwrap_or(raw)
}

/// Unwraps a body about a collection: `{…}` or `{"data":{…}}`.
pub fn members(body: &Body) -> &[u8] {
    unwrap(&body.bytes).map_or(&body.bytes[..], |inner| inner.get().as_bytes())
}

/// Returns the value in `{"data":…}`. `None` for any other text.
fn unwrap(json: &[u8]) -> Option<&RawValue> {
    // serde would also read the member from an array.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice::<Wrapped<'_>>(json).ok().map(|wrapped| wrapped.data)
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_called_data_is_a_wrapping() {
        for (json, inner) in [
            (r#"{"data":{"a":1}}"#, Some(r#"{"a":1}"#)),
            (r#" { "data" : {"data":{"a":1}} } "#, Some(r#"{"data":{"a":1}}"#)),
            (r#"{"data":3}"#, Some("3")),
            (r#"{"data":{"a":1},"b":2}"#, None),
            (r#"{"a":1}"#, None),
            (r#"[{"a":1}]"#, None),
            ("{", None),
            ("", None),
        ] {
            assert_eq!(unwrap(json.as_bytes()).map(RawValue::get), inner, "{json}");
        }
    }
}
