//! Live streams: the same connection behind WebSocket and server-sent events.
//!
//! Reading order: [`messages`] (what clients say), [`connection`] (what happens), [`subscriptions`] and
//! [`subscription`] (what is watched), [`catch_up`], `snapshot`, [`ws`] and [`sse`] (bytes in and out), [`guard`] (frames that must not come in).
//!
//! Beside them, [`bus`] and [`rooms`]: where people meet, which only the client libraries' door shows.

pub mod catch_up;
pub mod connection;
pub mod guard;
pub mod messages;
mod snapshot;
pub mod sse;
pub mod subscription;
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
    request::{Parameters, caller::credential},
    state::State,
};
use crate::{
    auth::{KeyKind, KeyRing, Principal, Tickets},
    hub::{Outbox, Shard},
    live::reads::Streams,
};

/// What every connection of this process shares. Cheap to clone.
#[derive(Clone)]
pub struct Realtime {
    /// What subscriptions are served from.
    pub feed: Feed,
    /// Who is asking.
    pub keys: KeyRing,
    /// Who is asking by a ticket.
    pub tickets: Tickets,
    /// How often an idle connection is written to.
    pub heartbeat: Duration,
    /// Live connections, and how many there may be.
    pub connections: ConnectionCount,
    /// Who is in which room.
    pub bus: Arc<dyn crate::api::cocobase::rooms::bus::Bus>,
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
    /// Subscriptions of one WebSocket.
    pub max_subscriptions: usize,
}

impl Realtime {
    /// Finds out whose a key or a ticket is.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; of a ticket that has expired it is said.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, ApiError> {
        if !Tickets::is_ticket(token) {
            return Ok(self.keys.authenticate(token).await?);
        }
        let holder = self.tickets.read(token)?;
        let principal = self.keys.find(&holder.key).await?;
        Ok(match holder.collection {
            None => principal,
            Some(collection) => {
                Arc::new(Principal { collection: Some(collection), ..Principal::clone(&principal) })
            }
        })
    }
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
    pub(in crate::api) fn none() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that yields what the queue holds, as it is.
pub(in crate::api) struct OutboxBody {
    outbox: Rc<Outbox>,
    /// The body that actix-ws made: dropped, it would end the incoming stream.
    _kept: RefCell<Option<BoxBody>>,
}

impl OutboxBody {
    pub(in crate::api) fn new(outbox: Rc<Outbox>, kept: Option<BoxBody>) -> Self {
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
pub(in crate::api) fn parts(request: &HttpRequest) -> Result<(web::Data<Realtime>, Rc<Shard>), ApiError> {
    let state = request.app_data::<State>();
    let parts = state.map(|state| &state.realtime).zip(request.app_data::<LocalShard>());
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

/// Who opens a stream, by header, `?token=pk_…` or `?ticket=`; `None` if nothing was said.
///
/// # Errors
/// `UNAUTHORIZED` for a bad credential, several, or one that must not be in a URL.
async fn opener(
    request: &HttpRequest,
    realtime: &Realtime,
    parameters: &Parameters,
) -> Result<Option<Arc<Principal>>, ApiError> {
    let header = credential(request.headers())?;
    let parameter = |name| parameters.single(name).map_err(|_| ApiError::unauthorized());
    let (token, ticket) = (parameter("token")?, parameter("ticket")?);
    let refuse = |message| Err(ApiError::new(ErrorCode::Unauthorized, message));
    for text in [token, ticket].into_iter().flatten() {
        // URLs end up in logs and histories.
        if text.starts_with(KeyKind::Secret.prefix()) {
            return refuse("a secret key must not be in a URL; send it in a header or an `auth` message");
        }
    }
    if token.is_some_and(Tickets::is_ticket) {
        return refuse(
            "a user token must not be in a URL, and a stream ticket is given as ?ticket=; send it in a header or an `auth` message",
        );
    }
    if ticket.is_some_and(|ticket| !Tickets::is_ticket(ticket)) {
        return refuse("`ticket` takes what POST /realtime/tickets gives; a publishable key is ?token=pk_…");
    }
    let mut said = [header, token, ticket].into_iter().flatten();
    let Some(credential) = said.next() else { return Ok(None) };
    if said.any(|other| other != credential) {
        return Err(ApiError::unauthorized());
    }
    realtime.authenticate(credential).await.map(Some)
}
