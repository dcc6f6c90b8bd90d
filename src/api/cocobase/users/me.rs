//! One's own account.

use actix_web::HttpResponse;
use serde_json::Value;

use super::{
    shape::{done, user},
    sign_in::taken,
};
use crate::{
    api::{
        cocobase::error::NoFiles,
        error::{ApiError, ErrorCode},
        request::{Body, Visitor},
        rest::users::body::{Members, about_passwords},
        state::State,
    },
    domain::{Data, Patch},
    service::{ServiceError, own_account::AccountChange},
};

/// `GET /auth-collections/user` → 200 with the user who asks; 401 without a token that is good.
pub async fn get(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    Ok(user(&principal, &state.users.me(&principal).await?))
}

/// `PATCH /auth-collections/user` `{"data"?,"email"?,"password"?}` → 200 with the user. The members of `data` are merged, and
/// may be operators. The libraries send no current password, so another address or password takes a recent sign-in.
pub async fn change(
    _: NoFiles,
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read_optional(&body, &["data", "email", "password", "roles"])?;
    members.refuse_roles()?;
    let profile = match members.object("data")? {
        Some(fields) => Some(Patch::from_data(Data::from_value(Value::Object(fields))?)?),
        None => None,
    };
    let change = AccountChange {
        profile,
        email: members.optional_email()?,
        password: members.optional_text("password")?,
    };
    let changed = state.users.change_account(&principal, change).await.map_err(|err| match err {
        ServiceError::RecentSignIn => ApiError::new(
            ErrorCode::Forbidden,
            "another e-mail address or password takes a sign-in within the last 10 minutes; sign in again first",
        ),
        err => taken(err),
    })?;
    Ok(user(&principal, &changed))
}

/// `POST /auth-collections/change-password` `{"old_password","new_password"}` → 200; the user's other sessions end.
pub async fn change_password(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["old_password", "new_password"])?;
    let (old, new) = (members.text("old_password")?, members.text("new_password")?);
    let changed = state.users.change_password(&principal, Some(old), new).await;
    // The token is good, so the libraries must not take the user for signed out.
    changed.map_err(|err| match err {
        ServiceError::WrongPassword => ApiError::new(ErrorCode::InvalidBody, "`old_password` is wrong"),
        err => about_passwords(err, "old_password", "new_password"),
    })?;
    Ok(done("Password changed successfully"))
}
