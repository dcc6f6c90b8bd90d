//! The messages of rooms and of the broadcast, as bytes. Ids and names of people are JSON text already.

use bytes::Bytes;
use serde_json::Value;

use super::bus::{Person, Place, Presence};
use crate::{
    domain::{ProjectId, Timestamp},
    wire::frames::text_frame,
};

/// Tells someone that they have come in.
pub(super) fn welcome(project: &ProjectId, place: &Place, person: &Person, presence: &Presence) -> Bytes {
    let text = match place {
        Place::Broadcast => {
            format!(r#"{{"event":"connected","project_id":"{}","user_id":{}}}"#, project.as_str(), person.id)
        }
        Place::Room(id) => format!(
            r#"{{"event":"joined","room_id":{},"room_title":{},"participants":{},"user_id":{}}}"#,
            quoted(id),
            quoted(&presence.title),
            presence.participants,
            person.id
        ),
    };
    text_frame(text.as_bytes())
}

/// Tells everyone that someone came or went: `kind` is `user_joined` or `user_left`. In the broadcast nobody is told.
pub(super) fn movement(kind: &str, place: &Place, person: &Person, presence: &Presence) -> Option<Bytes> {
    if *place == Place::Broadcast {
        return None;
    }
    let (Person { id, name }, at, room) = (person, Timestamp::now(), room_info(place, presence));
    let text = format!(r#"{{"type":"{kind}","user_id":{id},"user_name":{name},"timestamp":"{at}"{room}}}"#);
    Some(text_frame(text.as_bytes()))
}

/// Tells everyone what someone said: `value` is JSON text.
pub(super) fn message(place: &Place, person: &Person, value: &str, presence: &Presence) -> Bytes {
    let (Person { id, name }, at, room) = (person, Timestamp::now(), room_info(place, presence));
    let member = content_member(place);
    let text = format!(
        r#"{{"type":"message","user_id":{id},"user_name":{name},"timestamp":"{at}","{member}":{value}{room}}}"#
    );
    text_frame(text.as_bytes())
}

/// Returns the member of a message that has what is said.
pub(super) fn content_member(place: &Place) -> &'static str {
    match place {
        Place::Broadcast => "data",
        Place::Room(_) => "content",
    }
}

/// Writes text as JSON.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Writes a member that begins with a comma; nothing for the broadcast.
fn room_info(place: &Place, presence: &Presence) -> String {
    let Place::Room(id) = place else { return String::new() };
    format!(
        r#","room_info":{{"id":{},"title":{},"participants":{}}}"#,
        quoted(id),
        quoted(&presence.title),
        presence.participants
    )
}
