//! `If-Match` and `If-None-Match` (RFC 9110 §13), in actix's typed headers.

use actix_web::{
    HttpRequest,
    http::header::{EntityTag, Header, IfMatch, IfNoneMatch},
};

use crate::{
    api::error::{ApiError, ErrorCode},
    writer::Precondition,
};

/// Reads the precondition of a write to one document.
///
/// # Errors
/// `INVALID_BODY` for a header that is not valid, and for a combination that no write can fulfil.
pub fn precondition(request: &HttpRequest) -> Result<Precondition, ApiError> {
    match (single::<IfMatch>(request)?, single::<IfNoneMatch>(request)?) {
        (None, None) => Ok(Precondition::None),
        (Some(IfMatch::Any), None) => Ok(Precondition::Exists),
        (Some(IfMatch::Items(tags)), None) if is_complete(request, &tags) => {
            Ok(Precondition::Tag(texts(&tags)))
        }
        (Some(IfMatch::Items(_)), None) => {
            refuse("`If-Match` must be `*` or entity tags in quotes, as the response header `ETag` has them")
        }
        (None, Some(IfNoneMatch::Any)) => Ok(Precondition::Absent),
        (None, Some(IfNoneMatch::Items(_))) => {
            refuse("`If-None-Match` of a write must be `*`, which means that the document must not exist yet")
        }
        (Some(_), Some(_)) => refuse("`If-Match` and `If-None-Match` exclude each other; send one of them"),
    }
}

/// Refuses a precondition on a write to several documents, where it would silently mean nothing.
///
/// # Errors
/// `INVALID_BODY` if the request has one.
pub fn refuse_precondition(request: &HttpRequest) -> Result<(), ApiError> {
    match precondition(request)? {
        Precondition::None => Ok(()),
        _ => refuse(
            "`If-Match` and `If-None-Match` are for writes to one document; an operation of a transaction takes `ifVersion`",
        ),
    }
}

/// Whether `If-None-Match` of a read names this entity tag, so that the answer is 304.
///
/// # Errors
/// `INVALID_BODY` if the header is not valid.
pub fn is_unchanged(request: &HttpRequest, entity_tag: &str) -> Result<bool, ApiError> {
    Ok(match single::<IfNoneMatch>(request)? {
        None => false,
        Some(IfNoneMatch::Any) => true,
        // RFC 9110 §13.1.2: a read compares weakly.
        Some(IfNoneMatch::Items(tags)) => {
            entity_tag.parse::<EntityTag>().is_ok_and(|own| tags.iter().any(|tag| tag.weak_eq(&own)))
        }
    })
}

/// A header that a request may carry once; `None` if it has none.
fn single<H: Header>(request: &HttpRequest) -> Result<Option<H>, ApiError> {
    let mut values = request.headers().get_all(H::name());
    if values.next().is_none() {
        return Ok(None);
    }
    match (values.next(), H::parse(request)) {
        (None, Ok(header)) => Ok(Some(header)),
        (Some(_), _) => refuse(&format!("the header `{}` is there more than once; send it once", H::name())),
        (None, Err(_)) => refuse(&format!("the header `{}` is not valid; it must be ASCII text", H::name())),
    }
}

/// Whether these are all the entity tags of `If-Match`, and at least one. actix leaves out what is not an entity tag.
fn is_complete(request: &HttpRequest, tags: &[EntityTag]) -> bool {
    let text =
        request.headers().get(IfMatch::name()).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !tags.is_empty() && text.split(',').filter(|part| !part.trim().is_empty()).count() == tags.len()
}

/// A proxy that compresses an answer weakens its entity tag, and the client sends it back so. Entity tags of documents are made
/// of their version, so a weak one means the same state. (RFC 9110 §13.1.1 would have a weak tag never match.)
fn texts(tags: &[EntityTag]) -> Vec<String> {
    tags.iter().map(|tag| EntityTag::new_strong(tag.tag().to_owned()).to_string()).collect()
}

fn refuse<T>(message: &str) -> Result<T, ApiError> {
    Err(ApiError::new(ErrorCode::InvalidBody, message))
}
