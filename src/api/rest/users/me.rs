//! One's own account.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{
    body::{Members, about_passwords, refuse},
    welcome::{user, user_with_account},
};
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor, idempotency::request_key, precondition::precondition},
        rest::{documents, success::Success},
        state::State,
    },
    domain::{Data, Patch},
    service::own_account::ProfileChange,
};

/// `GET /users/me` → 200 with the document of the user who asks, and beside `data` how they can sign in:
/// `"account":{"password","totp","anonymous"}`. It is never 304: the entity tag is that of the document, which doesn't change with
/// the account.
pub async fn get(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let me = state.users.me(&principal).await?;
    let ways = state.users.ways_in(&principal).await?;
    Ok(user_with_account(&me, ways))
}

/// `PATCH /users/me` `{"profile"?}` → 200 with the document. The members are merged into the profile. Operators may stand in the
/// profile, or beside it with paths that begin with `profile`.
pub async fn change(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
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
    let change = ProfileChange { profile, operators };
    let (precondition, key) = (precondition(&request)?, request_key(&request, &body.bytes)?);
    let committed = state.users.change_profile(&principal, change, precondition, key).await?;
    Ok(documents::written(&state, &request, &principal, committed))
}

/// `DELETE /users/me` `{"password"?}` → 200; deletes the account. Without the password, the sign-in must be younger than 10
/// minutes.
pub async fn delete(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let password = Members::read_optional(&body, &["password"])?.optional_text("password")?;
    state.users.delete_me(&principal, password, precondition(&request)?).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}

/// `POST /users/me/password` `{"current"?,"new"}` → 200; the user's other sessions end. Who has no password leaves `current` out,
/// and must have signed in within the last 10 minutes.
pub async fn change_password(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["current", "new"])?;
    let (current, new) = (members.optional_text("current")?, members.text("new")?);
    let changed = state.users.change_password(&principal, current, new).await;
    changed.map_err(|err| about_passwords(err, "current", "new"))?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}

/// `POST /users/me/upgrade` `{"email","password"}` → 200 with the document; an anonymous user gets an address and a password.
pub async fn upgrade(
    state: State,
    Visitor(principal): Visitor,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "password"])?;
    let (email, password) = (members.email()?, members.text("password")?);
    Ok(user(&*state.users.upgrade(&principal, email, password).await?))
}
