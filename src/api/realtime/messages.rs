//! The messages of clients of the documented protocol.

use serde_json::{Map, Value};

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::params::parse_params,
    },
    domain::{json, json_mistake::explain, nearest},
    query::rule::Params,
};

/// The longest `id` of a subscription, in bytes.
const MAX_ID: usize = 128;

/// The most characters of an unknown name that an error repeats.
const MAX_SHOWN: usize = 60;

/// A message of a client.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// Says who is asking.
    Auth {
        /// A key, a user's token or a ticket. Without one, nobody is asking.
        token: Option<String>,
        /// A user's token beside a key.
        user: Option<String>,
    },
    /// Begins a subscription, or replaces the one that has the same name, or without a name the same collection.
    Subscribe {
        /// Name or id.
        collection: String,
        /// JSON filters, if there are any.
        filters: Option<Value>,
        /// Parameters for the rules of the collection, if there are any.
        params: Option<Params>,
        /// The members that only a named subscription has.
        named: Option<Named>,
    },
    /// Ends the subscription without a name of a collection.
    Unsubscribe {
        /// Name or id.
        collection: String,
    },
    /// Ends a named subscription.
    UnsubscribeNamed { id: String },
    /// Asks for a `pong`.
    Ping,
}

/// The members that only a named subscription has.
#[derive(Debug, PartialEq)]
pub struct Named {
    /// The subscription's name on this connection.
    pub id: String,
    /// The cursor to resume from.
    pub since: Option<String>,
    /// Whether the documents that match now are sent first.
    pub wants_snapshot: bool,
}

/// A message that is not valid, or that could not be carried out.
#[derive(Debug)]
pub struct Refusal {
    pub error: ApiError,
    /// The message's `id`, if it had one. The answer carries it.
    pub id: Option<Box<Value>>,
}

/// Parses one text frame. Returns the message, and its `id` if it has one.
///
/// # Errors
/// [`Refusal`] with `INVALID_BODY`. The connection goes on.
pub fn parse_message(text: &str) -> Result<(ClientMessage, Option<Value>), Refusal> {
    let refuse = |message: String, id: Option<Value>| Refusal {
        error: ApiError::new(ErrorCode::InvalidBody, message),
        id: id.map(Box::new),
    };
    let value = json::parse(text.as_bytes())
        .map_err(|err| refuse(format!("the message is not valid: {}", explain(&err)), None))?;
    let Value::Object(mut members) = value else {
        return Err(refuse("a message must be a JSON object with a member `type`".to_owned(), None));
    };
    // A member that is null counts as missing.
    members.retain(|_, value| !value.is_null());
    let id = members.get("id").cloned();
    match parse_members(&mut members) {
        Ok(message) => Ok((message, id)),
        Err(message) => Err(refuse(message, id)),
    }
}

fn parse_members(members: &mut Map<String, Value>) -> Result<ClientMessage, String> {
    let kind = match members.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        _ => return Err("the member `type` of a message must be a string".to_owned()),
    };
    check_members(members, &kind)?;
    Ok(match kind.as_str() {
        "auth" => ClientMessage::Auth {
            token: text_member(members, &kind, "token").ok(),
            user: match members.contains_key("user") {
                true => Some(text_member(members, &kind, "user")?),
                false => None,
            },
        },
        "ping" => ClientMessage::Ping,
        "subscribe" => ClientMessage::Subscribe {
            collection: text_member(members, &kind, "collection")?,
            filters: members.remove("filters"),
            params: parse_params_member(members)?,
            named: parse_named(members)?,
        },
        "unsubscribe" => match parse_id(members)? {
            Some(id) => ClientMessage::UnsubscribeNamed { id },
            None => ClientMessage::Unsubscribe { collection: text_member(members, &kind, "collection")? },
        },
        _ => {
            return Err(
                "unknown message type; `type` must be one of: auth, subscribe, unsubscribe, ping".to_owned()
            );
        }
    })
}

/// Refuses members that no message of this type has: ignored, they would mislead. A subscription with `filter` would see
/// everything.
fn check_members(members: &Map<String, Value>, kind: &str) -> Result<(), String> {
    let known: &[&str] = match kind {
        // A bad token is the same whatever stands beside it.
        "auth" if !members.get("token").is_some_and(Value::is_string) => return Ok(()),
        "auth" => &["type", "token", "user", "id"],
        "ping" => &["type", "id"],
        "subscribe" => &["type", "collection", "filters", "params", "id", "since", "snapshot"],
        "unsubscribe" => &["type", "collection", "id"],
        _ => return Ok(()),
    };
    let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let advice = match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it may have {}", known.join(", ")),
    };
    let unknown: String = unknown.chars().take(MAX_SHOWN).collect();
    Err(format!("a `{kind}` message has no member `{unknown}`; {advice}"))
}

fn parse_params_member(members: &mut Map<String, Value>) -> Result<Option<Params>, String> {
    let Some(params) = members.remove("params") else { return Ok(None) };
    parse_params(params).map(Some).map_err(|why| format!("`params` {why}"))
}

fn parse_named(members: &mut Map<String, Value>) -> Result<Option<Named>, String> {
    let since = match members.remove("since") {
        None => None,
        // Some clients send an empty one when they have none.
        Some(Value::String(since)) => Some(since).filter(|since| !since.is_empty()),
        Some(_) => return Err("`since` must be a cursor, which is a string".to_owned()),
    };
    let wants_snapshot = match members.remove("snapshot") {
        None => false,
        Some(Value::Bool(wants_snapshot)) => wants_snapshot,
        Some(_) => return Err("`snapshot` must be true or false".to_owned()),
    };
    match parse_id(members)? {
        Some(id) => Ok(Some(Named { id, since, wants_snapshot })),
        None if since.is_some() || wants_snapshot => {
            Err("`since` and `snapshot` are only for a subscription with an `id`".to_owned())
        }
        None => Ok(None),
    }
}

fn parse_id(members: &mut Map<String, Value>) -> Result<Option<String>, String> {
    match members.remove("id") {
        None => Ok(None),
        Some(Value::String(id)) if (1..=MAX_ID).contains(&id.len()) => Ok(Some(id)),
        Some(_) => Err(format!("the `id` of a subscription must be a string of 1 to {MAX_ID} bytes")),
    }
}

fn text_member(members: &mut Map<String, Value>, kind: &str, name: &str) -> Result<String, String> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("`{kind}` must have a member `{name}`, which is a string")),
    }
}
