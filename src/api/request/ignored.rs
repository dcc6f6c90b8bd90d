//! Headers and parameters that a route takes no notice of. Ignored, they would mislead: a client that sends `Idempotency-Key` with
//! a sign-up relies on it.

use actix_web::{
    Error, HttpRequest, ResponseError,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
};

use super::{
    idempotency,
    parameters::Parameters,
    precondition::precondition,
    unknown::{refuse_in_write, refuse_unknown},
};
use crate::{
    api::{
        account_hints::account_hint,
        error::{ApiError, ErrorCode},
    },
    writer::Precondition,
};

/// Middleware: refuses what the routes of users, and other routes that are no documents, would ignore. Adds to the error of a
/// route that other products have the one that was meant.
///
/// # Errors
/// The handler's own.
pub async fn refuse_ignored(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_of_users = request.path().starts_with("/users");
    let pattern = match may_ignore(request.path()) {
        true => request.match_pattern(),
        false => None,
    };
    if let Some(pattern) = pattern
        && let Err(error) = check(request.request(), &pattern)
    {
        return Ok(request.into_response(error.error_response()));
    }
    let response = next.call(request).await?;
    if !is_of_users {
        return Ok(response);
    }
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>()).cloned();
    let is_meant = |error: &ApiError| {
        error.hint.is_none()
            && matches!(error.code, ErrorCode::MethodNotAllowed | ErrorCode::DocumentNotFound)
    };
    let hint = account_hint(response.request().method().as_str(), response.request().path());
    match error.filter(is_meant).zip(hint) {
        Some((error, hint)) => Ok(response.into_response(error.with_hint(hint).error_response())),
        None => Ok(response),
    }
}

/// Whether a path is that of a route that [`check`] may refuse. Documents, which are most requests, have others.
fn may_ignore(path: &str) -> bool {
    ["/users", "/outbox", "/realtime/tickets", "/keys"].iter().any(|prefix| path.starts_with(prefix))
        || path == "/collections"
        || path.ends_with("/settings")
}

/// # Errors
/// `INVALID_BODY` and `INVALID_FILTER`, which name the header or the parameter.
fn check(request: &HttpRequest, pattern: &str) -> Result<(), ApiError> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match (request.method(), pattern) {
        (_, "/users/me" | "/users/me/sessions" | "/outbox") if is_read => {
            refuse_unknown(&Parameters::of(request)?, &[])
        }
        (&Method::PATCH, "/users/me") => refuse_in_write(request),
        (&Method::DELETE, "/users/me") => {
            refuse_in_write(request)?;
            refuse_key(request)
        }
        // They are documents.
        (_, "/users/{id}") => Ok(()),
        // It refuses parameters itself, once it knows that the key is good: they may have a ticket, which is none.
        (_, "/realtime/tickets") => refuse_key(request),
        _ if is_read => Ok(()),
        _ => {
            refuse_in_write(request)?;
            refuse_key(request)?;
            match precondition(request)? {
                Precondition::None => Ok(()),
                _ => {
                    refuse("`If-Match` and `If-None-Match` are for writes to documents; leave them out here")
                }
            }
        }
    }
}

fn refuse_key(request: &HttpRequest) -> Result<(), ApiError> {
    match idempotency::request_key(request, b"")? {
        None => Ok(()),
        Some(_) => refuse(
            "`Idempotency-Key` is for writes to documents; this request would be done again, so leave it out",
        ),
    }
}

fn refuse(message: &str) -> Result<(), ApiError> {
    Err(ApiError::new(ErrorCode::InvalidBody, message))
}
