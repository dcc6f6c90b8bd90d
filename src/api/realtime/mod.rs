//! Live streams: the same connection behind WebSocket and server-sent events.
//!
//! Reading order: [`protocol`] (what is said), [`encode`] (events), [`connection`] (what happens), [`subscriptions`] (what
//! is watched), [`catch_up`], [`ws`] and [`sse`] (bytes in and out), [`guard`] (frames that must not come in).

pub mod catch_up;
pub mod connection;
pub mod encode;
pub mod guard;
pub mod protocol;
pub mod sse;
pub mod subscriptions;
pub mod ws;

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    http::header,
    web,
};
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    error::{ApiError, ErrorCode},
    extract::{Parameters, credential, key_ring},
};
use crate::{
    auth::{KeyKind, KeyRing, Principal},
    hub::{Encode, Outbox, Shard},
    service::Streams,
};

/// What every connection of this process shares. Cheap to clone.
#[derive(Clone)]
pub struct Realtime {
    /// What subscriptions are served from.
    pub feed: Feed,
    /// Who is asking.
    pub keys: KeyRing,
    /// How often an idle connection is written to.
    pub heartbeat: Duration,
    /// Live connections, and how many there may be.
    pub connections: ConnectionCount,
    /// Whose pages may open streams; `None` is everyone's.
    pub allowed_origins: Option<Arc<[String]>>,
    /// True once the server stops.
    pub stop: watch::Receiver<bool>,
}

/// What subscriptions are served from, beside the hub. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    /// The use cases.
    pub streams: Streams,
    /// How events are written.
    pub encode: Arc<dyn Encode>,
    /// Subscriptions of one WebSocket.
    pub max_subscriptions: usize,
}

/// This worker thread's shard of the hub.
pub struct LocalShard(pub Rc<Shard>);

/// Counts live connections. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionCount {
    live: Arc<AtomicUsize>,
    most: usize,
}

/// One connection's place in the count; given back when dropped.
pub struct ConnectionPermit(Arc<AtomicUsize>);

impl ConnectionCount {
    /// At most `most` at a time.
    pub fn new(most: usize) -> Self {
        Self { live: Arc::default(), most }
    }

    /// Takes a place, if there is one.
    pub fn acquire(&self) -> Option<ConnectionPermit> {
        let taken = self.live.fetch_add(1, Ordering::Relaxed);
        let permit = ConnectionPermit(self.live.clone());
        (taken < self.most).then_some(permit)
    }

    /// How many places are taken.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }
}

impl ConnectionPermit {
    /// No place, for a connection that is told so and ended.
    fn none() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that yields what the queue holds, as it is.
struct OutboxBody {
    outbox: Rc<Outbox>,
    /// The body that actix-ws made: dropped, it would end the incoming stream.
    _kept: RefCell<Option<BoxBody>>,
}

impl OutboxBody {
    fn new(outbox: Rc<Outbox>, kept: Option<BoxBody>) -> Self {
        Self { outbox, _kept: RefCell::new(kept) }
    }
}

impl MessageBody for OutboxBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.outbox.poll_frame(context).map(|frame| frame.map(Ok))
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        self.outbox.set_gone();
    }
}

/// The parts of the server that a stream needs.
fn parts(request: &HttpRequest) -> Result<(web::Data<Realtime>, Rc<Shard>), ApiError> {
    let parts = request.app_data::<web::Data<Realtime>>().zip(request.app_data::<LocalShard>());
    // `app` registers both before any route.
    let (realtime, shard) =
        parts.ok_or_else(|| ApiError::new(ErrorCode::Overloaded, "streams are not available"))?;
    Ok((realtime.clone(), shard.0.clone()))
}

/// Refuses a browser's page that is neither this server's nor on the list. There are no ambient credentials, so this is
/// all `Origin` is for.
fn check_origin(request: &HttpRequest, realtime: &Realtime) -> Result<(), ApiError> {
    let (Some(allowed), Some(origin)) = (&realtime.allowed_origins, request.headers().get(header::ORIGIN))
    else {
        return Ok(());
    };
    if allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) || is_own_page(request, origin) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Forbidden,
        "pages of this origin may not open streams (COIR_ALLOWED_ORIGINS)",
    ))
}

/// Whether the page came from the host that it now asks: browsers send its origin also then, with a WebSocket.
fn is_own_page(request: &HttpRequest, origin: &header::HeaderValue) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    host.zip(authority).is_some_and(|(host, authority)| host.eq_ignore_ascii_case(authority))
}

/// Who opens a stream, by header or `?token=pk_…`; `None` if nothing was said.
///
/// # Errors
/// `UNAUTHORIZED` for a bad credential, several, or one that must not be in a URL.
async fn opener(request: &HttpRequest, parameters: &Parameters) -> Result<Option<Arc<Principal>>, ApiError> {
    let header = credential(request.headers())?;
    if parameters.pairs().any(|(name, _)| name == "ticket") {
        return Err(ApiError::new(
            ErrorCode::Unauthorized,
            "stream tickets are not available yet; use ?token=pk_…",
        ));
    }
    let token = parameters.single("token").map_err(|_| ApiError::unauthorized())?;
    if let Some(token) = token {
        // URLs end up in logs and histories. What has three parts is a JWT.
        if token.starts_with(KeyKind::Secret.prefix()) || token.matches('.').count() == 2 {
            let message =
                "a secret key or user token must not be in a URL; send it in a header or an `auth` message";
            return Err(ApiError::new(ErrorCode::Unauthorized, message));
        }
    }
    let key = match (header, token) {
        (Some(header), Some(token)) if header != token => return Err(ApiError::unauthorized()),
        (header, token) => header.or(token),
    };
    match key {
        None => Ok(None),
        Some(key) => Ok(Some(key_ring(request)?.authenticate(key).await?)),
    }
}
