//! Sign-up, sign-in, refresh and sign-out.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;

use super::{
    body::{Members, seen},
    welcome::{answer, answer_sign_in},
};
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor, caller::KeyHolder},
        rest::success::Success,
        state::State,
    },
    domain::{Timestamp, UserData},
};

/// `POST /users` `{"email","password","profile"?,"invitation"?}` → 201 with the user and the tokens of a session; 409 if the address is
/// taken. Where the project conceals that, the answer is 201 without a user and tokens, and a mail has a link. With the token of a link as
/// `invitation`, the address may be left out.
pub async fn sign_up(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "password", "profile", "invitation"])?;
    let profile = members.object("profile")?.unwrap_or_default();
    if let Some(token) = members.optional_text("invitation")? {
        let user = UserData { email: members.optional_email()?, profile, ..UserData::default() };
        let password = members.text("password")?;
        let signed_up = state.users.sign_up_by_link(&principal, user, password, &token, seen(&request)).await;
        return Ok(answer(HttpResponse::Created(), &signed_up?));
    }
    let email = members.email()?;
    if state.users.conceals(&principal).await? {
        let password = members.optional_text("password")?;
        state.users.sign_up_concealed(&principal, email, password).await?;
        let body = Success::new(json!({ "confirm": "mail" }));
        return Ok(HttpResponse::Created().insert_header((header::CACHE_CONTROL, "no-store")).json(body));
    }
    let user = UserData { email: Some(email), profile, ..UserData::default() };
    let password = members.text("password")?;
    let welcome = state.users.sign_up(&principal, user, password, seen(&request)).await?;
    Ok(answer(HttpResponse::Created(), &welcome))
}

/// `POST /users/anonymous` `{"profile"?}` → 201 as a sign-up, for a user without address and password.
pub async fn sign_up_anonymously(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read_optional(&body, &["profile"])?;
    let user = UserData { profile: members.object("profile")?.unwrap_or_default(), ..UserData::default() };
    let welcome = state.users.sign_up_anonymously(&principal, user, seen(&request)).await?;
    Ok(answer(HttpResponse::Created(), &welcome))
}

/// `POST /users/login` `{"email","password"}` → 200 as a sign-up; 401 if they fit no user. Who has a second factor gets a ticket for
/// `POST /users/login/mfa`: `{"mfa":{"ticket","methods"}}`.
pub async fn sign_in(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "password"])?;
    let (email, password) = (members.text("email")?, members.text("password")?);
    Ok(answer_sign_in(&state.users.sign_in(&principal, &email, password, seen(&request)).await?))
}

/// `POST /users/refresh` `{"refreshToken"}` → 200 with the next pair of tokens. The refresh token is enough; a key may stand
/// beside it.
pub async fn refresh(
    state: State,
    request: HttpRequest,
    KeyHolder(principal): KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let arrived = Timestamp::now();
    let token = Members::read(&body, &["refreshToken"])?.text("refreshToken")?;
    let welcome = state.users.refresh(principal.as_deref(), &token, arrived, seen(&request)).await?;
    Ok(answer(HttpResponse::Ok(), &welcome))
}

/// `POST /users/logout` → 200; ends the session of the request, with its streams.
pub async fn sign_out(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    state.users.sign_out(&principal).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}
