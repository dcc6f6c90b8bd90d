//! Sign-up and sign-in.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::{Value, json};

use super::shape::welcome;
use crate::{
    api::{
        cocobase::error::NoFiles,
        error::{ApiError, ErrorCode},
        request::{Body, caller::KeyHolder, credential::NO_CREDENTIAL},
        rest::users::body::{Members, refuse, seen},
        state::State,
    },
    auth::Principal,
    domain::{SecondFactor, UserData},
    service::{
        ServiceError, Users,
        identities::AppProof,
        users::{Lifetimes, SignIn},
    },
    writer::WriteError,
};

/// The libraries know no refresh token, so the access token is good for as long as a session on the vendor's server.
const LIFETIMES: Lifetimes = Lifetimes { access_seconds: 2 * 24 * 3600, refresh_days: 2 };

/// `POST /auth-collections/signup` `{"email","password","data"?}` → 200 with the user and a token.
///
/// A list of `roles` is refused, because anybody could make themselves an administrator. A `phone_number` goes into `data`.
pub async fn sign_up(
    _: NoFiles,
    state: State,
    request: HttpRequest,
    holder: KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let mut members = Members::read(&body, &["email", "password", "data", "roles", "phone_number"])?;
    members.refuse_roles()?;
    let mut profile = members.object("data")?.unwrap_or_default();
    if let Some(number) = members.optional_text("phone_number")? {
        profile.entry("phone_number").or_insert(Value::String(number));
    }
    let user = UserData { email: Some(members.email()?), profile, ..UserData::default() };
    let password = members.text("password")?;
    let signed_up = users(&state).sign_up(&principal, user, password, seen(&request)).await;
    Ok(welcome(&principal, &signed_up.map_err(taken)?))
}

/// `POST /auth-collections/login` `{"email","password"}` → 200 with the user and a token, or with `{"requires_2fa":true}` if the user has a second
/// factor by mail; 401 if they fit no user, and 403 if the user has an authenticator app.
pub async fn sign_in(
    state: State,
    request: HttpRequest,
    holder: KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let mut members = Members::read(&body, &["email", "password"])?;
    let (email, password) = (members.text("email")?, members.text("password")?);
    let signed_in = users(&state).sign_in(&principal, &email, password, seen(&request)).await?;
    answer(&principal, &signed_in)
}

/// Answers a sign-in. The libraries ask for a second factor by mail, with 2fa/send-code and 2fa/verify, and for no other one.
pub(super) fn answer(principal: &Principal, signed_in: &SignIn) -> Result<HttpResponse, ApiError> {
    match signed_in {
        SignIn::Done(done) => Ok(welcome(principal, done)),
        SignIn::SecondFactor(SecondFactor::Mail, _) => {
            let message = "this user has a second factor; ask for a code by mail, and send it";
            let body = json!({ "requires_2fa": true, "message": message });
            Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body))
        }
        SignIn::SecondFactor(SecondFactor::App, _) => Err(ApiError::new(
            ErrorCode::Forbidden,
            "this user has a second factor, for which the client libraries can't ask; sign in with POST /users/login",
        )),
    }
}

/// `POST /auth-collections/google-verify` `{"id_token","platform"?}` → 200 with the user and a token. The ID token is good once.
pub async fn verify_google(
    state: State,
    request: HttpRequest,
    holder: KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let proof = AppProof::IdToken(Members::read(&body, &["id_token", "platform"])?.text("id_token")?);
    let signed_in = users(&state).sign_in_by_app(&principal, "google", proof, seen(&request)).await;
    answer(&principal, &signed_in.map_err(without_provider)?)
}

/// `POST /auth-collections/github-verify` `{"code","redirect_uri","platform"?}` → 200 with the user and a token.
pub async fn verify_github(
    state: State,
    request: HttpRequest,
    holder: KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let mut members = Members::read(&body, &["code", "redirect_uri", "platform"])?;
    let proof = AppProof::Code { code: members.text("code")?, redirect: members.text("redirect_uri")? };
    let signed_in = users(&state).sign_in_by_app(&principal, "github", proof, seen(&request)).await;
    answer(&principal, &signed_in.map_err(without_provider)?)
}

/// Says which providers there may be, if the project has not the one that a library asks for.
pub(super) fn without_provider(err: ServiceError) -> ApiError {
    match err {
        ServiceError::UnknownProvider(_) => {
            let message = "this project has no sign-in with this provider; a server adds Google or GitHub with PATCH /settings, in `oauth`";
            ApiError::new(ErrorCode::NotFound, message)
        }
        err => err.into(),
    }
}

/// Returns the use cases of users, with tokens that last as the libraries expect.
pub(super) fn users(state: &State) -> Users {
    state.users.with_lifetimes(LIFETIMES)
}

/// Returns the holder of the request's key. The token of a user is not looked at: the libraries also send one that has expired
/// or whose session has ended, and nobody could sign in again.
pub(super) fn key_holder(KeyHolder(holder): KeyHolder) -> Result<Arc<Principal>, ApiError> {
    holder.ok_or_else(|| ApiError::unauthorized().with_hint(NO_CREDENTIAL))
}

/// Answers 400 instead of 409 for an address that is taken, as the vendor's server does.
pub(super) fn taken(err: ServiceError) -> ApiError {
    let is_taken = |err: &WriteError| match err {
        WriteError::AtOperation { cause, .. } => matches!(**cause, WriteError::EmailTaken),
        err => matches!(err, WriteError::EmailTaken),
    };
    match err {
        ServiceError::Write(err) if is_taken(&err) => {
            refuse("another user has this e-mail address".to_owned())
        }
        err => err.into(),
    }
}
