//! One live WebSocket or SSE stream: what its session and its conversation share, and the body that its peer reads.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web,
};
use bytes::Bytes;
use tokio::time::Instant;

use super::{admission::ConnectionPermit, local_shard::Parts, state::Realtime};
use crate::{
    api::sockets::SocketHandle,
    auth::{Authenticator, OriginRefused, Principal, Traffic, limits::Limited, traffic::Taken},
    domain::KeyEnd,
    hub::{Outbox, Owner, Shard},
    wire::Form,
};

/// One live stream. It stays on one worker thread. From its first good key on it counts as live until it is dropped.
pub struct Connection {
    /// The state that all streams of the process share.
    pub realtime: web::Data<Realtime>,
    /// The hub's part on this thread.
    pub shard: Rc<Shard>,
    /// The queue to the peer.
    pub outbox: Rc<Outbox>,
    /// How the stream is written.
    pub form: Form,
    /// When it was opened.
    pub opened: Instant,
    /// The TCP connection below.
    pub socket: SocketHandle,
    /// The origin of the page that opened it, if it named one.
    origin: Option<Rc<str>>,
    address: Option<IpAddr>,
    /// The last token that was taken for it.
    taken: Cell<Option<Taken>>,
    outbox_serial: u64,
    permit: RefCell<Option<ConnectionPermit>>,
}

/// Why a principal can't have a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The key is not good any more since then.
    KeyEnded(KeyEnd),
    /// The session has ended meanwhile.
    SessionEnded,
    /// Meanwhile this node missed entries of the log, which may have ended the session.
    SessionInDoubt,
    /// There are too many connections, or too many of its key.
    Full,
}

impl Connection {
    /// Opens a connection, and makes it known to the shard, so that the end of a key or a session finds it.
    pub fn open(Parts { realtime, shard, socket, origin, address }: Parts, form: Form) -> Rc<Self> {
        let outbox = Rc::new(Outbox::default());
        let outbox_serial = shard.add_outbox(&outbox);
        Rc::new(Self {
            realtime,
            shard,
            outbox,
            form,
            opened: Instant::now(),
            socket,
            origin,
            address,
            taken: Cell::default(),
            outbox_serial,
            permit: RefCell::default(),
        })
    }

    /// Checks that the page which opened it may use the key of a principal.
    ///
    /// # Errors
    /// [`OriginRefused`].
    pub fn check_origin(&self, principal: &Principal) -> Result<(), OriginRefused> {
        self.origin.as_deref().map_or(Ok(()), |origin| principal.check_origin(origin))
    }

    /// Counts a stream that is opened, or a subscription that begins.
    ///
    /// # Errors
    /// [`Limited`] if the caller had too many of them.
    pub fn count(&self, principal: &Principal) -> Result<(), Limited> {
        self.taken.set(self.realtime.rates.take(Traffic::Streams, principal, || self.address)?);
        Ok(())
    }

    /// Returns the last token that was taken for it.
    pub fn taken(&self) -> Option<Taken> {
        self.taken.get()
    }

    /// Notes whose connection this is. From now on it counts, and its socket is no stranger.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn set_principal(&self, principal: &Principal) -> Result<(), NotAdmitted> {
        let account = principal.account();
        if !self.socket.authenticate(&account) {
            return Err(NotAdmitted::Full);
        }
        self.set_owner(Some(principal));
        // An end of the key or the session that came before the owner was noted has not found this connection.
        let Authenticator { keys, sessions, .. } = &self.realtime.admission.authenticator;
        if let Some(end) = keys.find_end(&principal.held_key()) {
            return Err(NotAdmitted::KeyEnded(end));
        }
        if let Some(user) = &principal.user {
            if sessions.has_ended(&user.session) {
                return Err(NotAdmitted::SessionEnded);
            }
            if sessions.is_in_doubt(user.round) {
                return Err(NotAdmitted::SessionInDoubt);
            }
        }
        let mut permit = self.permit.borrow_mut();
        if permit.is_none() {
            *permit = self.realtime.admission.connections.acquire(&account);
        }
        if permit.is_some() { Ok(()) } else { Err(NotAdmitted::Full) }
    }

    /// Notes whose connection this is, without any check.
    pub(super) fn set_owner(&self, principal: Option<&Principal>) {
        let owner = principal.map(|principal| Owner {
            project: principal.project.clone(),
            key: principal.held_key(),
            session: principal.user.as_ref().map(|user| user.session.clone()),
        });
        self.shard.set_owner(self.outbox_serial, owner);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shard.remove_outbox(self.outbox_serial);
    }
}

/// A response body that yields the frames of a queue as they are.
pub struct OutboxBody {
    outbox: Rc<Outbox>,
    /// The body that actix-ws made. If it were dropped, the incoming stream would end.
    _kept: RefCell<Option<BoxBody>>,
}

impl OutboxBody {
    /// Makes the body. `kept` is the body that actix-ws made, if there is one.
    pub fn new(outbox: Rc<Outbox>, kept: Option<BoxBody>) -> Self {
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
