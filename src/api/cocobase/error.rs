//! Errors as the client libraries read them: they go by the status, and show the body `{"detail":…}`.

use std::future::{Ready, ready};

use actix_web::{
    Error, FromRequest, HttpRequest, HttpResponse, ResponseError,
    body::BoxBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
};
use serde_json::{Value, json};

use crate::api::{
    error::{ApiError, ErrorCode, UNKNOWN_COLLECTION, UNKNOWN_DOCUMENT},
    fallback::with_collection_hint,
    request::credential::credentials,
};

/// Middleware: turns an error of any handler or extractor into `{"detail":…}`.
pub async fn with_detail(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?;
    Ok(match api_error(&response) {
        None => response,
        Some(error) => {
            let error = without_user(response.request(), error);
            let body = json!({ "detail": detail(&error) });
            response.into_response(with_body(&error, body))
        }
    })
}

/// Middleware for the paths that both doors have: the error has the members of both.
pub async fn with_both(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?;
    Ok(match api_error(&response) {
        None => response,
        Some(error) => {
            let error = with_collection_hint(response.request(), error.clone()).unwrap_or(error);
            let mut body = error.body();
            body["detail"] = detail(&error);
            response.into_response(with_body(&error, body))
        }
    })
}

/// Turns the refusal by rules of somebody who is not signed in into 401, as the libraries expect: they then ask for a sign-in.
fn without_user(request: &HttpRequest, error: ApiError) -> ApiError {
    let has_user = credentials(request.headers()).is_ok_and(|found| found.user.is_some());
    match error.is_by_rules && !has_user {
        true => ApiError { code: ErrorCode::Unauthorized, ..error },
        false => error,
    }
}

fn api_error(response: &ServiceResponse<BoxBody>) -> Option<ApiError> {
    response.response().error()?.as_error::<ApiError>().cloned()
}

/// Replaces the body, and keeps status and headers.
fn with_body(error: &ApiError, body: Value) -> HttpResponse {
    error.error_response().set_body(BoxBody::new(body.to_string()))
}

/// Returns the message, in the libraries' own words where they have some.
pub fn detail(error: &ApiError) -> Value {
    let message = match error.code {
        // The name of an item may come before the message: `updates["a"]: …`.
        ErrorCode::DocumentNotFound => error.message.replace(UNKNOWN_DOCUMENT, "Document not found"),
        ErrorCode::InvalidCollection => error.message.replace(UNKNOWN_COLLECTION, "Collection not found"),
        _ => error.message.clone(),
    };
    message.into()
}

/// An extractor that refuses a form with files before its body is read.
pub struct NoFiles;

impl FromRequest for NoFiles {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
        let is_form = content_type.is_some_and(|text| text.to_ascii_lowercase().starts_with(b"multipart/"));
        ready(if is_form { Err(files_unavailable()) } else { Ok(Self) })
    }
}

fn files_unavailable() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "this server doesn't store files yet; write the document without them")
}

/// `POST /collections/file` → 404.
pub async fn no_files() -> Result<HttpResponse, ApiError> {
    Err(files_unavailable())
}

/// Any other path below `/auth-collections/` → 404.
pub async fn no_such_call(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!(
        "this server has no `{}` yet; the guide `from-cocobase` lists every call that it has",
        request.path()
    );
    Err(ApiError::new(ErrorCode::NotFound, message))
}

/// `/functions/…` and `/ws/…`, which the libraries ask of another host → 404.
pub async fn no_functions() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(ErrorCode::NotFound, "this server runs no cloud functions and no games"))
}
