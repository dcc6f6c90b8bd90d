//! Whether the process runs, and whether it can serve requests.

use std::{sync::atomic::Ordering, time::Duration};

use actix_web::HttpResponse;
use serde_json::json;

use crate::api::{
    error::{ApiError, ErrorCode},
    state::State,
};

/// How long the database may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /health/live` → 200 while the process serves requests at all.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// `GET /health/ready` → 200, or 503 while the database does not answer within two seconds, and once the server is about to
/// stop.
pub async fn ready(state: State) -> Result<HttpResponse, ApiError> {
    if state.is_draining.load(Ordering::Relaxed) {
        return Err(ApiError::new(ErrorCode::Overloaded, "the server is about to stop"));
    }
    if state.db.is_reachable(TIMEOUT).await {
        Ok(HttpResponse::Ok().json(json!({ "status": "ready" })))
    } else {
        Err(ApiError::new(ErrorCode::Overloaded, "the database does not answer"))
    }
}
