//! Users get a new password, verify an address, and sign in by a code, all by mail.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{
    shape::done,
    sign_in::{answer, key_holder, users},
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{Body, Visitor, caller::KeyHolder},
        rest::users::body::{Members, about_passwords, refuse, seen},
        state::State,
    },
    domain::Timestamp,
    service::{ServiceError, codes::MailProof},
    writer::WriteError,
};

/// `POST /auth-collections/forgot-password` `{"email"}` → 200, whether or not a user has the address.
pub async fn forgot_password(state: State, holder: KeyHolder, body: Body) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let email = Members::read(&body, &["email"])?.email()?;
    state.users.forgot_password(&principal, email).await?;
    Ok(done("If a user has this e-mail address, a mail with a link is on its way"))
}

/// `POST /auth-collections/reset-password` `{"token","new_password"}` → 200; all sessions of the user end.
pub async fn reset_password(state: State, holder: KeyHolder, body: Body) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let mut members = Members::read(&body, &["token", "new_password"])?;
    let (token, password) = (members.text("token")?, members.text("new_password")?);
    let reset = state.users.reset_password(&principal, &token, password).await;
    reset.map_err(|err| match err {
        ServiceError::Password(_) => about_passwords(err, "token", "new_password"),
        err => wrong_code(err),
    })?;
    Ok(done("Password reset successfully"))
}

/// `POST /auth-collections/verify-email/send` and `/resend` → 200; sends the user who asks a link.
pub async fn send_verification(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    state.users.send_verification(&principal).await?;
    let message = "A mail with a link is on its way, unless the address is verified already";
    Ok(HttpResponse::Ok().json(json!({ "message": message, "expires_in_hours": 24 })))
}

/// `POST /auth-collections/verify-email/verify` `{"token"}` → 200; the address that the link was sent to is verified. A user's token
/// that is not good counts as none.
pub async fn verify_email(
    state: State,
    holder: KeyHolder,
    user: Result<Visitor, ApiError>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = match user {
        Ok(Visitor(principal)) => principal,
        Err(_) => key_holder(holder)?,
    };
    let token = Members::read(&body, &["token"])?.text("token")?;
    state.users.verify_email(&principal, &token).await.map_err(wrong_code)?;
    Ok(HttpResponse::Ok().json(json!({
        "message": "Email verified successfully",
        "email_verified": true,
        "verified_at": Timestamp::now().to_string(),
    })))
}

/// `POST /auth-collections/2fa/send-code` `{"email"}` → 200, whether or not a user has the address.
pub async fn send_code(state: State, holder: KeyHolder, body: Body) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let email = Members::read(&body, &["email"])?.email()?;
    state.users.send_sign_in_code(&principal, email).await?;
    Ok(done("If a user has this e-mail address, a mail with a code is on its way"))
}

/// `POST /auth-collections/2fa/verify` `{"email","code"}` → 200 with the user and a token.
pub async fn sign_in(
    state: State,
    request: HttpRequest,
    holder: KeyHolder,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let mut members = Members::read(&body, &["email", "code"])?;
    let (email, code) = (members.email()?, members.text("code")?);
    let proof = MailProof::Digits { email, digits: code.split_whitespace().collect() };
    let signed_in = users(&state).sign_in_by_code(&principal, proof, seen(&request)).await;
    answer(&principal, &signed_in.map_err(wrong_code)?)
}

/// `POST /auth-collections/2fa/enable` → 200; from now on a sign-in takes a code by mail after the password. 400 without a verified
/// address and a password.
pub async fn enable(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let enabled = state.users.set_mail_factor(&principal, true).await;
    enabled.map_err(|err| match err {
        ServiceError::Write(err @ WriteError::SecondFactor(_)) => refuse(err.to_string()),
        err => err.into(),
    })?;
    Ok(done("Two-factor authentication is enabled"))
}

/// `POST /auth-collections/2fa/disable` → 200; the password alone signs in. The sign-in must be younger than 10 minutes.
pub async fn disable(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let disabled = state.users.set_mail_factor(&principal, false).await;
    disabled.map_err(|err| match err {
        ServiceError::RecentSignIn => ApiError::new(
            ErrorCode::Forbidden,
            "to disable it takes a sign-in within the last 10 minutes; sign in again first",
        ),
        err => err.into(),
    })?;
    Ok(done("Two-factor authentication is disabled"))
}

/// Answers 400 for a code that is good for nothing, which the libraries don't take for the end of the session.
fn wrong_code(err: ServiceError) -> ApiError {
    match err {
        ServiceError::Write(err @ WriteError::WrongCode) => refuse(err.to_string()),
        err => err.into(),
    }
}
