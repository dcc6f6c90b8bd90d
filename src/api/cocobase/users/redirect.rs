//! The sign-in with Google that leads through this server, and ends on a page with the token in its URL.

use actix_web::{HttpRequest, HttpResponse, http::header};
use serde_json::json;
use url::Url;

use super::sign_in::{key_holder, users, without_provider};
use crate::{
    api::{
        error::ApiError,
        request::{Parameters, caller::KeyHolder, parameters::invalid_parameter},
        rest::users::body::seen,
        state::State,
    },
    auth::AuthError,
    domain::provider::page_origin,
    providers::{ProviderError, error::StateError, state::Home},
    service::{
        ServiceError,
        identities::{Finished, ProviderAnswer},
        users::SignIn,
    },
};

const GOOGLE: &str = "google";
/// The path to which Google sends the browser.
pub const CALLBACK: &str = "/auth-collections/google-callback";
/// The parameters that the libraries read.
const TOKEN: &str = "coco-super-token";
const ERROR: &str = "coco-error";

/// `GET /auth-collections/login-google` → 200 with `{"url"}`, where the page sends the browser. The sign-in ends on the page that asks.
pub async fn begin(state: State, request: HttpRequest, holder: KeyHolder) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let page =
        [header::REFERER, header::ORIGIN].into_iter().filter_map(text).find(|url| page_origin(url).is_some());
    let callback = {
        let connection = request.connection_info();
        format!("{}://{}{CALLBACK}", connection.scheme(), connection.host())
    };
    let begun = state.users.begin_for_page(&principal, (GOOGLE, &callback), page.unwrap_or_default()).await;
    let url = begun.map_err(|err| match err {
        ServiceError::Redirect => invalid_parameter(
            "the page that asks must name itself in the header `Referer` or `Origin`, and its origin must be in the `redirects` of the project's settings",
        ),
        err => without_provider(err),
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "url": url.as_str() })))
}

/// `GET /auth-collections/google-callback` → 302 to the page, with `coco-super-token=` or `coco-error=` in its query.
pub async fn finish(
    state: State,
    request: HttpRequest,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let text =
        |name: &str| -> Result<Option<String>, ApiError> { Ok(parameters.single(name)?.map(str::to_owned)) };
    let signed = text("state")?.unwrap_or_default();
    let begun = state.users.providers.states.read_any(&signed).map_err(unknown)?;
    let Some(Home { page, key }) = begun.home else {
        return Err(unknown(StateError::Unknown));
    };
    let seen = seen(&request);
    let principal = state.authenticator.keys.find(&key).await?.seen_from(seen.clone());
    if principal.project != begun.project {
        return Err(AuthError::OtherProject.into());
    }
    let outcome = match text("code")? {
        Some(code) => {
            let answer = ProviderAnswer { code, state: signed, verifier: None, issuer: text("iss")? };
            users(&state).finish_at_provider(&principal, GOOGLE, answer, seen).await
        }
        None => {
            let error = text("error")?.unwrap_or_else(|| "the provider sent no code".to_owned());
            return lead_to(&page, ERROR, &error);
        }
    };
    match outcome {
        Ok(Finished::SignedIn(SignIn::Done(welcome))) => lead_to(&page, TOKEN, &welcome.access_token),
        Ok(Finished::SignedIn(SignIn::SecondFactor(..))) => {
            lead_to(&page, ERROR, "this user has a second factor, for which the client libraries can't ask")
        }
        Ok(Finished::Linked(_)) => lead_to(&page, ERROR, "the sign-in began for a user who is signed in"),
        Err(err) => lead_to(&page, ERROR, &ApiError::from(err).message),
    }
}

fn unknown(err: StateError) -> ApiError {
    ServiceError::Provider(ProviderError::State(err)).into()
}

fn lead_to(page: &str, name: &str, value: &str) -> Result<HttpResponse, ApiError> {
    let mut url = Url::parse(page).map_err(|_| ServiceError::Redirect)?;
    // Without what an earlier sign-in has left there.
    let others: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(name, _)| name != TOKEN && name != ERROR).collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
    Ok(HttpResponse::Found()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::LOCATION, url.as_str()))
        .finish())
}
