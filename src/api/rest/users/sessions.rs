//! The sessions of a user: list and end them.

use actix_web::{HttpResponse, http::header, web::Path};
use serde::Serialize;
use serde_json::json;

use super::body::Members;
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor},
        rest::success::Success,
        state::State,
    },
    domain::{DocumentId, Session},
    service::ServiceError,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionBody {
    id: String,
    method: String,
    device: Option<String>,
    address: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    /// Whether it is the session of this request.
    current: bool,
}

/// `GET /users/me/sessions` → 200 with the sessions of the user who asks, the last used first.
pub async fn list(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let sessions = state.users.sessions(&principal).await?;
    let current = principal.user.as_ref().map(|user| &user.session);
    let body = |session: &Session| SessionBody {
        id: session.id.to_string(),
        method: session.method.to_string(),
        device: session.device.clone(),
        address: session.address.clone(),
        created_at: session.created_at.to_string(),
        last_used_at: session.used_at.to_string(),
        expires_at: session.expires_at.to_string(),
        current: current == Some(&session.id),
    };
    let bodies: Vec<_> = sessions.iter().map(body).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(bodies)))
}

/// `DELETE /users/me/sessions/{id}` → 200; ends one of one's own sessions, with its streams.
pub async fn end(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    state.users.end_session(&principal, &id).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({ "id": id.as_str() }))))
}

/// `POST /users/{id}/logout` with a secret key → 200; ends all sessions of a user.
pub async fn end_all(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    let user = DocumentId::parse(&id).map_err(|_| ServiceError::UnknownDocument)?;
    state.users.sign_out_user(&principal, &user).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({ "id": id.as_str() }))))
}
