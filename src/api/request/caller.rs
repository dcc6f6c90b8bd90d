//! The principal that makes a request.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::{
    client::{seen, told_address},
    credential::{NO_CREDENTIAL, credentials, hint_about_key},
    origin::origin_of,
    params::params_of,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        sockets::SocketHandle,
        state::{ServerState, State},
        traffic::count,
    },
    auth::{Credentials, KeyKind, Principal, foreign::is_user_token},
    shares::Account,
};

/// The holder of the key in `Authorization: Bearer` or `x-api-key`. A handler that takes one answers 401 to everybody else.
pub struct Caller(pub Arc<Principal>);

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let credentials = credentials(request.headers())?;
            if credentials == Credentials::default() {
                return Err(ApiError::unauthorized().with_hint(no_credential(&request)));
            }
            authenticate(&request, credentials).await.map(Self)
        })
    }
}

/// The same as [`Caller`], with the device from which the request comes: for requests about users, whose limits and audit entries
/// name it.
pub struct Visitor(pub Arc<Principal>);

impl FromRequest for Visitor {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (told, seen) = (told_address(request), seen(request));
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let Caller(principal) = caller.await?;
            told?;
            Ok(Self(principal.seen_from(seen)))
        })
    }
}

/// The holder of the request's key, if it has one, with the device from which the request comes. A user's token is not looked at: it may have expired.
pub struct KeyHolder(pub Option<Arc<Principal>>);

impl FromRequest for KeyHolder {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            match credentials(request.headers())? {
                Credentials { key: None, .. } => told_address(&request).map(|_| Self(None)),
                key => {
                    let key = Credentials { user: None, ..key };
                    let holder = authenticate(&request, key).await?;
                    told_address(&request)?;
                    Ok(Self(Some(holder.seen_from(seen(&request)))))
                }
            }
        })
    }
}

/// Returns who has these credentials, on whose account the connection counts from now on.
pub async fn authenticate(
    request: &HttpRequest,
    credentials: Credentials<'_>,
) -> Result<Arc<Principal>, ApiError> {
    let hint = credentials.key.and_then(hint_about_key).or(credentials.user.and_then(hint_about_token));
    if let Some(hint) = hint {
        return Err(ApiError::unauthorized().with_hint(hint));
    }
    // `app` registers the state before any route.
    let state = request.app_data::<State>().ok_or_else(ApiError::unauthorized)?;
    let principal = state.authenticator.authenticate(credentials).await?;
    if let Some(origin) = origin_of(request) {
        principal.check_origin(origin)?;
    }
    if let Some(socket) = request.conn_data::<SocketHandle>()
        && !socket.authenticate(&principal.account())
    {
        return Err(ApiError::new(
            ErrorCode::Overloaded,
            "this key has too many connections; close some, or try again",
        ));
    }
    count(request, state, &principal)?;
    Ok(match params_of(request.headers())? {
        Some(params) => principal.with_params(params),
        None => principal,
    })
}

/// Returns what a request without a credential is told. Many put the key into the URL.
fn no_credential(request: &HttpRequest) -> String {
    let query = request.query_string();
    let is_key = |pair: &str| pair.split_once('=').is_some_and(|(_, value)| KeyKind::of_key(value).is_some());
    match query.split('&').any(is_key) {
        true => format!("a key in the URL is taken by streams only (`?token=pk_…`); {NO_CREDENTIAL}"),
        false => NO_CREDENTIAL.to_owned(),
    }
}

/// Returns what is wrong with a token that can't be a user's.
fn hint_about_token(token: &str) -> Option<&'static str> {
    let hint = "this is a stream ticket, which opens streams only, or a token of another server; send a key (`pk_…` or `sk_…`), or the access token of a user";
    (!is_user_token(token)).then_some(hint)
}

/// Returns the account of a request whose caller was authenticated, or else the anonymous one. The database is not asked.
pub fn account_of(state: &ServerState, request: &HttpRequest) -> Account {
    let found = credentials(request.headers()).ok();
    let account = found.and_then(|credentials| state.authenticator.find_account(credentials));
    account.unwrap_or_else(Account::anonymous)
}
