//! The messages of a live stream, as types.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Cursor, sse::Block};

/// A message of a live stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The `id` of the WebSocket subscription that the message is for. `None` if the subscription has no id, as on SSE.
    pub subscription: Option<String>,
    /// Where the subscription stands after this message: the place to resume from.
    ///
    /// Messages of a snapshot have none, because a snapshot that was cut must begin anew.
    pub cursor: Option<Cursor>,
    /// The content of the message.
    pub content: Content,
}

/// The content of a [`Message`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A subscription with an id has begun. With a cursor, every change after it will come; without, a snapshot comes first.
    Subscribed {
        /// The collection that is watched.
        collection: String,
    },
    /// A page of a snapshot. Each document comes once.
    Snapshot(Vec<Document>),
    /// The snapshot is complete: with the events that came since its last page, it is the query's result at the cursor.
    Ready,
    /// A document was created, updated or deleted, as the subscription sees it.
    Event(Event),
    /// No event for a while. The cursor has moved on.
    Progress,
    /// The client's view can't be brought up to date.
    ///
    /// With [`Message::cursor`], an SSE stream goes on from there and the events before it are lost. Without one, a snapshot
    /// follows if the subscription asked for it.
    Resync {
        /// `CURSOR_EXPIRED`, `INVALID_CURSOR` or `RIGHTS_CHANGED`.
        code: String,
        /// A sentence that explains the code.
        message: String,
    },
    /// The server refused something.
    Error {
        /// The error code, such as `INVALID_COLLECTION`.
        code: String,
        /// A sentence that explains the code.
        message: String,
    },
    /// The answer to a ping message of a WebSocket.
    Pong,
    /// A message of a type that this version doesn't know.
    Other(String),
}

/// A change of a document in the set that a subscription sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name of the document's collection.
    pub collection: String,
    /// Whether the document entered the set, changed in it, or left it.
    pub kind: EventKind,
    /// Why; only subscriptions with an id are told.
    pub reason: Option<Reason>,
    /// The document after the change. For [`EventKind::Deleted`], as it was last in the set.
    pub document: Document,
}

/// How an event changes the set of documents that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The document is now in the set.
    Created,
    /// The document was in the set, and stays.
    Updated,
    /// The document is no longer in the set.
    Deleted,
}

/// Why a document entered the set, changed in it, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// It was created or changed.
    Written,
    /// It began to match the filter.
    Entered,
    /// It ceased to match the filter.
    Left,
    /// It was deleted.
    Removed,
}

/// A document, as lists and live streams show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Unique in its collection.
    pub id: String,
    /// The JSON object that was written.
    pub data: Value,
    /// RFC 3339, in UTC.
    pub created_at: String,
    /// RFC 3339, in UTC. Events have it only on a subscription with an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// 1 at first, and one more with each write. Events have it only on a subscription with an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Document {
    /// Reads the data as a type of yours.
    ///
    /// # Errors
    /// If the data doesn't fit the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.data)
    }
}

/// Text that is no message of a live stream.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not an object with the members that all messages have.
    #[error("a message is not valid: {0}")]
    Invalid(#[from] serde_json::Error),
    /// A member that this type of message needs is missing.
    #[error("a message of type `{kind}` lacks the member `{member}`")]
    Missing {
        /// The message's `type`.
        kind: String,
        /// The member's name.
        member: &'static str,
    },
}

/// All members that messages have.
#[derive(Deserialize)]
struct Members {
    #[serde(rename = "type")]
    kind: String,
    /// An error repeats whatever `id` a client sent.
    id: Option<Value>,
    cursor: Option<Cursor>,
    collection: Option<String>,
    event: Option<EventKind>,
    reason: Option<Reason>,
    document: Option<Document>,
    documents: Option<Vec<Document>>,
    code: Option<String>,
    message: Option<String>,
    /// What to do, where the message is fixed.
    hint: Option<String>,
}

impl Message {
    /// Reads the text of a WebSocket message.
    ///
    /// ```
    /// use coir_client::{Content, Message};
    ///
    /// let message = Message::from_json(r#"{"type":"progress","id":"books","cursor":"AUN1"}"#)?;
    /// assert_eq!(message.subscription.as_deref(), Some("books"));
    /// assert_eq!(message.content, Content::Progress);
    /// # Ok::<_, coir_client::MessageError>(())
    /// ```
    ///
    /// # Errors
    /// [`MessageError`] if the text isn't a message of the protocol.
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let members: Members = serde_json::from_str(text)?;
        let subscription = match &members.id {
            Some(Value::String(id)) => Some(id.clone()),
            _ => None,
        };
        let cursor = members.cursor.clone();
        Ok(Self { subscription, cursor, content: members.into_content()? })
    }

    /// Reads a block of server-sent events. `None` if the block says nothing about the subscription, such as `retry`.
    ///
    /// A block with an id and no data is [`Content::Progress`]: it moves the cursor.
    ///
    /// # Errors
    /// [`MessageError`] if the data isn't a message of the protocol.
    pub fn from_block(block: &Block<'_>) -> Result<Option<Self>, MessageError> {
        let id = block.id.as_deref().filter(|id| !id.is_empty()).map(Cursor::from);
        let Some(data) = block.data.as_deref() else {
            let progress =
                |cursor| Self { subscription: None, cursor: Some(cursor), content: Content::Progress };
            return Ok(id.map(progress));
        };
        let mut message = Self::from_json(data)?;
        message.cursor = id.or(message.cursor);
        Ok(Some(message))
    }
}

