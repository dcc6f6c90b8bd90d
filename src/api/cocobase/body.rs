//! What the client libraries send, without its wrappings.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    api::{error::ApiError, request::Body},
    domain::Data,
};

/// `{"data":…}` and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// The data of a new document: `{"data":{…}}`, that wrapped once more, as the Python library does, or the bare object.
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

/// The members of an update: `{"data":{…}}` or the bare object.
///
/// # Errors
/// As [`Body::document`].
pub fn patch(body: &Body) -> Result<Data, ApiError> {
    match unwrap(&body.bytes) {
        None => body.document(),
        Some(inner) => body.part(inner),
    }
}

/// The members of one update of a batch: `{…}`, or `{"data":{…}}` as the vendor's server takes it.
pub fn batch_patch(raw: &RawValue) -> &RawValue {
    unwrap(raw.get().as_bytes()).filter(|inner| is_object(inner)).unwrap_or(raw)
}

/// The members of a request about a collection: `{…}` or `{"data":{…}}`.
pub fn members(body: &Body) -> &[u8] {
    unwrap(&body.bytes).map_or(&body.bytes[..], |inner| inner.get().as_bytes())
}

/// What is in `{"data":…}`; `None` for JSON of another form, and for what is none.
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
