//! The shard of the worker thread that a request is on.

use std::{net::IpAddr, rc::Rc};

use actix_web::{HttpRequest, web};

use super::state::Realtime;
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{client::client_address, origin::origin_of},
        sockets::SocketHandle,
        state::State,
    },
    hub::Shard,
};

/// This worker thread's shard of the hub.
pub struct LocalShard(pub Rc<Shard>);

/// The parts of the server that a stream needs.
pub struct Parts {
    /// The state that all streams share.
    pub realtime: web::Data<Realtime>,
    /// The hub's part on this thread.
    pub shard: Rc<Shard>,
    /// The TCP connection of the request.
    pub socket: SocketHandle,
    /// The origin of the page that asks, if the request names one.
    pub origin: Option<Rc<str>>,
    /// The address from which the request comes.
    pub address: Option<IpAddr>,
}

/// Returns the parts of the server that a stream needs.
///
/// # Errors
/// `OVERLOADED` if they are missing, which would be a bug of `app`.
pub fn parts(request: &HttpRequest) -> Result<Parts, ApiError> {
    let found = request
        .app_data::<State>()
        .zip(request.app_data::<LocalShard>())
        .zip(request.conn_data::<SocketHandle>());
    // `app` registers all of them before any route.
    let ((state, shard), socket) =
        found.ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "streams are not available"))?;
    let origin = origin_of(request).map(Rc::from);
    Ok(Parts {
        realtime: state.realtime.clone(),
        shard: shard.0.clone(),
        socket: socket.clone(),
        origin,
        address: client_address(request),
    })
}
