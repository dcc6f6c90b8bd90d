//! Invitations, for servers.

use actix_web::{HttpResponse, http::header, web::Path};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::body::Members;
use crate::{
    api::{
        error::ApiError,
        request::{Body, Visitor},
        rest::success::Success,
        state::State,
    },
    domain::{Invitation, UserData},
    writer::WriteError,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvitationBody<'a> {
    id: &'a str,
    email: &'a str,
    roles: &'a [String],
    profile: &'a Map<String, Value>,
    created_at: String,
    expires_at: String,
}

impl<'a> InvitationBody<'a> {
    fn new(invitation: &'a Invitation) -> Self {
        Self {
            id: &invitation.id,
            email: invitation.email.as_str(),
            roles: &invitation.user.roles,
            profile: &invitation.user.profile,
            created_at: invitation.created_at.to_string(),
            expires_at: invitation.expires_at.to_string(),
        }
    }
}

/// `POST /users/invitations` `{"email","roles"?,"profile"?}` with a secret key → 201 with the invitation; a mail has the link. 409 if a
/// user has the address.
pub async fn create(state: State, Visitor(principal): Visitor, body: Body) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["email", "roles", "profile"])?;
    let email = members.email()?;
    let user = UserData::parse(&members.into_data()?).map_err(WriteError::User)?;
    let invitation = state.users.invite(&principal, email, user).await?;
    Ok(HttpResponse::Created()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Success::new(InvitationBody::new(&invitation))))
}

/// `GET /users/invitations` with a secret key → 200 with those that nobody has accepted, the newest first.
pub async fn list(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let invitations = state.users.invitations(&principal).await?;
    let bodies: Vec<_> = invitations.iter().map(InvitationBody::new).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(bodies)))
}

/// `DELETE /users/invitations/{id}` with a secret key → 200; its link is good for nothing.
pub async fn withdraw(
    state: State,
    Visitor(principal): Visitor,
    id: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    state.users.withdraw_invitation(&principal, &id).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({}))))
}
