//! The answers where no route fits, and those of `HEAD`, which has no routes of its own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpRequest, HttpResponse, ResponseError, Route,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web,
};
use bytes::Bytes;

use super::{
    account_hints::account_hint,
    error::{ApiError, ErrorCode, UNKNOWN_COLLECTION},
    request::caller::account_of,
    route_hints::{self, RULES},
    state::{ServerState, State},
};
use crate::domain::{CollectionName, ProjectId, nearest};

/// The most collections whose names are compared with one that is not there.
const MAX_COMPARED: usize = 1000;
/// The most characters of a name that a hint repeats.
const MAX_SHOWN: usize = 60;

/// Answers a path that no route has.
pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("there is no route `{}`; docs/reference/rest.md lists the routes", request.path());
    let hint = account_hint(request.method().as_str(), request.path());
    let hint = hint.or_else(|| route_hints::hint(request.path()));
    Err(ApiError { hint, ..ApiError::new(ErrorCode::NotFound, message) })
}

/// Returns the route of all methods that a path does not have. It has `methods`, separated by commas.
pub fn other_methods(methods: &'static str) -> Route {
    web::route().to(move |request: HttpRequest| async move {
        let message = format!(
            "the route `{}` does not answer {}; it answers {methods}",
            request.path(),
            request.method()
        );
        let error = ApiError::new(ErrorCode::MethodNotAllowed, message);
        Err::<HttpResponse, _>(ApiError { allow: Some(methods), ..error })
    })
}

/// Middleware: answers `HEAD` as `GET` without the body.
///
/// # Errors
/// The handler's own.
pub async fn head_as_get(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.method() != Method::HEAD {
        return next.call(request).await;
    }
    request.head_mut().method = Method::GET;
    let response = next.call(request).await?;
    // A stream ends with its body.
    Ok(response.map_body(|_, body| Omitted(body.size()).boxed()))
}

/// A body that is left out, of which only the size is told.
struct Omitted(BodySize);

impl MessageBody for Omitted {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        match self.0 {
            BodySize::Stream => BodySize::None,
            size => size,
        }
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// Middleware: adds to the error of an unknown collection a hint that names it, and the nearest one that there is, and to that of a
/// document with the id `rules` where the rules are.
///
/// # Errors
/// The handler's own.
pub async fn name_unknown_collection(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?;
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>()).cloned();
    match error.and_then(|error| with_collection_hint(response.request(), error)) {
        Some(error) => Ok(response.into_response(error.error_response())),
        None => Ok(response),
    }
}

/// Adds that hint to an error; `None` for any other error.
pub fn with_collection_hint(request: &HttpRequest, error: ApiError) -> Option<ApiError> {
    if error.code == ErrorCode::DocumentNotFound && request.match_info().get("id") == Some("rules") {
        return Some(error.with_hint(RULES.to_owned()));
    }
    let is_meant = error.code == ErrorCode::InvalidCollection
        // The name of an item may come before the message: `ids[0]: …`.
        && error.message.ends_with(UNKNOWN_COLLECTION)
        && error.hint.is_none();
    let name = request.match_info().get("collection").filter(|_| is_meant)?;
    let state = request.app_data::<State>()?;
    // The key was good, or the collection would not have been looked for.
    let hint = unknown_collection(state, &account_of(state, request).project, name);
    Some(error.with_hint(hint))
}

/// Returns a hint that names a collection that doesn't exist, and the nearest one that does.
pub fn unknown_collection(state: &ServerState, project: &ProjectId, name: &str) -> String {
    let catalog = state.documents.catalogs.cached(project);
    let collections = catalog.iter().flat_map(|catalog| catalog.list(None)).take(MAX_COMPARED);
    let near = nearest(name, collections.map(|collection| collection.name.as_str()));
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    let advice = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if CollectionName::parse(name).is_ok() => {
            "the first document that is written to it creates it".to_owned()
        }
        None => "a name is a letter and at most 63 letters, digits, `_` or `-`".to_owned(),
    };
    format!("there is no collection `{shown}`; {advice}")
}
