//! A user as the client libraries read one, and the answer to a sign-in.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::header};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    auth::Principal,
    domain::{Document, ProjectId},
    service::users::Welcome,
};

/// A user. What the documented API calls `profile` is `data` here.
#[derive(Serialize)]
pub struct UserBody<'a> {
    id: &'a str,
    /// The empty text for a user without an address: the libraries' types take nothing but a text.
    email: &'a str,
    data: &'a Map<String, Value>,
    client_id: &'a str,
    /// A time with its zone, because the Go library needs one.
    created_at: String,
    /// The Flutter library can't do without it.
    updated_at: String,
    roles: &'a [Value],
    email_verified: bool,
    /// Always null: the time of the verification is not kept.
    email_verified_at: (),
}

/// The data of a user's document, read leniently: the writer has checked it.
pub struct UserFields<'a> {
    pub email: &'a str,
    pub profile: &'a Map<String, Value>,
    pub roles: &'a [Value],
    pub is_verified: bool,
}

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl<'a> UserFields<'a> {
    pub fn of(document: &'a Document) -> Self {
        let fields = document.data.fields();
        Self {
            email: fields.get("email").and_then(Value::as_str).unwrap_or_default(),
            profile: fields.get("profile").and_then(Value::as_object).unwrap_or(&NOTHING),
            roles: fields.get("roles").and_then(Value::as_array).map_or(&[][..], Vec::as_slice),
            is_verified: fields.get("emailVerified").and_then(Value::as_bool).unwrap_or_default(),
        }
    }
}

impl<'a> UserBody<'a> {
    pub fn new(document: &'a Document, project: &'a ProjectId) -> Self {
        let UserFields { email, profile, roles, is_verified } = UserFields::of(document);
        Self {
            id: document.id.as_str(),
            email,
            data: profile,
            client_id: project.as_str(),
            created_at: document.created_at.to_string(),
            updated_at: document.updated_at.to_string(),
            roles,
            email_verified: is_verified,
            email_verified_at: (),
        }
    }
}

/// Answers with a user.
pub(super) fn user(principal: &Principal, document: &Document) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(UserBody::new(document, &principal.project))
}

/// Answers a sign-up or sign-in. The libraries know no refresh token.
pub(super) fn welcome(principal: &Principal, welcome: &Welcome) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({
        "access_token": welcome.access_token,
        "token_type": "bearer",
        "user": UserBody::new(&welcome.user, &principal.project),
    }))
}

/// Answers that something was done.
pub(super) fn done(message: &str) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "message": message }))
}
