//! One live stream: who it belongs to, what it watches, and what happens to it, on either transport.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::web;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    ConnectionPermit, Realtime,
    messages::{ClientMessage, Refusal, parse_message},
    subscription::Subscription,
    subscriptions::{Ended, Subscriptions, Wanted},
};
use crate::{
    api::error::{ApiError, ErrorCode},
    auth::{Forbidden, Principal},
    hub::{CloseReason, Outbox, Shard},
    query::{
        Filter,
        parse::{self, Typing},
    },
    service::ServiceError,
    wire::{CloseCode, Form, messages},
};

/// How long a connection may stay without having said who it is.
const AUTH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it may be wrong about that.
const MAX_FAILED_AUTH: u32 = 5;
/// The largest message before that.
const MAX_ANONYMOUS_MESSAGE: usize = 16 * 1024;
/// A peer is taken for gone after so many heartbeats without a sign of life.
const SILENT_HEARTBEATS: u32 = 3;

/// What comes in.
pub enum Incoming {
    /// A text message.
    Text(String),
    /// Something that must be written back as it is.
    Answer(Bytes),
    /// Something that is no message, but shows that the peer is there.
    SignOfLife,
    /// A message that is not text.
    Binary,
    /// The peer closes, or broke the transport's rules.
    Close(CloseCode, &'static str),
}

/// Why a connection's loop ends.
struct End {
    code: CloseCode,
    reason: &'static str,
    /// Said before the end.
    error: Option<ApiError>,
}

impl End {
    fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, error: None }
    }
}

/// One live stream. Lives on one worker thread, in one task.
pub struct Connection {
    realtime: web::Data<Realtime>,
    shard: Rc<Shard>,
    outbox: Rc<Outbox>,
    outbox_serial: u64,
    form: Form,
    principal: Option<Arc<Principal>>,
    failed_auth: u32,
    opened: Instant,
    subscriptions: Subscriptions,
    last_heard: Instant,
    last_taken: u64,
    _permit: ConnectionPermit,
}

impl Connection {
    /// A connection that watches nothing yet.
    pub fn new(
        realtime: web::Data<Realtime>,
        shard: Rc<Shard>,
        form: Form,
        permit: ConnectionPermit,
    ) -> Self {
        let outbox = Rc::new(Outbox::default());
        let outbox_serial = shard.add_outbox(&outbox);
        let subscriptions = Subscriptions::new(realtime.feed.clone(), shard.clone(), outbox.clone(), form);
        Self {
            realtime,
            shard,
            outbox,
            outbox_serial,
            form,
            principal: None,
            failed_auth: 0,
            opened: Instant::now(),
            subscriptions,
            last_heard: Instant::now(),
            last_taken: 0,
            _permit: permit,
        }
    }

    /// The queue to its peer.
    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// Notes who it belongs to.
    ///
    /// # Errors
    /// `UNAUTHORIZED` if it belongs to another project already, or the key was revoked meanwhile.
    pub fn set_principal(&mut self, principal: Arc<Principal>) -> Result<(), ApiError> {
        if self.principal.as_ref().is_some_and(|known| known.project != principal.project) {
            return Err(ApiError::unauthorized());
        }
        self.outbox.set_key(principal.key.clone());
        // A revocation that came before the key was noted has found nobody.
        if !self.realtime.keys.is_good(&principal) {
            if let Some(known) = &self.principal {
                self.outbox.set_key(known.key.clone());
            }
            return Err(ApiError::unauthorized());
        }
        // What the new principal may not read ends, each subscription by itself.
        if let Err(error) = self.realtime.feed.streams.check(&principal) {
            let error = error.into();
            for subscription in self.subscriptions.end_all() {
                subscription.say_error(&error);
            }
        }
        if let Some(only) = &principal.collection {
            let error = ServiceError::from(Forbidden::Collection).into();
            for subscription in self.subscriptions.end_others(only) {
                subscription.say_error(&error);
            }
        }
        self.principal = Some(principal);
        Ok(())
    }

    /// Says that a credential was bad, and counts it.
    pub fn refuse_auth(&mut self, error: &ApiError) {
        self.count_failed_auth(error);
        self.say_error(error, None);
    }

