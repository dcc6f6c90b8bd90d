//! The principal that makes a request.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload};

use super::credential::credential;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        sockets::SocketHandle,
        state::{ServerState, State},
    },
    auth::Principal,
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
            let key = credential(request.headers())?.ok_or_else(ApiError::unauthorized)?;
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

/// Returns the account of a request whose caller was authenticated, or else the anonymous one. The database is not asked.
pub fn account_of(state: &ServerState, request: &HttpRequest) -> Account {
    let key = credential(request.headers()).ok().flatten();
    let principal = key.and_then(|key| state.keys.find_cached(key));
    principal.map_or_else(Account::anonymous, |principal| principal.account())
}
