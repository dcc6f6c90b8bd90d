//! `/realtime/rooms/{room}` and `/realtime/broadcast`: people, and what they say. None of it is in the database.

use std::{rc::Rc, sync::Arc};

use actix_web::HttpResponse;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json, value::RawValue};

use crate::{
    api::{
        cocobase::{
            rooms::bus::{Bus, Entering, Guest, Inbox, Person, Place, Presence},
            socket::{End, First, Happened, Socket},
        },
        error::ApiError,
        request::Caller,
        state::State,
    },
    auth::Principal,
    domain::{ProjectId, Timestamp},
    hub::Outbox,
    wire::{CloseCode, frames::text_frame},
};

/// The longest id of a room, and id or name of a person, in bytes.
const MAX_NAME: usize = 128;
/// The longest title of a room, in bytes.
const MAX_TITLE: usize = 256;

/// One who is in a room or in the broadcast.
pub(super) struct Meeting {
    bus: Arc<dyn Bus>,
    outbox: Rc<Outbox>,
    project: ProjectId,
    place: Place,
    person: Person,
    number: u64,
    inbox: Inbox,
}

/// What one says. Of a room it is `content`, of the broadcast `data`.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default, deserialize_with = "also_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    content: Option<&'a RawValue>,
}

/// `null` is something to say, other than nothing.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Meeting {
    /// Comes in, and says so.
    pub(super) fn begin(
        socket: &Socket,
        principal: &Principal,
        place: Place,
        first: &First,
    ) -> Result<Self, End> {
        socket.realtime.feed.streams.check_meeting(principal).map_err(|err| {
            End::said(json!({ "error": "Access denied", "error_detail": ApiError::from(err).message }))
        })?;
        let person = Person {
            id: parse_text("user_id", first.user_id.as_ref(), "anonymous", true)?,
            name: parse_text("user_name", first.user_name.as_ref(), "Anonymous", false)?,
        };
        let entering = parse_entering(&place, first)?;
        let (inbox, delivery) = Inbox::new();
        let (project, bus) = (principal.project.clone(), socket.realtime.bus.clone());
        let guest = Guest { project: &project, place: &place, person: person.clone(), delivery };
        let announce = |presence: &Presence| presence_frame("user_joined", &place, &person, presence);
        let (number, presence) = bus.enter(guest, entering, &announce).map_err(|err| {
            let mut error = json!({ "error": err.to_string() });
            if let Place::Room(id) = &place {
                error["room_id"] = id.as_str().into();
            }
            End::said(error)
        })?;
        let text = match &place {
            Place::Broadcast => format!(
                r#"{{"event":"connected","project_id":"{}","user_id":{}}}"#,
                project.as_str(),
                person.id
            ),
            Place::Room(id) => format!(
                r#"{{"event":"joined","room_id":{},"room_title":{},"participants":{},"user_id":{}}}"#,
                quoted(id),
                quoted(&presence.title),
                presence.participants,
                person.id
            ),
        };
        // What the bus has sent comes after it.
        socket.outbox.send(text_frame(text.as_bytes()));
        Ok(Self { bus, outbox: socket.outbox.clone(), project, place, person, number, inbox })
    }

    /// Passes on what is said, until its client is too slow for it.
    pub(super) async fn serve(&mut self) -> Happened {
        loop {
            let (outbox, frames) = (&self.outbox, &mut self.inbox.frames);
            let next = async {
                outbox.room().await;
                if outbox.is_ending() { None } else { frames.recv().await }
            };
            let frame = tokio::select! {
                biased;
                _ = &mut self.inbox.cut => {
                    let reason = "too slow for what is said here; come back";
                    return Happened::Ended(End::new(CloseCode::TryAgain, reason));
                }
                frame = next => frame,
            };
            let Some(frame) = frame else { return Happened::Ending };
            self.inbox.set_taken(&frame);
            self.outbox.send(frame);
        }
    }

    /// Says something to everyone.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn hear(&mut self, text: &str) -> Result<(), String> {
        // It is passed on as it is; this bounds how deep it is nested.
        serde_json::from_str::<Value>(text).map_err(|err| format!("the message is not valid JSON: {err}"))?;
        let (member, is_room) = match &self.place {
            Place::Broadcast => ("data", false),
            Place::Room(_) => ("content", true),
        };
        let usage = || format!("a message is {{\"type\":\"message\",\"{member}\":…}}");
        let said: Said<'_> = serde_json::from_str(text).map_err(|_| usage())?;
        let value = if is_room { said.content } else { said.data };
        let value = value.filter(|_| said.kind == "message").ok_or_else(usage)?;
        let (Person { id, name }, at) = (&self.person, Timestamp::now());
        let announce = |presence: &Presence| {
            let room = room_info(&self.place, presence);
            let text = format!(
                r#"{{"type":"message","user_id":{id},"user_name":{name},"timestamp":"{at}","{member}":{}{room}}}"#,
                value.get()
            );
            Some(text_frame(text.as_bytes()))
        };
        self.bus.say(&self.project, &self.place, &announce);
        Ok(())
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let announce = |presence: &Presence| presence_frame("user_left", &self.place, &self.person, presence);
        self.bus.leave(&self.project, &self.place, self.number, &announce);
    }
}