    fn count_failed_auth(&mut self, error: &ApiError) {
        if error.code == ErrorCode::Unauthorized {
            self.failed_auth += 1;
        }
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub async fn subscribe(&mut self, wanted: Wanted) -> Result<(), ApiError> {
        let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
        self.subscriptions.add(&principal, wanted).await
    }

    /// Serves the connection until its peer is gone, it breaks a rule, or the server stops.
    pub async fn run(mut self, incoming: impl Stream<Item = Incoming>) {
        let mut incoming = std::pin::pin!(incoming);
        let end = self.serve(&mut incoming).await;
        // Together with the end: a queue that is full, or closed for a revoked key, takes nothing else.
        let error =
            end.error.map(|error| messages::error(self.form, error.code.as_str(), &error.message, None));
        self.outbox.finish(error.into_iter().chain(self.form.close(end.code, end.reason)));
    }

    async fn serve(&mut self, incoming: &mut (impl Stream<Item = Incoming> + Unpin)) -> End {
        let mut heartbeat = tokio::time::interval(self.realtime.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();
        let auth_deadline = tokio::time::sleep_until(self.opened + AUTH_TIMEOUT);
        let mut auth_deadline = std::pin::pin!(auth_deadline);
        let mut stop = self.realtime.stop.clone();
        let mut is_open = true;
        loop {
            if let Some(end) = self.check() {
                return end;
            }
            // In one order, so that a run can be had again: what is seldom due first, and what a peer can have ready always
            // last.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return End::new(CloseCode::Away, "the server stops"),
                () = &mut auth_deadline, if self.principal.is_none() => {
                    return End::new(CloseCode::NotAllowed, "not authenticated in time");
                }
                _ = heartbeat.tick() => {
                    if let Some(end) = self.beat() {
                        return end;
                    }
                }
                () = self.outbox.changed() => {}
                // Cancelled, it goes on where it was.
                ended = self.subscriptions.serve() => match ended {
                    Ended::Behind => return behind(),
                    // The check above knows why.
                    Ended::All => {}
                    Ended::One(subscription, error) => {
                        if let Some(end) = self.end_one(&subscription, error) {
                            return end;
                        }
                    }
                },
                // Answers count as well: while the queue is full, no more questions are read.
                message = incoming.next(), if is_open && self.outbox.has_room() => match message {
                    Some(message) => {
                        if let Some(end) = self.handle(message).await {
                            return end;
                        }
                    }
                    None => is_open = false,
                },
            }
        }
    }

    /// Whether something has happened that ends the connection.
    fn check(&mut self) -> Option<End> {
        if self.outbox.is_gone() {
            return Some(End::new(CloseCode::Normal, ""));
        }
        if self.failed_auth >= MAX_FAILED_AUTH {
            return Some(End::new(CloseCode::NotAllowed, "too many failed attempts"));
        }
        match self.outbox.close_reason() {
            Some(CloseReason::NotAllowed) => {
                let end = End::new(CloseCode::NotAllowed, "the key was revoked");
                return Some(End { error: Some(ApiError::unauthorized()), ..end });
            }
            Some(CloseReason::Behind) => return Some(behind()),
            None => {}
        }
        None
    }

    /// A subscription has ended. On SSE that is the whole stream.
    fn end_one(&mut self, subscription: &Subscription, error: ApiError) -> Option<End> {
        if self.form.carries_one_subscription() {
            return Some(End { error: Some(error), ..End::new(CloseCode::Normal, "") });
        }
        subscription.say_error(&error);
        None
    }

    async fn handle(&mut self, message: Incoming) -> Option<End> {
        self.last_heard = Instant::now();
        match message {
            Incoming::Close(code, reason) => return Some(End::new(code, reason)),
            Incoming::SignOfLife => {}
            Incoming::Answer(frame) => {
                self.outbox.send(frame);
            }
            Incoming::Binary => {
                let message = "messages are JSON in text frames; this frame is binary";
                self.say_error(&ApiError::new(ErrorCode::InvalidBody, message), None);
            }
            Incoming::Text(text) if self.principal.is_none() && text.len() > MAX_ANONYMOUS_MESSAGE => {
                return Some(End::new(CloseCode::TooBig, "a message before `auth` is at most 16 KiB"));
            }
            Incoming::Text(text) => {
                if let Err(Refusal { error, id }) = self.handle_text(&text).await {
                    self.say_error(&error, id.as_ref());
                }
            }
        }
        None
    }

    async fn handle_text(&mut self, text: &str) -> Result<(), Refusal> {
        let (message, id) = parse_message(text)?;
        self.handle_message(message).await.map_err(|error| Refusal { error, id })
    }

    async fn handle_message(&mut self, message: ClientMessage) -> Result<(), ApiError> {
        match message {
            ClientMessage::Ping => {
                self.outbox.send(messages::pong());
            }
            ClientMessage::Auth { token } => {
                let known = self.realtime.authenticate(&token).await.map_err(ApiError::without_reason);
                known
                    .and_then(|principal| self.set_principal(principal))
                    .inspect_err(|error| self.count_failed_auth(error))?;
            }
            // Before anything is looked at that only those who are known may ask about.
            _ if self.principal.is_none() => return Err(ApiError::unauthorized()),
            ClientMessage::Subscribe { collection, filters, named } => {
                let filter = match filters {
                    None => Filter::all(),
                    Some(filters) => parse::parse_value(filters, Typing::Typed)?,
                };
                let (id, since, snapshot) = match named {
                    None => (None, None, false),
                    Some(named) => (Some(named.id), named.since, named.wants_snapshot),
                };
                self.subscribe(Wanted { collection, filter, id, since, snapshot }).await?;
            }
            ClientMessage::Unsubscribe { collection } => {
                let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
                self.subscriptions.remove(&principal, &collection).await?;
            }
            ClientMessage::UnsubscribeNamed { id } => self.subscriptions.remove_named(&id).await,
        }
        Ok(())
    }

    fn say_error(&self, error: &ApiError, id: Option<&Value>) {
        self.outbox.send(messages::error(self.form, error.code.as_str(), &error.message, id));
    }

    /// Writes a heartbeat, and ends the connection if the peer gives no sign of life.
    fn beat(&mut self) -> Option<End> {
        let taken = self.outbox.taken();
        let took = std::mem::replace(&mut self.last_taken, taken) != taken;
        let is_alive = if self.form.hears() {
            // One whose queue is full isn't heard; one whose queue is not answers pings.
            took && !self.outbox.has_room()
        } else {
            // Nothing is ever heard there: taking is the sign.
            took || self.outbox.is_empty()
        };
        if is_alive {
            self.last_heard = Instant::now();
        }
        if self.last_heard.elapsed() > SILENT_HEARTBEATS * self.realtime.heartbeat {
            return Some(End::new(CloseCode::Away, "no sign of life"));
        }
        let cursor = self.subscriptions.beat();
        // A full queue needs no heartbeat.
        self.outbox.push(self.form.heartbeat(cursor.as_deref()));
        self.outbox.wake_body();
        None
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.subscriptions.end_all();
        self.shard.remove_outbox(self.outbox_serial);
    }
}

/// A subscription without `id` can't be told what it missed: the client comes back and lists anew.
fn behind() -> End {
    End::new(CloseCode::TryAgain, "missed changes can't be sent any more; reconnect and list again")
}
