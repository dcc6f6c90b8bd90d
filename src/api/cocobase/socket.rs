//! What the three sockets of this door have in common. Each is about one thing; its first message says who is asking and
//! what is wanted, and an error ends it.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, body::MessageBody, web};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    api::{
        cocobase::{meeting::Meeting, pace::Pace, rooms::bus::Place, watch::Watch},
        error::{ApiError, ErrorCode},
        realtime::{ConnectionPermit, OutboxBody, Realtime, connection::Incoming, parts, ws::accept},
    },
    auth::{AuthError, Principal},
    hub::{CloseReason, Outbox, Shard},
    wire::{CloseCode, Form, frames::text_frame, messages},
};

/// How long the first message may take.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// The largest first message.
const MAX_FIRST_MESSAGE: usize = 16 * 1024;
/// A peer is taken for gone after so many heartbeats without a sign of life.
const SILENT_HEARTBEATS: u32 = 3;

/// What a socket is about.
enum Thing {
    Collection(String),
    Place(Place),
}

/// The first message. Members that mean nothing for a thing are left alone.
#[derive(Deserialize)]
pub(super) struct First {
    api_key: Option<Value>,
    pub(super) filters: Option<Value>,
    pub(super) user_id: Option<Value>,
    pub(super) user_name: Option<Value>,
    pub(super) action: Option<Value>,
    pub(super) room_title: Option<Value>,
}

/// Why a socket ends, and what is said before.
pub(super) struct End {
    code: CloseCode,
    reason: &'static str,
    said: Option<Value>,
}

impl End {
    pub(super) fn new(code: CloseCode, reason: &'static str) -> Self {
        Self { code, reason, said: None }
    }

    /// An error, and then 1008.
    pub(super) fn refused(error: impl Into<String>) -> Self {
        Self::said(json!({ "error": error.into() }))
    }

    pub(super) fn said(error: Value) -> Self {
        Self { said: Some(error), ..Self::new(CloseCode::NotAllowed, "refused") }
    }
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        let said = match error.code {
            ErrorCode::Forbidden | ErrorCode::InvalidCollection => json!({
                "error": "Collection not found or access denied",
                "error_detail": error.message,
            }),
            ErrorCode::Unauthorized => invalid_key(),
            _ => json!({ "error": error.message }),
        };
        let end = Self::said(said);
        match error.code {
            ErrorCode::Overloaded | ErrorCode::Internal => {
                Self { code: CloseCode::TryAgain, reason: "try again", ..end }
            }
            _ => end,
        }
    }
}

fn invalid_key() -> Value {
    json!({ "error": "Invalid API key", "error_detail": "Project not found" })
}

/// `GET /realtime/collections/{collection}` → 101.
pub async fn watch(
    request: HttpRequest,
    payload: web::Payload,
    collection: web::Path<String>,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Thing::Collection(collection.into_inner())).await
}

/// `GET /realtime/broadcast` → 101.
pub async fn broadcast(
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Thing::Place(Place::Broadcast)).await
}

/// `GET /realtime/rooms/{room}` → 101.
pub async fn room(
    request: HttpRequest,
    payload: web::Payload,
    room: web::Path<String>,
) -> Result<HttpResponse, actix_web::Error> {
    open(request, payload, Thing::Place(Place::Room(room.into_inner()))).await
}

async fn open(
    request: HttpRequest,
    payload: web::Payload,
    thing: Thing,
) -> Result<HttpResponse, actix_web::Error> {
    let (realtime, shard) = parts(&request)?;
    let (response, incoming) = accept(&request, &realtime, payload).await?;
    let permit = realtime.connections.acquire();
    let refused = permit.is_none();
    let socket = Socket::new(realtime, shard, permit.unwrap_or_else(ConnectionPermit::none));
    let outbox = socket.outbox.clone();
    if refused {
        outbox.finish(Form::Library.close(CloseCode::TryAgain, "too many connections"));
    } else {
        actix_web::rt::spawn(socket.run(incoming, thing));
    }
    Ok(response.map_body(|_, kept| OutboxBody::new(outbox, Some(kept)).boxed()))
}

