//! Whether the process runs, and whether it can do its work.

use std::sync::atomic::Ordering;

use actix_web::HttpResponse;
use serde_json::json;

use crate::api::{
    error::{ApiError, ErrorCode},
    readiness::find_cause,
    state::State,
};

/// The header that says which server answers. Commands ask for it before they send a key anywhere.
pub const INSTANCE_HEADER: &str = "X-Coir-Instance";

/// `GET /health/live` → 200 while the process serves requests at all.
pub async fn live(state: State) -> HttpResponse {
    HttpResponse::Ok().insert_header((INSTANCE_HEADER, &*state.instance)).json(json!({ "status": "live" }))
}

/// `GET /health/ready` → 200, or 503 with the first reason why this process can't do its work, or once it is about to stop. It
/// takes less than two seconds.
pub async fn ready(state: State) -> Result<HttpResponse, ApiError> {
    if state.is_draining.load(Ordering::Relaxed) {
        return Err(ApiError::new(ErrorCode::Overloaded, "the server is about to stop"));
    }
    match find_cause(&state.health, &state.db).await {
        None => Ok(HttpResponse::Ok().json(json!({ "status": "ready" }))),
        Some(cause) => Err(ApiError::new(ErrorCode::Overloaded, cause)),
    }
}
