//! The forms in which a stream is written, and everything that differs between them.

use bytes::Bytes;

use super::{
    cocobase,
    event::Event,
    frames::{self, CloseCode},
    sse, websocket,
};
use crate::domain::Collection;

/// A form of a stream: a dialect on a transport. A connection has one. A named subscription has another one than its
/// connection, since its events carry its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// WebSocket text frames of the documented protocol, for subscriptions without `id`.
    WebSocket,
    /// A server-sent event stream.
    Sse,
    /// WebSocket text frames of the documented protocol, for subscriptions with `id`. An encoded event is only the part
    /// after the [`NamedHead`](super::NamedHead), which all subscribers share.
    Named,
    /// WebSocket text frames for the client libraries.
    Library,
    /// The same, where each event also has its cursor, for a watcher that resumes.
    ResumableLibrary,
}

impl Form {
    /// Encodes an event. The bytes can be written to the peer as they are, except for [`Form::Named`].
    pub fn encode(self, event: &Event<'_>) -> Bytes {
        match self {
            Self::WebSocket => websocket::event(event),
            Self::Sse => sse::event(event),
            Self::Named => websocket::named_event(event),
            Self::Library => cocobase::event(event, None),
            Self::ResumableLibrary => cocobase::event(event, Some(&event.cursor())),
        }
    }

    /// Returns what events of this form call `collection`: the name that it was asked with, and for the client libraries
    /// also what their documents repeat of it.
    pub fn label(self, collection: &Collection, asked_name: &str) -> String {
        match self {
            Self::Library | Self::ResumableLibrary => cocobase::label(collection, asked_name),
            Self::WebSocket | Self::Sse | Self::Named => asked_name.to_owned(),
        }
    }

    /// Whether the client is told its position, and so can resume and can be told to start anew.
    pub fn says_position(self) -> bool {
        matches!(self, Self::Sse | Self::Named)
    }

    /// Whether the connection carries exactly one subscription, and ends with it.
    pub fn carries_one_subscription(self) -> bool {
        self == Self::Sse
    }

    /// Whether the client can say something. Where it can't, a peer that takes bytes counts as alive.
    pub fn hears(self) -> bool {
        self != Self::Sse
    }

    /// Encodes a message other than an event. `kind` is its type, which `json` has as well.
    pub(super) fn message(self, kind: &str, json: &str) -> Bytes {
        match self {
            Self::Sse => sse::message(kind, json),
            Self::WebSocket | Self::Named | Self::Library | Self::ResumableLibrary => {
                frames::text_frame(json.as_bytes())
            }
        }
    }

    /// Encodes a message that sets the client's position. An empty position clears `Last-Event-ID`, so that a stream that
    /// is cut afterwards starts anew.
    pub(super) fn message_at(self, position: &str, kind: &str, json: &str) -> Bytes {
        match self {
            Self::Sse => sse::message_at(position, kind, json),
            Self::WebSocket | Self::Named | Self::Library | Self::ResumableLibrary => {
                self.message(kind, json)
            }
        }
    }

    /// Encodes what an idle stream writes, so that both sides find out when the other one is gone. On SSE it also moves
    /// `Last-Event-ID`.
    pub fn heartbeat(self, cursor: Option<&str>) -> Bytes {
        match self {
            Self::Sse => sse::heartbeat(cursor),
            Self::WebSocket | Self::Named | Self::Library | Self::ResumableLibrary => frames::ping_frame(),
        }
    }

    /// Encodes the last bytes of a connection: a close frame. On SSE there are none, since the end of the body says it.
    pub fn close(self, code: CloseCode, reason: &str) -> Option<Bytes> {
        match self {
            Self::Sse => None,
            Self::WebSocket | Self::Named | Self::Library | Self::ResumableLibrary => {
                Some(frames::close_frame(code, reason))
            }
        }
    }
}
