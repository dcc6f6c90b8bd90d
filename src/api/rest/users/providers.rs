//! Sign-ins with other providers, and one's own identities there.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Path};
use serde_json::json;

use super::{
    body::{Members, seen},
    welcome::answer_sign_in,
};
use crate::{
    api::{
        error::ApiError,
        request::{
            Body, Parameters, Visitor, caller::authenticate, credential::credentials,
            parameters::missing_parameter, unknown::refuse_unknown,
        },
        rest::{shown::DocumentBody, success::Success},
        state::State,
    },
    auth::{Credentials, KeyKind},
    domain::{Identity, USERS},
    service::identities::{Finished, ProviderAnswer, ShownProvider},
};

/// The hint for the beginning of a sign-in without a key.
const NO_KEY: &str = "the request has no key: a browser that is sent here has it in the URL as `token=pk_…`, and a request of a script in the header `Authorization: Bearer <key>`";

/// `GET /users/oauth` → 200 with the providers of the project: `[{"id","name"}]`.
pub async fn list(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let providers = state.users.list_providers(&principal).await?;
    let body = |ShownProvider { id, name }| json!({ "id": id, "name": name });
    Ok(HttpResponse::Ok().json(Success::new(providers.into_iter().map(body).collect::<Vec<_>>())))
}

/// `GET /users/oauth/{provider}/start?redirectTo=&codeChallenge=` → 302 to the provider; with `Accept: application/json` 200 with
/// `{"url"}`. A browser that goes there sends no header, so a publishable key may stand in the URL: `token=pk_…`.
///
/// With a user's token in a header, the sign-in links the provider's account to the user.
pub async fn start(
    state: State,
    request: HttpRequest,
    provider: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &["redirectTo", "codeChallenge", "token"])?;
    let mut given = credentials(request.headers())?;
    if let Some(key) = parameters.single("token")? {
        if KeyKind::of_key(key) != Some(KeyKind::Publishable) || given != Credentials::default() {
            let hint = "`token` takes a publishable key (`pk_…`), and only where no header has a credential";
            return Err(ApiError::unauthorized().with_hint(hint));
        }
        given.key = Some(key);
    }
    if given == Credentials::default() {
        return Err(ApiError::unauthorized().with_hint(NO_KEY));
    }
    let principal = authenticate(&request, given).await?;
    let redirect = parameters.single("redirectTo")?.ok_or_else(|| missing_parameter("redirectTo"))?;
    let challenge = parameters.single("codeChallenge")?.map(str::to_owned);
    let url = state.users.begin_at_provider(&principal, &provider, redirect, challenge).await?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/json")) {
        let body = Success::new(json!({ "url": url.as_str() }));
        return Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(body));
    }
    Ok(HttpResponse::Found()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::LOCATION, url.as_str()))
        .finish())
}

/// `POST /users/oauth/{provider}` `{"code","state","codeVerifier"?,"iss"?}` → 200 as a sign-in. If the sign-in began for a user who is
/// signed in, 200 with the user and the identities.
pub async fn finish(
    state: State,
    request: HttpRequest,
    Visitor(principal): Visitor,
    provider: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let mut members = Members::read(&body, &["code", "state", "codeVerifier", "iss"])?;
    let answer = ProviderAnswer {
        code: members.text("code")?,
        state: members.text("state")?,
        verifier: members.optional_text("codeVerifier")?,
        issuer: members.optional_text("iss")?,
    };
    match state.users.finish_at_provider(&principal, &provider, answer, seen(&request)).await? {
        Finished::SignedIn(sign_in) => Ok(answer_sign_in(&sign_in)),
        Finished::Linked(user) => {
            let identities = state.users.identities(&principal).await?;
            let identities: Vec<_> = identities.iter().map(identity_body).collect();
            let body = json!({ "user": DocumentBody::new(USERS, &user), "identities": identities });
            Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(body)))
        }
    }
}

/// `GET /users/me/identities` → 200 with the identities of the user who asks, the oldest first.
pub async fn identities(state: State, Visitor(principal): Visitor) -> Result<HttpResponse, ApiError> {
    let identities = state.users.identities(&principal).await?;
    let bodies: Vec<_> = identities.iter().map(identity_body).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Success::new(bodies)))
}

/// `DELETE /users/me/identities/{provider}` → 200; the user signs in with this provider no more.
pub async fn unlink(
    state: State,
    Visitor(principal): Visitor,
    provider: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    Members::read_optional(&body, &[])?;
    state.users.unlink(&principal, &provider).await?;
    Ok(HttpResponse::Ok().json(Success::new(json!({ "provider": provider.as_str() }))))
}

fn identity_body(identity: &Identity) -> serde_json::Value {
    json!({
        "provider": &*identity.provider,
        "issuer": &*identity.key.issuer,
        "subject": &*identity.key.subject,
        "email": identity.email.as_ref().map(|email| email.as_str()),
        "createdAt": identity.created_at.to_string(),
    })
}
