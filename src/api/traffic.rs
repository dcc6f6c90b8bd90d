//! Counts requests for the [limits of traffic](crate::auth::traffic), and tells callers what they have left.
//!
//! A request counts where its principal is found, so that no handler has to think of it. The middleware then writes the headers.

use actix_web::{
    Error, HttpMessage as _, HttpRequest,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};

use super::{
    error::ApiError,
    request::client::{client_address, seen},
    state::State,
};
use crate::auth::{
    Principal,
    buckets::Standing,
    limits::Class,
    traffic::{Taken, Traffic},
};

/// The operations of a batch or a transaction that count as one write.
const OPERATIONS_OF_A_WRITE: usize = 10;

/// How a request was counted.
#[derive(Clone)]
enum Counted {
    /// By its traffic; `None` if nothing limits it.
    Traffic(Option<Taken>),
    /// By a service, as a try that has limits of its own.
    Try(Class, Box<Principal>),
}

/// The kind of a request.
enum Kind {
    Traffic(Traffic),
    Try(Class),
}

/// Counts a request, once for however many extractors look for its principal.
///
/// # Errors
/// `RATE_LIMITED`.
pub fn count(request: &HttpRequest, state: &State, principal: &Principal) -> Result<(), ApiError> {
    if request.extensions().contains::<Counted>() {
        return Ok(());
    }
    let counted = match kind_of(request.method(), request.path()) {
        Kind::Try(class) => Counted::Try(class, Box::new(principal.clone())),
        Kind::Traffic(traffic) => {
            Counted::Traffic(state.rates.take(traffic, principal, || client_address(request))?)
        }
    };
    request.extensions_mut().insert(counted);
    Ok(())
}

/// Counts the operations of a request that writes several documents.
pub fn count_operations(request: &HttpRequest, state: &State, operations: usize) {
    let further = operations.saturating_sub(1) / OPERATIONS_OF_A_WRITE;
    if further > 0
        && let Some(Counted::Traffic(Some(taken))) = request.extensions().get::<Counted>()
    {
        state.rates.charge(*taken, u32::try_from(further).unwrap_or(u32::MAX));
    }
}

/// Notes that the stream of a request was counted.
pub fn note_stream(request: &HttpRequest, taken: Option<Taken>) {
    request.extensions_mut().insert(Counted::Traffic(taken));
}

/// Middleware: says what the caller has left, unless the answer says so already.
///
/// # Errors
/// The handler's own.
pub async fn tell_what_is_left(
    state: State,
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?;
    if response.headers().contains_key(LIMIT) {
        return Ok(response);
    }
    let counted = response.request().extensions().get::<Counted>().cloned();
    let standing = match counted {
        None | Some(Counted::Traffic(None)) => None,
        Some(Counted::Traffic(Some(taken))) => Some(state.rates.standing(taken)),
        Some(Counted::Try(class, principal)) => {
            state.users.limits.standing(class, &principal.seen_from(seen(response.request())))
        }
    };
    if let Some(standing) = standing {
        insert(response.headers_mut(), standing);
    }
    Ok(response)
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

fn insert(headers: &mut HeaderMap, Standing { limit, remaining, reset }: Standing) {
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(reset.as_secs()));
}

/// Returns the kind of a request. Paths are compared as they are sent: one that is encoded in another way counts as a write.
fn kind_of(method: &Method, path: &str) -> Kind {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Kind::Traffic(Traffic::Reads);
    }
    if *method != Method::POST {
        return Kind::Traffic(Traffic::Writes);
    }
    if let Some(class) = class_of(path) {
        return Kind::Try(class);
    }
    // These are no writes although they have a body.
    let is_read = path == "/realtime/tickets"
        || path
            .strip_prefix("/collections/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, verb)| matches!(verb, "query" | "explain"));
    Kind::Traffic(if is_read { Traffic::Reads } else { Traffic::Writes })
}

/// Returns the class of a `POST` that the services limit by address.
fn class_of(path: &str) -> Option<Class> {
    let rest = path.strip_prefix("/users").or_else(|| path.strip_prefix("/auth-collections"))?;
    match rest {
        "/login" | "/login/mfa" | "/login/code/verify" | "/password/reset" | "/2fa/verify"
        | "/google-verify" | "/github-verify" | "/reset-password" => Some(Class::SignIn),
        "" | "/anonymous" | "/me/upgrade" | "/signup" => Some(Class::SignUp),
        "/login/code"
        | "/password/forgot"
        | "/email/verify/send"
        | "/forgot-password"
        | "/2fa/send-code"
        | "/verify-email/send"
        | "/verify-email/resend" => Some(Class::Mail),
        "/refresh" => Some(Class::Refresh),
        _ => rest.strip_prefix("/oauth/").filter(|provider| !provider.contains('/')).map(|_| Class::SignIn),
    }
}
