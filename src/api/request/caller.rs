//! The principal that makes a request.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::credential::{NO_CREDENTIAL, credential};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        sockets::SocketHandle,
        state::{ServerState, State},
    },
    auth::{KeyKind, Principal, Tickets},
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
            let missing = || ApiError::unauthorized().with_hint(no_credential(&request));
            let key = credential(request.headers())?.ok_or_else(missing)?;
            if let Some(hint) = hint_about(key) {
                return Err(ApiError::unauthorized().with_hint(hint));
            }
            // `app` registers the state before any route.
            let state = request.app_data::<State>().ok_or_else(ApiError::unauthorized)?;
            let principal = state.keys.authenticate(key).await?;
            if let Some(socket) = request.conn_data::<SocketHandle>()
                && !socket.authenticate(&principal.account())
            {
                return Err(ApiError::new(
                    ErrorCode::Overloaded,
                    "this key has too many connections; close some, or try again",
                ));
            }
            Ok(Self(principal))
        })
    }
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

/// Returns what is wrong with a text that can't be a key.
fn hint_about(key: &str) -> Option<&'static str> {
    if KeyKind::of_key(key).is_some() {
        None
    } else if Tickets::is_ticket(key) {
        Some("this is a stream ticket or a token, which opens streams only; send a key (`pk_…` or `sk_…`)")
    } else if key.starts_with('"') || key.starts_with('\'') || key.starts_with('<') {
        Some("write the key without quotes or brackets around it")
    } else if key.starts_with('$') || key.starts_with('{') {
        Some(
            "this is the name of a variable and not its value; in a shell, write the header between double quotes",
        )
    } else {
        Some(
            "this is not the text of a key: a key begins with `pk_` or `sk_`, and 16 to 128 letters and digits follow",
        )
    }
}

/// Returns the account of a request whose caller was authenticated, or else the anonymous one. The database is not asked.
pub fn account_of(state: &ServerState, request: &HttpRequest) -> Account {
    let key = credential(request.headers()).ok().flatten();
    let principal = key.and_then(|key| state.keys.find_cached(key));
    principal.map_or_else(Account::anonymous, |principal| principal.account())
}
