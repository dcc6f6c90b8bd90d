//! The wire forms of an event, made once for all who get it. What they look like is `api/realtime`'s business.
//!
//! Of a named subscription's event only the head (the frame's length, and the `id`) is its own; it stands before the rest,
//! which all share.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::{Document, Position, ProjectId, cursor::Epoch};

/// The distinct ways in which one event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// A WebSocket text frame.
    WebSocket,
    /// A block of a server-sent event stream.
    Sse,
    /// The rest of a WebSocket text frame, after the [`Head`] of a named subscription.
    Named,
    /// A WebSocket text frame for the client libraries.
    Library,
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
    /// By what it happened.
    pub reason: Reason,
    /// False in the middle of a snapshot: a stream that is cut there must start anew.
    pub shows_cursor: bool,
    /// The image that is shown.
    pub document: &'a Document,
    /// Of an update, the image before it. The subscriber could see it: it was in the set.
    pub before: Option<&'a Document>,
    /// What its form calls the collection; most forms, as the subscriber did.
    pub collection: &'a str,
}

impl<'a> Event<'a> {
    /// What a change of a document is, from one image to another, to those for whom it is of this kind. It shows its cursor.
    /// `None` if there is no image to show, which is of no kind.
    pub fn of_change(
        (project, epoch, position): (&'a ProjectId, Epoch, Position),
        (before, after): (Option<&'a Arc<Document>>, Option<&'a Arc<Document>>),
        kind: EventKind,
        collection: &'a str,
    ) -> Option<Self> {
        Some(Self {
            project,
            epoch,
            position,
            kind,
            reason: Reason::of(kind, before.is_some(), after.is_some()),
            shows_cursor: true,
            document: if kind == EventKind::Deleted { before } else { after }?,
            before: before.map(|before| &**before).filter(|_| kind == EventKind::Updated),
            collection,
        })
    }
}

/// What a subscriber is told about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A document came into the set.
    Created,
    /// A document stayed in the set.
    Updated,
    /// A document left the set.
    Deleted,
}

/// By what a document came into the set, changed in it, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was made in the set, or written while it was in it.
    Written,
    /// It was there before, and matches now.
    Entered,
    /// It is still there, and matches no longer.
    Left,
    /// It was deleted.
    Removed,
}

impl Reason {
    /// The reason of an event, by whether the document was there before and is there after: the same for everyone who
    /// gets this kind of event about a change.
    pub fn of(kind: EventKind, was_there: bool, is_there: bool) -> Self {
        match kind {
            EventKind::Created if was_there => Self::Entered,
            EventKind::Created | EventKind::Updated => Self::Written,
            EventKind::Deleted if is_there => Self::Left,
            EventKind::Deleted => Self::Removed,
        }
    }
}

/// Writes events; `api/realtime` implements it.
pub trait Encode: Send + Sync + 'static {
    /// The bytes that go to the peer as they are.
    fn encode(&self, event: &Event<'_>, form: Form) -> Bytes;
}

/// What a named subscription's frames begin with; `api/realtime` implements it.
pub trait Head {
    /// The bytes that stand before `rest` bytes of an encoded event.
    fn before(&self, rest: usize) -> Bytes;
}
