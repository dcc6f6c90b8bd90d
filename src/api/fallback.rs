//! The answers where no route fits.

use actix_web::{HttpRequest, HttpResponse};

use super::error::{ApiError, ErrorCode};

/// Answers a path that no route has.
pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("there is no route `{}`; docs/reference/rest.md lists the routes", request.path());
    Err(ApiError::new(ErrorCode::NotFound, message))
}

/// Answers a method that the route does not have.
pub async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("the route `{}` does not answer {}", request.path(), request.method());
    Err(ApiError::new(ErrorCode::MethodNotAllowed, message))
}
