//! The answers to a sign-in.

use actix_web::{HttpResponse, HttpResponseBuilder, http::header};
use serde::Serialize;
use serde_json::json;

use crate::{
    api::rest::{
        shown::DocumentBody,
        success::{AccountBody, Success},
    },
    domain::{Document, SecondFactor, USERS},
    service::{
        own_account::WaysIn,
        users::{SignIn, Welcome},
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WelcomeBody<'a> {
    user: DocumentBody<'a>,
    access_token: &'a str,
    refresh_token: &'a str,
    expires_at: String,
}

/// Answers with a user and the tokens of the session.
pub(super) fn answer(mut response: HttpResponseBuilder, welcome: &Welcome) -> HttpResponse {
    let body = WelcomeBody {
        user: DocumentBody::new(USERS, &welcome.user),
        access_token: &welcome.access_token,
        refresh_token: &welcome.refresh_token,
        expires_at: welcome.expires_at.to_string(),
    };
    response.insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body))
}

/// Answers with a user and the tokens of the session, or asks for the second factor.
pub(super) fn answer_sign_in(sign_in: &SignIn) -> HttpResponse {
    match sign_in {
        SignIn::Done(welcome) => answer(HttpResponse::Ok(), welcome),
        SignIn::SecondFactor(factor, ticket) => {
            let method = match factor {
                SecondFactor::App => "totp",
                SecondFactor::Mail => "email",
            };
            let body = json!({ "mfa": { "ticket": ticket, "methods": [method] } });
            HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body))
        }
    }
}

/// Answers with a user's document, its entity tag, and how the user can sign in.
pub(super) fn user_with_account(document: &Document, ways: WaysIn) -> HttpResponse {
    let WaysIn { password, totp, anonymous } = ways;
    let account = AccountBody { password, totp, anonymous };
    HttpResponse::Ok()
        .insert_header((header::ETAG, document.entity_tag()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Success::with_account(DocumentBody::new(USERS, document), account))
}

/// Answers with a user's document and its entity tag.
pub(super) fn user(document: &Document) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, document.entity_tag()))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(Success::new(DocumentBody::new(USERS, document)))
}
