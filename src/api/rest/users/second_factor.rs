//! Second factors: an authenticator app, its recovery codes, and the second step of a sign-in.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Path};
use serde_json::{Value, json};

use super::{
    body::{Members, not_signed_in, seen},
    welcome::answer,
};
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor},
        rest::success::Success,
        state::State,
    },
    domain::DocumentId,
    service::ServiceError,
};

/// `POST /users/me/totp` `{"password"?}` → 200 with the secret for an authenticator app. Without the password, the sign-in must be
/// younger than 10 minutes.
pub async fn begin(state: State, Visitor(principal): Visitor, body: Body) -> Result<HttpResponse, ApiError> {
    let password = Members::read_optional(&body, &["password"])?.optional_text("password")?;
    let totp = state.users.begin_totp(&principal, password).await?;
    Ok(shown_once(json!({ "secret": totp.secret, "url": totp.url })))
}

/// `POST /users/me/totp/confirm` `{"code"}` → 200 with the recovery codes; the second factor is on, and the user's other sessions
/// end.
pub async fn confirm(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let code = Members::read(&body, &["code"])?.text("code")?;
    let recovery = state.users.confirm_totp(&principal, &code).await?;
    Ok(shown_once(json!({ "recoveryCodes": recovery })))
}

/// `DELETE /users/me/totp` `{"code"}` → 200; the second factor is off.
pub async fn remove(state: State, Visitor(principal): Visitor, body: Body) -> Result<HttpResponse, ApiError> {
    let code = Members::read(&body, &["code"])?.text("code")?;
    state.users.remove_totp(&principal, &code).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}

/// `DELETE /users/{id}/totp` with a secret key → 200; the user's second factor is off.
pub async fn remove_of(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    let user = DocumentId::parse(&id).map_err(|_| ServiceError::UnknownDocument)?;
    state.users.remove_totp_of(&principal, &user).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({ "id": id.as_str() }))))
}

/// `POST /users/login/mfa` `{"ticket","code"}` → 200 as a sign-in; 401 if the code is wrong.
pub async fn sign_in(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["ticket", "code"])?;
    let (ticket, code) = (members.text("ticket")?, members.text("code")?);
    let welcome = state.users.sign_in_second(&principal, &ticket, &code, seen(&request)).await;
    Ok(answer(HttpResponse::Ok(), &welcome.map_err(not_signed_in)?))
}

fn shown_once(body: Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body))
}
