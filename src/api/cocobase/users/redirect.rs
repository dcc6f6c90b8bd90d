//! The sign-in with Google that leads through this server, and ends on a page with the token in its URL.
//!
//! The browser comes by before it goes to Google, and gets a text in a cookie, which it must have when it comes back. Otherwise
//! somebody could sign a visitor in to an account that is not theirs, by a link with the answer that Google gave somebody else.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, CookieBuilder, SameSite, time::Duration},
    http::header,
};
use serde_json::json;
use url::Url;

use super::sign_in::{key_holder, users, without_provider};
use crate::{
    api::{
        error::ApiError,
        request::{
            Parameters,
            caller::KeyHolder,
            client::{Reached, reached},
            parameters::invalid_parameter,
        },
        rest::users::body::seen,
        state::State,
    },
    auth::{AuthError, codes::Secret},
    domain::provider::page_origin,
    providers::{
        self, ProviderError,
        error::StateError,
        state::{Home, challenge_of},
    },
    service::{
        ServiceError,
        identities::{Finished, ProviderAnswer},
        users::SignIn,
    },
};

const GOOGLE: &str = "google";
/// The path to which the page sends the browser, which goes on to Google.
pub const START: &str = "/auth-collections/google-start";
/// The path to which Google sends the browser.
pub const CALLBACK: &str = "/auth-collections/google-callback";
/// The beginning of the name of the cookie. The id of the sign-in's state follows.
const COOKIE: &str = "coir-sign-in-";
/// For how long the cookie is kept, in seconds. No state is good for longer.
const COOKIE_AGE: i64 = 600;
/// The parameters that the libraries read.
const TOKEN: &str = "coco-super-token";
const ERROR: &str = "coco-error";

/// `GET /auth-collections/login-google` → 200 with `{"url"}`, where the page sends the browser. The sign-in ends on the page that asks.
pub async fn begin(state: State, request: HttpRequest, holder: KeyHolder) -> Result<HttpResponse, ApiError> {
    let principal = key_holder(holder)?;
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let page =
        [header::REFERER, header::ORIGIN].into_iter().filter_map(text).find(|url| page_origin(url).is_some());
    let Reached { scheme, host } = reached(&request);
    let callback = format!("{scheme}://{host}{CALLBACK}");
    let begun = state.users.begin_for_page(&principal, (GOOGLE, &callback), page.unwrap_or_default()).await;
    let state = begun.map_err(|err| match err {
        ServiceError::Redirect => invalid_parameter(
            "the page that asks must name itself in the header `Referer` or `Origin`, and its origin must be in the `redirects` of the project's settings",
        ),
        err => without_provider(err),
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "url": format!("{scheme}://{host}{START}?state={state}") })))
}

/// `GET /auth-collections/google-start?state=` → 302 to Google, with a cookie by which the browser is known when it comes back.
pub async fn start(
    state: State,
    request: HttpRequest,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let begun = state.users.providers.states.read_any(parameters.single("state")?.unwrap_or_default());
    let begun = begun.map_err(unknown)?;
    let (Some(home), None) = (&begun.home, &begun.challenge) else {
        return Err(unknown(StateError::Unknown));
    };
    let principal = state.authenticator.keys.find(&home.key).await?;
    if principal.project != begun.project {
        return Err(AuthError::OtherProject.into());
    }
    let Secret { text, .. } = Secret::token().map_err(ServiceError::Token)?;
    let sent = state.users.send_to_provider(&principal, begun, challenge_of(&text)).await;
    let (url, sent) = sent.map_err(without_provider)?;
    let is_secure = reached(&request).scheme == "https";
    let cookie = cookie_of(&sent, text, is_secure).max_age(Duration::seconds(COOKIE_AGE)).finish();
    Ok(HttpResponse::Found()
        .cookie(cookie)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::LOCATION, url.as_str()))
        .finish())
}

/// No script of a page reads it, and it comes back when Google sends the browser, which is another site.
fn cookie_of(state: &providers::state::State, text: String, is_secure: bool) -> CookieBuilder<'static> {
    Cookie::build(format!("{COOKIE}{}", state.id), text)
        .path(CALLBACK)
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_secure)
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
    let (Some(Home { page, key }), Some(_)) = (&begun.home, &begun.challenge) else {
        return Err(unknown(StateError::Unknown));
    };
    let seen = seen(&request);
    let principal = state.authenticator.keys.find(key).await?.seen_from(seen.clone());
    if principal.project != begun.project {
        return Err(AuthError::OtherProject.into());
    }
    let outcome = match text("code")? {
        Some(code) => {
            let name = format!("{COOKIE}{}", begun.id);
            let Some(cookie) = request.cookie(&name) else {
                return lead_to(page, ERROR, &StateError::OtherBrowser.to_string());
            };
            let verifier = Some(cookie.value().to_owned());
            let answer = ProviderAnswer { code, state: signed, verifier, issuer: text("iss")? };
            users(&state).finish_at_provider(&principal, GOOGLE, answer, seen).await
        }
        None => {
            let error = text("error")?.unwrap_or_else(|| "the provider sent no code".to_owned());
            return lead_to(page, ERROR, &error);
        }
    };
    let mut response = match outcome {
        Ok(Finished::SignedIn(SignIn::Done(welcome))) => lead_to(page, TOKEN, &welcome.access_token),
        Ok(Finished::SignedIn(SignIn::SecondFactor(..))) => {
            lead_to(page, ERROR, "this user has a second factor, for which the client libraries can't ask")
        }
        Ok(Finished::Linked(_)) => lead_to(page, ERROR, "the sign-in began for a user who is signed in"),
        Err(err) => lead_to(page, ERROR, &ApiError::from(err).message),
    }?;
    // It is good for nothing any more.
    let spent = cookie_of(&begun, String::new(), reached(&request).scheme == "https").finish();
    // What is wrong with a cookie that only says that it is gone does not matter.
    let _ = response.add_removal_cookie(&spent);
    Ok(response)
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
