//! The conversation of `/realtime/rooms/{room}` and `/realtime/broadcast`: one person hears the others, and is heard.

use std::{rc::Rc, sync::Arc};

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json, value::RawValue};

use super::{
    bus::{Entering, Guest, Person, Place, Presence},
    inbox::Inbox,
    wording::{self, quoted},
};
use crate::{
    api::{
        cocobase::{
            introduction::{First, Topic},
            refusal::{refused, refused_with, say_error},
        },
        error::ApiError,
        realtime::{
            connection::Connection,
            conversation::{Conversation, End},
        },
    },
    auth::{Action, Principal, permission},
    domain::{ProjectId, json, json_mistake::explain},
    live::LiveError,
    wire::CloseCode,
};

/// The longest id of a room, and id or name of a person, in bytes.
const MAX_NAME: usize = 128;
/// The longest title of a room, in bytes.
const MAX_TITLE: usize = 256;

/// A place as the topic of a socket.
pub struct Visit {
    /// The place.
    pub place: Place,
}

/// One person at a place. When it is dropped, they leave.
pub struct Meeting {
    connection: Rc<Connection>,
    project: ProjectId,
    place: Place,
    person: Person,
    number: u64,
    inbox: Inbox,
}

/// An event in a meeting.
pub enum News {
    /// The person was too slow for what is said, and was cut off.
    CutOff,
    /// The connection is ending.
    Ending,
}

/// A client's message: in a room `content`, in the broadcast `data`.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default, deserialize_with = "also_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "also_null")]
    content: Option<&'a RawValue>,
}

/// Reads a member that is there, also if it is `null`: one can say `null`.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Topic for Visit {
    type Conversation = Meeting;

    /// Comes in, and says so.
    async fn begin(
        &self,
        connection: &Rc<Connection>,
        principal: Arc<Principal>,
        first: First,
    ) -> Result<Meeting, End> {
        permission::check(&principal, Action::Subscribe).map_err(|err| {
            let error = ApiError::from(LiveError::from(err));
            refused_with(&json!({ "error": "Access denied", "error_detail": error.message }))
        })?;
        let place = self.place.clone();
        let person = Person {
            id: parse_user_id(first.user_id.as_ref())?,
            name: parse_user_name(first.user_name.as_ref())?,
        };
        let entering = parse_entering(&place, &first)?;
        let account = principal.account();
        let (inbox, sender) = connection.realtime.bus.inbox();
        let guest = Guest { account: &account, place: &place, person: person.clone(), inbox: sender };
        let announce = |presence: &Presence| wording::movement("user_joined", &place, &person, presence);
        let entered = connection.realtime.bus.enter(guest, entering, &announce);
        let (number, presence) = entered.map_err(|err| {
            let mut error = json!({ "error": err.to_string() });
            if let Place::Room(id) = &place {
                error["room_id"] = id.as_str().into();
            }
            refused_with(&error)
        })?;
        let project = account.project;
        // The frames in the inbox come after it.
        connection.outbox.send(wording::welcome(&project, &place, &person, &presence));
        Ok(Meeting { connection: connection.clone(), project, place, person, number, inbox })
    }
}

impl Meeting {
    /// Says something to everyone.
    ///
    /// # Errors
    /// A sentence for the client.
    fn say(&self, text: &str) -> Result<(), String> {
        // The value is passed on as it is. Parsing it bounds how deep it is nested.
        json::parse_lenient(text.as_bytes())
            .map_err(|err| format!("the message is not valid JSON: {}", explain(&err)))?;
        let member = wording::content_member(&self.place);
        let usage = || format!("a message is {{\"type\":\"message\",\"{member}\":…}}");
        let said: Said<'_> = serde_json::from_str(text).map_err(|_| usage())?;
        let value = match self.place {
            Place::Broadcast => said.data,
            Place::Room(_) => said.content,
        };
        let value = value.filter(|_| said.kind == "message").ok_or_else(usage)?;
        let announce =
            |presence: &Presence| Some(wording::message(&self.place, &self.person, value.get(), presence));
        self.connection.realtime.bus.say(&self.project, &self.place, &announce);
        Ok(())
    }
}

impl Conversation for Meeting {
    type News = News;

    async fn hear(&mut self, text: String) -> Result<(), End> {
        if let Err(error) = self.say(&text) {
            say_error(&self.connection.outbox, &error);
        }
        Ok(())
    }

    /// Passes on what others say.
    async fn serve(&mut self) -> News {
        loop {
            let (outbox, frames) = (&self.connection.outbox, &mut self.inbox.frames);
            let next = async {
                outbox.room().await;
                if outbox.is_ending() { None } else { frames.recv().await }
            };
            let frame = tokio::select! {
                biased;
                _ = &mut self.inbox.cut => return News::CutOff,
                frame = next => frame,
            };
            let Some(frame) = frame else { return News::Ending };
            self.inbox.set_taken(&frame);
            outbox.send(frame);
        }
    }

    async fn react(&mut self, news: News) -> Result<(), End> {
        match news {
            News::CutOff => Err(End::new(CloseCode::TryAgain, "too slow for what is said here; come back")),
            // The session sees why.
            News::Ending => Ok(()),
        }
    }

    fn beat(&mut self) -> Option<String> {
        None
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let announce =
            |presence: &Presence| wording::movement("user_left", &self.place, &self.person, presence);
        self.connection.realtime.bus.leave(&self.project, &self.place, self.number, &announce);
    }
}

fn parse_entering(place: &Place, first: &First) -> Result<Entering, End> {
    let Place::Room(id) = place else { return Ok(Entering::Join) };
    if id.is_empty() || id.len() > MAX_NAME {
        return Err(refused(format!("a room's id has 1 to {MAX_NAME} bytes")));
    }
    match first.action.as_ref() {
        Some(Value::String(action)) if action == "create" => {}
        Some(Value::String(action)) if action == "join" => return Ok(Entering::Join),
        _ => return Err(refused("`action` is create or join")),
    }
    match first.room_title.as_ref() {
        None => Ok(Entering::Create { title: id.clone() }),
        Some(Value::String(title)) if title.len() <= MAX_TITLE => {
            Ok(Entering::Create { title: title.clone() })
        }
        Some(_) => Err(refused(format!("`room_title` is a string of at most {MAX_TITLE} bytes"))),
    }
}

fn parse_user_id(value: Option<&Value>) -> Result<Arc<str>, End> {
    match value {
        Some(Value::Number(number)) => Ok(number.to_string().into()),
        other => parse_text("user_id", other, "anonymous"),
    }
}

fn parse_user_name(value: Option<&Value>) -> Result<Arc<str>, End> {
    parse_text("user_name", value, "Anonymous")
}

/// Parses a short text of a client, and returns it as JSON.
fn parse_text(member: &str, value: Option<&Value>, default: &str) -> Result<Arc<str>, End> {
    match value {
        None => Ok(quoted(default).into()),
        Some(Value::String(text)) if text.len() <= MAX_NAME => Ok(quoted(text).into()),
        Some(_) => Err(refused(format!("`{member}` is a string of at most {MAX_NAME} bytes"))),
    }
}