/// One socket. Lives on one worker thread, in one task.
pub(super) struct Socket {
    pub(super) realtime: web::Data<Realtime>,
    pub(super) shard: Rc<Shard>,
    pub(super) outbox: Rc<Outbox>,
    outbox_serial: u64,
    pace: Pace,
    opened: Instant,
    last_heard: Instant,
    last_taken: u64,
    _permit: ConnectionPermit,
}

/// What has happened without the client saying anything.
pub(super) enum Happened {
    /// What was waited for is there: it can begin.
    Ready,
    /// The socket must end.
    Ended(End),
    /// It is ending already.
    Ending,
}

/// What is being done on a socket.
enum Talk {
    Watch(Box<Watch>),
    Meeting(Meeting),
}

impl Talk {
    /// Does what is to be done without the client saying anything, until something has happened. Can be dropped at any
    /// await, and goes on when it is called again.
    async fn serve(&mut self) -> Happened {
        match self {
            Self::Watch(watch) => watch.serve().await,
            Self::Meeting(meeting) => meeting.serve().await,
        }
    }

    async fn begin(&mut self) -> Result<(), End> {
        match self {
            Self::Watch(watch) => watch.subscribe().await,
            Self::Meeting(_) => Ok(()),
        }
    }

    fn hear(&mut self, text: &str) -> Result<(), String> {
        match self {
            Self::Watch(_) => Err("there is nothing to say here but {\"type\":\"ping\"}".to_owned()),
            Self::Meeting(meeting) => meeting.hear(text),
        }
    }
}

impl Socket {
    fn new(realtime: web::Data<Realtime>, shard: Rc<Shard>, permit: ConnectionPermit) -> Self {
        let outbox = Rc::new(Outbox::default());
        let outbox_serial = shard.add_outbox(&outbox);
        Self {
            realtime,
            shard,
            outbox,
            outbox_serial,
            pace: Pace::default(),
            opened: Instant::now(),
            last_heard: Instant::now(),
            last_taken: 0,
            _permit: permit,
        }
    }

    async fn run(mut self, incoming: impl Stream<Item = Incoming>, thing: Thing) {
        let mut incoming = std::pin::pin!(incoming);
        let end = match self.begin(&mut incoming, thing).await {
            Ok(talk) => self.serve(&mut incoming, talk).await,
            Err(end) => end,
        };
        let said = end.said.map(|error| text_frame(error.to_string().as_bytes()));
        self.outbox.finish(said.into_iter().chain(Form::Library.close(end.code, end.reason)));
    }

    async fn begin(
        &mut self,
        incoming: &mut (impl Stream<Item = Incoming> + Unpin),
        thing: Thing,
    ) -> Result<Talk, End> {
        let deadline = tokio::time::sleep_until(self.opened + FIRST_MESSAGE);
        let mut deadline = std::pin::pin!(deadline);
        let mut stop = self.realtime.stop.clone();
        let text = loop {
            if self.outbox.is_gone() {
                return Err(End::new(CloseCode::Normal, ""));
            }
            tokio::select! {
                () = self.outbox.changed() => {}
                message = incoming.next(), if self.outbox.has_room() => {
                    if let Some(text) = self.take(message)? {
                        break text;
                    }
                }
                () = &mut deadline => return Err(End::refused("Authentication timeout")),
                _ = stop.wait_for(|stop| *stop) => return Err(stopping()),
            }
        };
        if text.len() > MAX_FIRST_MESSAGE {
            return Err(End::new(CloseCode::TooBig, "the first message is at most 16 KiB"));
        }
        let is_object = text.trim_start().starts_with('{');
        let first: First = serde_json::from_str(&text).ok().filter(|_| is_object).ok_or_else(|| {
            End::refused("the first message is a JSON object such as {\"api_key\":\"pk_…\"}")
        })?;
        let principal = self.authenticate(first.api_key.as_ref()).await?;
        match thing {
            Thing::Collection(name) => {
                let watch = Watch::begin(self, principal, name, first).await?;
                Ok(Talk::Watch(Box::new(watch)))
            }
            Thing::Place(place) => Meeting::begin(self, &principal, place, &first).map(Talk::Meeting),
        }
    }

