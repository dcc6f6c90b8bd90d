//! The wire forms of an event, made once for all who get it. What they look like is `api/realtime`'s business.

use bytes::Bytes;

use super::EventKind;
use crate::{
    domain::{Document, Position, ProjectId},
    query::cursor::Epoch,
};

/// The distinct ways in which one event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A WebSocket text frame.
    WebSocket,
    /// A block of a server-sent event stream.
    Sse,
}

/// One event, before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The project whose log it comes from.
    pub project: &'a ProjectId,
    /// That log's history.
    pub epoch: Epoch,
    /// Place of its change in the log.
    pub position: Position,
    /// What happened to the set.
    pub kind: EventKind,
    /// The image that is shown.
    pub document: &'a Document,
    /// The collection, as the subscriber called it.
    pub collection: &'a str,
}

/// Writes events; `api/realtime` implements it.
pub trait Encode: Send + Sync + 'static {
    /// The bytes that go to the peer as they are.
    fn encode(&self, event: &Event<'_>, form: Form) -> Bytes;
}
