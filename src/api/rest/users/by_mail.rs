//! Users get a new password, verify or change an address, and sign in by a code, all by mail.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::{
    body::{Members, not_signed_in, refuse, seen},
    welcome::answer_sign_in,
};
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor},
        rest::success::Success,
        state::State,
    },
    service::codes::MailProof,
};

/// `POST /users/password/forgot` `{"email"}` → 200, whether or not a user has the address.
pub async fn forgot_password(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let email = Members::read(&body, &["email"])?.email()?;
    state.users.forgot_password(&principal, email).await?;
    Ok(done())
}

/// `POST /users/password/reset` `{"token","password"}` → 200; all sessions of the user end.
pub async fn reset_password(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["token", "password"])?;
    let (token, password) = (members.text("token")?, members.text("password")?);
    state.users.reset_password(&principal, &token, password).await?;
    Ok(done())
}

/// `POST /users/email/verify/send` → 200; sends the user who asks a link.
pub async fn send_verification(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    state.users.send_verification(&principal).await?;
    Ok(done())
}

/// `POST /users/email/verify` `{"token"}` → 200; the address that the link was sent to is verified, and becomes the user's if they
/// asked for that.
pub async fn verify_email(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let token = Members::read(&body, &["token"])?.text("token")?;
    state.users.verify_email(&principal, &token).await?;
    Ok(done())
}

/// `POST /users/me/email` `{"email","password"?}` → 200; sends a link to the new address. Who has no password leaves it out, and
/// must have signed in within the last 10 minutes.
pub async fn change_email(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "password"])?;
    let (email, password) = (members.email()?, members.optional_text("password")?);
    state.users.change_email(&principal, email, password).await?;
    Ok(done())
}

/// `POST /users/login/code` `{"email"}` → 200, whether or not a user has the address.
pub async fn send_sign_in_code(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let email = Members::read(&body, &["email"])?.email()?;
    state.users.send_sign_in_code(&principal, email).await?;
    Ok(done())
}

/// `POST /users/login/code/verify` `{"email","code"}` or `{"token"}` → 200 as a sign-in; 401 if the code is wrong.
pub async fn sign_in(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "code", "token"])?;
    let proof = match (members.optional_text("token")?, members.optional_text("code")?) {
        (Some(token), None) => MailProof::Link { token },
        (None, Some(code)) => {
            MailProof::Digits { email: members.email()?, digits: code.split_whitespace().collect() }
        }
        _ => {
            return Err(refuse(
                "the body must have `email` and `code` from the mail, or `token` from its link".to_owned(),
            ));
        }
    };
    let signed_in = state.users.sign_in_by_code(&principal, proof, seen(&request)).await;
    Ok(answer_sign_in(&signed_in.map_err(not_signed_in)?))
}

fn done() -> HttpResponse {
    HttpResponse::Ok().json(Success::new(json!({})))
}