    async fn authenticate(&self, key: Option<&Value>) -> Result<Arc<Principal>, End> {
        let key = match key {
            Some(Value::String(key)) if !key.is_empty() => key,
            _ => return Err(End::refused("API key is required")),
        };
        let principal = match self.realtime.keys.authenticate(key).await {
            Ok(principal) => principal,
            Err(AuthError::Unknown) => return Err(End::said(invalid_key())),
            Err(err) => return Err(ApiError::from(err).into()),
        };
        self.outbox.set_key(principal.key.clone());
        // A revocation that came before the key was noted has found nobody.
        if !self.realtime.keys.is_good(&principal) {
            return Err(End::said(invalid_key()));
        }
        Ok(principal)
    }

    async fn serve(&mut self, incoming: &mut (impl Stream<Item = Incoming> + Unpin), mut talk: Talk) -> End {
        let mut heartbeat = tokio::time::interval(self.realtime.heartbeat);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.reset();
        let mut stop = self.realtime.stop.clone();
        loop {
            if let Some(end) = self.check() {
                return end;
            }
            // One who talks fast is heard later, which is felt as a full connection; nothing is lost.
            let pause = self.pace.pause();
            tokio::select! {
                () = self.outbox.changed() => {}
                () = tokio::time::sleep(pause), if !pause.is_zero() => {}
                message = incoming.next(), if pause.is_zero() && self.outbox.has_room() => {
                    match self.take(message) {
                        Err(end) => return end,
                        Ok(None) => {}
                        Ok(Some(text)) => if let Err(error) = talk.hear(&text) {
                            self.outbox.send(text_frame(json!({ "error": error }).to_string().as_bytes()));
                        }
                    }
                }
                happened = talk.serve() => match happened {
                    Happened::Ended(end) => return end,
                    // The check above knows why.
                    Happened::Ending => {}
                    Happened::Ready => if let Err(end) = talk.begin().await {
                        return end;
                    }
                },
                _ = heartbeat.tick() => {
                    if let Some(end) = self.beat() {
                        return end;
                    }
                    if let Talk::Watch(watch) = &talk {
                        watch.beat();
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return stopping(),
            }
        }
    }

    /// Whether something has happened that ends the socket.
    fn check(&self) -> Option<End> {
        if self.outbox.is_gone() {
            return Some(End::new(CloseCode::Normal, ""));
        }
        match self.outbox.close_reason() {
            Some(CloseReason::NotAllowed) => Some(End::said(invalid_key())),
            Some(CloseReason::Behind) => Some(End::new(CloseCode::TryAgain, "missed too much; list again")),
            None => None,
        }
    }

    /// Answers what needs no thought; returns other text.
    fn take(&mut self, message: Option<Incoming>) -> Result<Option<String>, End> {
        self.last_heard = Instant::now();
        let answer = match message {
            None => return Err(End::new(CloseCode::Normal, "")),
            Some(Incoming::Close(code, reason)) => return Err(End::new(code, reason)),
            Some(Incoming::SignOfLife) => return Ok(None),
            Some(Incoming::Answer(frame)) => frame,
            Some(Incoming::Binary) => return Err(End::refused("messages are JSON in text frames")),
            Some(Incoming::Text(text)) => match text.trim() {
                "ping" => text_frame(br#"{"event":"pong"}"#),
                trimmed if is_ping(trimmed) => messages::pong(),
                _ => {
                    self.pace.count();
                    return Ok(Some(text));
                }
            },
        };
        self.pace.count();
        self.outbox.send(answer);
        Ok(None)
    }

    /// Writes a heartbeat, and ends the socket if the peer gives no sign of life.
    fn beat(&mut self) -> Option<End> {
        let taken = self.outbox.taken();
        let took = std::mem::replace(&mut self.last_taken, taken) != taken;
        // One whose queue is full isn't heard; one whose queue is not answers pings.
        if took && !self.outbox.has_room() {
            self.last_heard = Instant::now();
        }
        if self.last_heard.elapsed() > SILENT_HEARTBEATS * self.realtime.heartbeat {
            return Some(End::new(CloseCode::Away, "no sign of life"));
        }
        self.outbox.push(Form::Library.heartbeat(None));
        self.outbox.wake_body();
        None
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shard.remove_outbox(self.outbox_serial);
    }
}

fn stopping() -> End {
    End::new(CloseCode::Away, "the server stops")
}

fn is_ping(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }
    // A ping is short.
    text.len() < 256 && serde_json::from_str(text).is_ok_and(|Kind { kind }| kind == "ping")
}
