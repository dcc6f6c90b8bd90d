//! One live stream: who it belongs to, what it watches, and what happens to it, on either transport.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use serde_json::Value;

use super::{
    ConnectionPermit, Realtime,
    protocol::{self, ClientMessage, CloseCode, Refusal},
    subscriptions::{CaughtUp, catch_up},
};
use crate::{
    api::error::{ApiError, ErrorCode},
    auth::Principal,
    domain::Collection,
    hub::{CloseReason, Form, Outbox, Shard, Slot, SlotState},
    query::{Filter, cursor::Cursor, parse},
    service::ServiceError,
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
    slots: Vec<Rc<Slot>>,
    last_heard: Instant,
    last_taken: u64,
    _permit: ConnectionPermit,
}

type CatchingUp = FuturesUnordered<LocalBoxFuture<'static, (Rc<Slot>, CaughtUp)>>;

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
        Self {
            realtime,
            shard,
            outbox,
            outbox_serial,
            form,
            principal: None,
            failed_auth: 0,
            opened: Instant::now(),
            slots: Vec::new(),
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
        if let Err(error) = self.realtime.streams.check(&principal) {
            let error = error.into();
            for slot in std::mem::take(&mut self.slots) {
                self.shard.end_detached(&slot);
                self.say_error(&error, None);
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

    /// Begins to watch, from now or from a cursor, and returns the subscription. One per collection: another one of the
    /// same collection takes its place, without a change between them.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub async fn subscribe(
        &mut self,
        asked_name: &str,
        filter: Filter,
        from: Option<Cursor>,
    ) -> Result<Rc<Slot>, ApiError> {
        let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
        let collection = self.realtime.streams.open(&principal, asked_name).await?;
        let old = self.slots.iter().position(|slot| slot.collection == collection.id);
        if old.is_none() && self.slots.len() >= self.realtime.max_subscriptions {
            let message =
                format!("a connection has at most {} subscriptions", self.realtime.max_subscriptions);
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
        let slot = self.new_slot(&principal, &collection, asked_name, filter);
        // "Now" is where the log ends, and not how far this node's hub has heard: on several nodes, what was acknowledged
        // before must not come as an event.
        let begin = match (from, old) {
            (None, None) => self.realtime.streams.find_end(&principal.project).await?,
            (from, _) => from,
        };
        if let Some(cursor) = begin {
            slot.restart_from(cursor);
        }
        let state = match old.map(|place| self.slots[place].clone()) {
            None if from.is_some() => SlotState::CatchingUp,
            None => self.shard.join(&slot).await,
            Some(old) => self.replace(&slot, &old).await,
        };
        if state == SlotState::Refused {
            // The one that was there before goes on.
            return Err(too_many_filters());
        }
        match old {
            Some(place) => self.slots[place] = slot.clone(),
            None => self.slots.push(slot.clone()),
        }
        if let Err(error) = self.settle(&principal, &slot).await {
            self.slots.retain(|other| !Rc::ptr_eq(other, &slot));
            self.shard.end(&slot).await;
            return Err(error);
        }
        Ok(slot)
    }

    /// Makes sure that a new subscription is of a collection that is there, and has a place to go on from. What is not
    /// live yet is brought up to date by the loop.
    async fn settle(&self, principal: &Principal, slot: &Slot) -> Result<(), ApiError> {
        // A removal that the hub heard of before it heard of this subscription ended it for nobody.
        let found = self.realtime.streams.open(principal, slot.collection.as_str()).await;
        if slot.state() == SlotState::Removed || matches!(found, Err(ServiceError::UnknownCollection)) {
            return Err(unknown_collection());
        }
        // It begins now, and the hub is busy or has not heard of the project: now is where the log ends.
        if slot.cursor().is_none()
            && let Some(end) = self.realtime.streams.find_end(&slot.project).await?
        {
            slot.restart_from(end);
        }
        Ok(())
    }

    fn new_slot(
        &self,
        principal: &Principal,
        collection: &Collection,
        asked_name: &str,
        filter: Filter,
    ) -> Rc<Slot> {
        let place = (principal.project.clone(), collection.id.clone());
        Rc::new(Slot::new(place, Arc::new(filter), self.form, asked_name.into(), self.outbox.clone()))
    }

    async fn replace(&self, slot: &Rc<Slot>, old: &Rc<Slot>) -> SlotState {
        if old.state() == SlotState::Live {
            let state = self.shard.replace(slot, old).await;
            if state == SlotState::Refused {
                return state;
            }
            if old.state() != SlotState::CatchingUp {
                self.shard.end(old).await;
                return state;
            }
            // The queue overflowed in between: the new one reads what the old one missed.
            self.shard.fall_back(slot);
            if slot.has_sent() {
                // But that is before what it has sent already.
                self.outbox.close(CloseReason::Behind);
            }
        }
        if let Some(cursor) = old.cursor() {
            slot.restart_from(cursor);
        }
        self.shard.end(old).await;
        SlotState::CatchingUp
    }

    async fn unsubscribe(&mut self, asked_name: &str) -> Result<(), ApiError> {
        let principal = self.principal.clone().ok_or_else(ApiError::unauthorized)?;
        let by_name = self.slots.iter().position(|slot| *slot.asked_name == *asked_name);
        let place = match by_name {
            Some(place) => Some(place),
            None => {
                let collection = self.realtime.streams.open(&principal, asked_name).await?;
                self.slots.iter().position(|slot| slot.collection == collection.id)
            }
        };
        if let Some(place) = place {
            let slot = self.slots.swap_remove(place);
            self.shard.end(&slot).await;
        }
        Ok(())
    }

    /// Serves the connection until its peer is gone, it breaks a rule, or the server stops.
    pub async fn run(mut self, incoming: impl Stream<Item = Incoming>) {
        let mut incoming = std::pin::pin!(incoming);
        let end = self.serve(&mut incoming).await;
        // Together with the end: a queue that is full, or closed for a revoked key, takes nothing else.
        let error = end.error.map(|error| protocol::error(self.form, &error, None));
        self.outbox.finish(error.into_iter().chain(protocol::close(self.form, end.code, end.reason)));
    }

    async fn serve(&mut self, incoming: &mut (impl Stream<Item = Incoming> + Unpin)) -> End {
        let mut catching_up = CatchingUp::new();
        let mut heartbeat = tokio::time::interval(self.realtime.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();
        let auth_deadline = tokio::time::sleep_until((self.opened + AUTH_TIMEOUT).into());
        let mut auth_deadline = std::pin::pin!(auth_deadline);
        let mut stop = self.realtime.stop.clone();
        let mut is_open = true;
        loop {
            if let Some(end) = self.check() {
                return end;
            }
            self.begin_catching_up(&mut catching_up);
            tokio::select! {
                () = self.outbox.changed() => {}
                // Answers count as well: while the queue is full, no more questions are read.
                message = incoming.next(), if is_open && self.outbox.has_room() => match message {
                    Some(message) => {
                        if let Some(end) = self.handle(message).await {
                            return end;
                        }
                    }
                    None => is_open = false,
                },
                Some((slot, caught_up)) = catching_up.next(), if !catching_up.is_empty() => {
                    if let Some(end) = self.caught_up(&slot, caught_up) {
                        return end;
                    }
                }
                _ = heartbeat.tick() => {
                    if let Some(end) = self.beat() {
                        return end;
                    }
                }
                () = &mut auth_deadline, if self.principal.is_none() => {
                    return End::new(CloseCode::NotAllowed, "not authenticated in time");
                }
                _ = stop.wait_for(|stop| *stop) => return End::new(CloseCode::Away, "the server stops"),
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
        let place = self.slots.iter().position(|slot| matches!(slot.state(), SlotState::Removed))?;
        let slot = self.slots.swap_remove(place);
        self.end_slot(&slot, &unknown_collection())
    }

    /// A subscription ends. On SSE it is the whole stream.
    fn end_slot(&mut self, slot: &Slot, error: &ApiError) -> Option<End> {
        self.shard.end_detached(slot);
        if self.form == Form::Sse {
            let end = End::new(CloseCode::Normal, "");
            return Some(End { error: Some(error.clone()), ..end });
        }
        self.say_error(error, None);
        // There may be more of them.
        self.outbox.notify();
        None
    }

    fn begin_catching_up(&self, catching_up: &mut CatchingUp) {
        for slot in &self.slots {
            if slot.state() == SlotState::CatchingUp && slot.begin_catching_up() {
                let (realtime, shard, slot) = (self.realtime.clone(), self.shard.clone(), slot.clone());
                let future = async move {
                    let end = catch_up(&realtime, &shard, &slot).await;
                    (slot, end)
                };
                catching_up.push(future.boxed_local());
            }
        }
    }

    fn caught_up(&mut self, slot: &Rc<Slot>, end: CaughtUp) -> Option<End> {
        slot.end_catching_up();
        let Some(place) = self.slots.iter().position(|other| Rc::ptr_eq(other, slot)) else {
            // It was unsubscribed, or replaced, meanwhile.
            return None;
        };
        match end {
            CaughtUp::Live | CaughtUp::Ended => None,
            CaughtUp::Removed => {
                self.slots.swap_remove(place);
                self.end_slot(slot, &unknown_collection())
            }
            CaughtUp::Refused => {
                self.slots.swap_remove(place);
                self.end_slot(slot, &too_many_filters())
            }
            CaughtUp::Expired(_) if self.form == Form::WebSocket => Some(behind()),
            CaughtUp::Expired(head) => {
                self.say_resync(slot, "CURSOR_EXPIRED", head);
                None
            }
        }
    }

    /// Says on an SSE stream that what came before is lost, and goes on from `head`.
    pub fn say_resync(&self, slot: &Slot, code: &str, head: Cursor) {
        slot.restart_from(head);
        self.outbox.send(protocol::sse_resync(code, &head.encode(&slot.project)));
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
        let (message, id) = protocol::parse_message(text)?;
        self.handle_message(message).await.map_err(|error| Refusal { error, id })
    }

    async fn handle_message(&mut self, message: ClientMessage) -> Result<(), ApiError> {
        match message {
            ClientMessage::Ping => {
                self.outbox.send(protocol::pong());
            }
            ClientMessage::Auth { token } => {
                let known = self.realtime.keys.authenticate(&token).await.map_err(ApiError::from);
                known
                    .and_then(|principal| self.set_principal(principal))
                    .inspect_err(|error| self.count_failed_auth(error))?;
            }
            // Before anything is looked at that only those who are known may ask about.
            _ if self.principal.is_none() => return Err(ApiError::unauthorized()),
            ClientMessage::Subscribe { collection, filters } => {
                let filter = match filters {
                    None => Filter::all(),
                    Some(filters) => parse::parse_value(filters)?,
                };
                self.subscribe(&collection, filter, None).await?;
            }
            ClientMessage::Unsubscribe { collection } => self.unsubscribe(&collection).await?,
        }
        Ok(())
    }

    fn say_error(&self, error: &ApiError, id: Option<&Value>) {
        self.outbox.send(protocol::error(self.form, error, id));
    }

    /// Writes a heartbeat, and ends the connection if the peer gives no sign of life.
    fn beat(&mut self) -> Option<End> {
        let taken = self.outbox.taken();
        let took = std::mem::replace(&mut self.last_taken, taken) != taken;
        let is_alive = match self.form {
            // Nothing is ever heard there: taking is the sign.
            Form::Sse => took || self.outbox.is_empty(),
            // One whose queue is full isn't heard; one whose queue is not answers pings.
            Form::WebSocket => took && !self.outbox.has_room(),
        };
        if is_alive {
            self.last_heard = Instant::now();
        }
        if self.last_heard.elapsed() > SILENT_HEARTBEATS * self.realtime.heartbeat {
            return Some(End::new(CloseCode::Away, "no sign of life"));
        }
        self.slots.iter().for_each(|slot| self.shard.pass_mark(slot));
        let cursor = self.slots.first().filter(|_| self.form == Form::Sse).and_then(|slot| slot.cursor());
        let project = self.principal.as_ref().map(|principal| &principal.project);
        let cursor = cursor.zip(project).map(|(cursor, project)| cursor.encode(project));
        // A full queue needs no heartbeat.
        self.outbox.push(protocol::heartbeat(self.form, cursor.as_deref()));
        self.outbox.wake_body();
        None
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for slot in &self.slots {
            self.shard.end_detached(slot);
        }
        self.shard.remove_outbox(self.outbox_serial);
    }
}

fn unknown_collection() -> ApiError {
    ApiError::new(ErrorCode::InvalidCollection, crate::api::error::UNKNOWN_COLLECTION)
}

fn too_many_filters() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "this collection has too many different filters without an equality")
}

/// A subscription without `id` can't be told what it missed: the client comes back and lists anew.
fn behind() -> End {
    End::new(CloseCode::TryAgain, "missed changes can't be sent any more; reconnect and list again")
}