impl Members {
    fn into_content(self) -> Result<Content, MessageError> {
        let kind = self.kind;
        let missing = |member| MessageError::Missing { kind: kind.clone(), member };
        Ok(match kind.as_str() {
            "subscribed" => {
                Content::Subscribed { collection: self.collection.ok_or_else(|| missing("collection"))? }
            }
            "snapshot" => Content::Snapshot(self.documents.ok_or_else(|| missing("documents"))?),
            "ready" => Content::Ready,
            "event" => Content::Event(Event {
                collection: self.collection.ok_or_else(|| missing("collection"))?,
                kind: self.event.ok_or_else(|| missing("event"))?,
                reason: self.reason,
                document: self.document.ok_or_else(|| missing("document"))?,
            }),
            "progress" => Content::Progress,
            "resync" => Content::Resync {
                code: self.code.ok_or_else(|| missing("code"))?,
                message: self.message.unwrap_or_default(),
            },
            "error" => Content::Error {
                code: self.code.ok_or_else(|| missing("code"))?,
                message: match (self.message.unwrap_or_default(), self.hint) {
                    (message, Some(hint)) => format!("{message}; {hint}"),
                    (message, None) => message,
                },
            },
            "pong" => Content::Pong,
            _ => Content::Other(kind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Parser;
    use serde_json::json;

    fn content(text: &str) -> Content {
        Message::from_json(text).unwrap().content
    }

    #[test]
    fn every_message_of_the_protocol_is_read() {
        let event = r#"{"type":"event","id":"s1","collection":"posts","event":"deleted","reason":"left","cursor":"c",
            "document":{"id":"a","data":{"n":1},"createdAt":"x","updatedAt":"y","version":3}}"#;
        let document = Document {
            id: "a".to_owned(),
            data: json!({ "n": 1 }),
            created_at: "x".to_owned(),
            updated_at: Some("y".to_owned()),
            version: Some(3),
        };
        let expected = Event {
            collection: "posts".to_owned(),
            kind: EventKind::Deleted,
            reason: Some(Reason::Left),
            document: document.clone(),
        };
        let message = Message::from_json(event).unwrap();
        assert_eq!(
            (message.subscription.as_deref(), &message.cursor),
            (Some("s1"), &Some(Cursor::from("c")))
        );
        assert_eq!(message.content, Content::Event(expected));

        let page = r#"{"type":"snapshot","documents":[{"id":"a","data":{"n":1},"createdAt":"x","updatedAt":"y","version":3}]}"#;
        assert_eq!(content(page), Content::Snapshot(vec![document]));
        let subscribed = Content::Subscribed { collection: "posts".to_owned() };
        let refusal = ("CURSOR_EXPIRED".to_owned(), "pruned".to_owned());
        let cases = [
            (r#"{"type":"subscribed","id":"s1","collection":"posts","cursor":"c"}"#, subscribed),
            (r#"{"type":"ready","cursor":"c"}"#, Content::Ready),
            (r#"{"type":"progress","id":"s1","cursor":"c"}"#, Content::Progress),
            (
                r#"{"type":"resync","code":"CURSOR_EXPIRED","message":"pruned"}"#,
                Content::Resync { code: refusal.0.clone(), message: refusal.1.clone() },
            ),
            (
                r#"{"type":"error","code":"CURSOR_EXPIRED","message":"pruned","id":7}"#,
                Content::Error { code: refusal.0, message: refusal.1 },
            ),
            (
                r#"{"type":"error","code":"C","message":"m","hint":"h"}"#,
                Content::Error { code: "C".to_owned(), message: "m; h".to_owned() },
            ),
            (r#"{"type":"pong"}"#, Content::Pong),
            (r#"{"type":"news","of":"tomorrow"}"#, Content::Other("news".to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(content(text), expected, "{text}");
        }
    }

    #[test]
    fn text_that_is_no_message_is_refused_with_a_sentence() {
        let cases = [
            ("{", "a message is not valid"),
            ("[]", "a message is not valid"),
            (r#"{"cursor":"c"}"#, "missing field `type`"),
            (r#"{"type":"event","collection":"posts","event":"moved"}"#, "unknown variant `moved`"),
            (r#"{"type":"event","collection":"posts","event":"created"}"#, "lacks the member `document`"),
            (r#"{"type":"snapshot"}"#, "a message of type `snapshot` lacks the member `documents`"),
        ];
        for (text, expected) in cases {
            let error = Message::from_json(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_id_of_a_block_is_the_cursor() {
        let mut parser = Parser::new();
        parser.push(b"retry: 1000\n\n: heartbeat\n\nid: 5\n\nid: 6\nevent: ready\ndata: {\"type\":\"ready\",\"cursor\":\"6\"}\n\n");
        parser.push(b"id: \nevent: resync\ndata: {\"type\":\"resync\",\"code\":\"CURSOR_EXPIRED\"}\n\n");
        let mut next = || Message::from_block(&parser.next_block().unwrap()).unwrap();
        assert_eq!((next(), next()), (None, None));
        let cursors = [next(), next(), next()].map(|message| message.unwrap().cursor);
        assert_eq!(cursors, [Some("5".into()), Some("6".into()), None]);
    }
}