/// `GET /realtime/rooms` → 200 with the rooms of the project.
pub async fn list(state: State, Caller(principal): Caller) -> Result<HttpResponse, ApiError> {
    state.realtime.feed.streams.check_meeting(&principal)?;
    let rooms = state.realtime.bus.rooms(&principal.project);
    let person = |Person { id, name }: &Person| json!({ "id": parsed(id), "name": parsed(name) });
    let bodies: Vec<_> = rooms
        .iter()
        .map(|room| {
            json!({
                "id": room.id,
                "title": &*room.title,
                "created_by": parsed(&room.created_by.id),
                "participants": room.people.len(),
                "participant_list": room.people.iter().map(person).collect::<Vec<_>>(),
                "created_at": room.created_at.to_string(),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "total": bodies.len(), "rooms": bodies })))
}

fn parse_entering(place: &Place, first: &First) -> Result<Entering, End> {
    let Place::Room(id) = place else { return Ok(Entering::Join) };
    if id.is_empty() || id.len() > MAX_NAME {
        return Err(End::refused(format!("a room's id has 1 to {MAX_NAME} bytes")));
    }
    match first.action.as_ref() {
        Some(Value::String(action)) if action == "create" => {}
        Some(Value::String(action)) if action == "join" => return Ok(Entering::Join),
        _ => return Err(End::refused("`action` is create or join")),
    }
    match first.room_title.as_ref() {
        None => Ok(Entering::Create { title: id.clone() }),
        Some(Value::String(title)) if title.len() <= MAX_TITLE => {
            Ok(Entering::Create { title: title.clone() })
        }
        Some(_) => Err(End::refused(format!("`room_title` is a string of at most {MAX_TITLE} bytes"))),
    }
}

/// A short text of a client, as JSON.
fn parse_text(
    member: &str,
    value: Option<&Value>,
    default: &str,
    may_be_number: bool,
) -> Result<Arc<str>, End> {
    match value {
        None => Ok(quoted(default).into()),
        Some(Value::String(text)) if text.len() <= MAX_NAME => Ok(quoted(text).into()),
        Some(Value::Number(number)) if may_be_number => Ok(number.to_string().into()),
        Some(_) => Err(End::refused(format!("`{member}` is a string of at most {MAX_NAME} bytes"))),
    }
}

/// That someone came or went. Of the broadcast, nobody is told.
fn presence_frame(kind: &str, place: &Place, person: &Person, presence: &Presence) -> Option<Bytes> {
    if *place == Place::Broadcast {
        return None;
    }
    let (Person { id, name }, at, room) = (person, Timestamp::now(), room_info(place, presence));
    let text = format!(r#"{{"type":"{kind}","user_id":{id},"user_name":{name},"timestamp":"{at}"{room}}}"#);
    Some(text_frame(text.as_bytes()))
}

/// A member that begins with a comma; nothing for the broadcast.
fn room_info(place: &Place, presence: &Presence) -> String {
    let Place::Room(id) = place else { return String::new() };
    format!(
        r#","room_info":{{"id":{},"title":{},"participants":{}}}"#,
        quoted(id),
        quoted(&presence.title),
        presence.participants
    )
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}
