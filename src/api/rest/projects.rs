//! The settings of the key's project.

use actix_web::{HttpRequest, HttpResponse, http::header};

use super::success::Success;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            Body, Caller, Parameters, Visitor,
            unknown::{refuse_in_write, refuse_unknown},
        },
        state::State,
    },
    domain::ProjectSettings,
};

/// `GET /settings` with a secret key → 200 with the settings of its project, every member of them.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &[])?;
    Ok(answer(&*state.projects.settings(&principal).await?))
}

/// `PATCH /settings` with a secret key → 200 with all settings. The body is merged into them (RFC 7396): a member that is null has
/// its default again.
pub async fn change(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let change = body.document()?.fields().clone();
    if change.is_empty() {
        let message = "the body changes nothing; a change is such as {\"signup\":{\"mode\":\"closed\"}}";
        return Err(ApiError::new(ErrorCode::InvalidBody, message));
    }
    Ok(answer(&*state.projects.change_settings(&principal, change).await?))
}

fn answer(settings: &ProjectSettings) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Success::new(settings.to_shown()))
}
