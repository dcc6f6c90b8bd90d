//! One's own account.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use super::{
    body::{Members, refuse},
    welcome::user,
};
use crate::{
    api::{
        error::ApiError,
        request::{Body, Caller},
        rest::success::Success,
        state::State,
    },
    domain::{Data, Patch},
    service::own_account::ProfileChange,
};

/// `GET /users/me` → 200 with the document of the user who asks.
pub async fn get(state: State, Caller(principal): Caller) -> Result<HttpResponse, ApiError> {
    Ok(user(&state.users.me(&principal).await?))
}

/// `PATCH /users/me` `{"profile"?}` → 200 with the document. The members are merged into the profile. Operators may stand in the
/// profile, or beside it with paths that begin with `profile`.
pub async fn change(state: State, Caller(principal): Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["profile", "$inc", "$append", "$remove", "$unset"])?;
    let profile = members.object("profile")?;
    let operators = members.into_data()?;
    if profile.is_none() && operators.fields().is_empty() {
        return Err(refuse(
            "the body must have `profile`, such as {\"profile\":{\"name\":\"Ada\"}}".to_owned(),
        ));
    }
    let profile = match profile {
        Some(fields) => Some(Patch::from_data(Data::from_value(Value::Object(fields))?)?),
        None => None,
    };
    let operators = match operators.fields().is_empty() {
        true => None,
        false => Some(Patch::from_data(operators)?),
    };
    Ok(user(&*state.users.change_profile(&principal, ProfileChange { profile, operators }).await?))
}

/// `DELETE /users/me` `{"password"?}` → 200; deletes the account. Without the password, the sign-in must be younger than 10
/// minutes.
pub async fn delete(state: State, Caller(principal): Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let password = Members::read_optional(&body, &["password"])?.optional_text("password")?;
    state.users.delete_me(&principal, password).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}

/// `POST /users/me/password` `{"current"?,"new"}` → 200; the user's other sessions end. Who has no password leaves `current` out,
/// and must have signed in within the last 10 minutes.
pub async fn change_password(
    state: State,
    Caller(principal): Caller,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["current", "new"])?;
    let (current, new) = (members.optional_text("current")?, members.text("new")?);
    state.users.change_password(&principal, current, new).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}

/// `POST /users/me/upgrade` `{"email","password"}` → 200 with the document; an anonymous user gets an address and a password.
pub async fn upgrade(state: State, Caller(principal): Caller, body: Body) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "password"])?;
    let (email, password) = (members.email()?, members.text("password")?);
    Ok(user(&*state.users.upgrade(&principal, email, password).await?))
}
