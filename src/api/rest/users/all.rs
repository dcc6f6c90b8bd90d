//! The collection `_users` by a shorter path. A server sees everybody there, and a user themselves.

use actix_web::{HttpRequest, HttpResponse, web::Path};

use crate::{
    api::{
        error::ApiError,
        request::{Body, Caller, Parameters, Visitor},
        rest::documents,
        state::State,
    },
    domain::USERS,
};

/// `GET /users` → 200 with a page of users, as `GET /collections/_users`.
pub async fn list(state: State, caller: Caller, parameters: Parameters) -> Result<HttpResponse, ApiError> {
    documents::list(state, caller, Path::from(USERS.to_owned()), parameters).await
}

/// `GET /users/{id}` → 200 with the user.
pub async fn get(
    state: State,
    request: HttpRequest,
    caller: Caller,
    id: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    documents::get(state, request, caller, of_users(id), parameters).await
}

/// `PATCH /users/{id}` → 200 with the user.
pub async fn merge(
    state: State,
    request: HttpRequest,
    visitor: Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    documents::merge(state, request, visitor, of_users(id), body).await
}

/// `DELETE /users/{id}` with a secret key → 200 with the id. The credentials and sessions go along.
pub async fn delete(
    state: State,
    request: HttpRequest,
    visitor: Visitor,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    documents::delete(state, request, visitor, of_users(id)).await
}

fn of_users(id: Path<String>) -> Path<(String, String)> {
    Path::from((USERS.to_owned(), id.into_inner()))
}
