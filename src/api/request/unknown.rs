//! Parameters of a URL on routes where none is a filter: a route takes those that it knows, and a write takes none. Ignored,
//! they would mislead.

use actix_web::HttpRequest;

use super::parameters::{Parameters, invalid_parameter};
use crate::{api::error::ApiError, domain::nearest, query::parse::advice_for};

/// The most characters of a name that a message repeats.
const MAX_SHOWN: usize = 60;

/// Names that a write has elsewhere, each with the place where this is said here.
const IN_WRITES: [(&[&str], &str); 9] = [
    (
        &["merge", "partial", "patch", "replace", "overwrite"],
        "PUT replaces the whole document, and PATCH changes a part of it",
    ),
    (&["upsert", "create"], "PUT creates the document, or replaces it"),
    (
        &["id", "_id", "docId", "documentId", "document_id"],
        "the id stands in the path, as in PUT /collections/{collection}/{id}",
    ),
    (&["ids"], "ids stand in the body, as in {\"ids\":[\"a\",\"b\"]}"),
    (
        &["version", "ifVersion", "if_version", "etag", "rev", "_rev", "ifMatch", "if_match"],
        "a condition stands in the header `If-Match`, or in `ifVersion` of a transaction",
    ),
    (
        &["idempotencyKey", "idempotency_key", "idempotency-key"],
        "the key stands in the header `Idempotency-Key`",
    ),
    (
        &["return", "returning", "prefer", "minimal", "select", "fields"],
        "the header `Prefer: return=minimal` asks for an answer without the documents",
    ),
    (
        &["token", "ticket", "key"],
        "the key is sent in the header `Authorization: Bearer <key>` or `x-api-key: <key>`",
    ),
    (&["collection"], "the collection stands in the path, or in the body"),
];

/// Refuses every parameter that is not one of `known`, those that the route takes.
///
/// # Errors
/// `INVALID_FILTER`, which names the parameter and the nearest known one.
pub fn refuse_unknown(parameters: &Parameters, known: &[&str]) -> Result<(), ApiError> {
    parameters.check_encoding()?;
    let Some((name, _)) = parameters.pairs().find(|(name, _)| !known.contains(name)) else { return Ok(()) };
    let is_meant = |own: &&&str| {
        advice_for(name).is_some_and(|advice| advice.starts_with(&format!("did you mean `{own}`?")))
    };
    let near = nearest(name, known.iter().copied()).or_else(|| known.iter().find(is_meant).copied());
    Err(unknown(
        name,
        &match (near, known) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, []) => "this route takes no parameters in the URL".to_owned(),
            (None, [only]) => format!("this route takes `{only}`"),
            (None, [others @ .., last]) => format!("this route takes `{}` and `{last}`", others.join("`, `")),
        },
    ))
}

/// Refuses every parameter of a write.
///
/// # Errors
/// `INVALID_FILTER`, which says where that stands which the first one most likely means.
pub fn refuse_in_write(request: &HttpRequest) -> Result<(), ApiError> {
    let parameters = Parameters::of(request)?;
    parameters.check_encoding()?;
    let Some((name, _)) = parameters.pairs().next() else { return Ok(()) };
    let advice = IN_WRITES.iter().find(|(names, _)| names.contains(&name)).map(|(_, advice)| *advice);
    let advice = advice.or_else(|| advice_for(name).filter(|advice| advice.starts_with("the key ")));
    let takes_none = "a write takes no parameters in the URL";
    Err(unknown(name, &advice.map_or(takes_none.to_owned(), |advice| format!("{advice}; {takes_none}"))))
}

fn unknown(name: &str, advice: &str) -> ApiError {
    let name: String = name.chars().take(MAX_SHOWN).collect();
    invalid_parameter(format!("unknown parameter `{name}`: {advice}"))
}
