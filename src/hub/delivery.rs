//! A subscription's state inside its shard: what it wants, and how far it has been served.

use std::{cell::Cell, ops::Deref, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    domain::{
        Position,
        cursor::{Cursor, Epoch},
    },
    hub::{Frame, Interest, Outbox},
    wire::NamedHead,
};

/// How a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It reads the log, or is about to.
    CatchingUp,
    /// It asked the hub to go live and has no answer yet. It takes events already.
    Joining,
    /// The hub sends it every event.
    Live,
    /// Its collection was removed.
    Removed,
    /// The hub has too many filters of its kind.
    Refused,
    /// It gets nothing any more.
    Ended,
}

/// A subscription's state inside its shard: what it wants, and how far it has been served.
///
/// A change is sent if, and only if, its sequence is after the position, which then moves to that sequence. This one
/// comparison removes duplicates wherever log and hub overlap.
pub struct Delivery {
    pub interest: Arc<Interest>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) state: Cell<DeliveryState>,
    /// `None` until it is live for the first time, if it began at "now".
    pub(super) position: Cell<Option<Position>>,
    /// The epoch of the position; known with it.
    pub(super) epoch: Cell<Option<Epoch>>,
    pub(super) serial: Cell<u64>,
    /// The beginning of its frames, if it is a named one.
    head: Option<NamedHead>,
    /// Whether it is in the middle of a snapshot, where nothing that is sent has a cursor.
    is_in_snapshot: Cell<bool>,
    /// The sequence of the last cursor that its client was sent.
    told: Cell<u64>,
    is_catching_up: Cell<bool>,
    has_sent: Cell<bool>,
}

impl Deref for Delivery {
    type Target = Interest;

    fn deref(&self) -> &Interest {
        &self.interest
    }
}

impl Delivery {
    /// Makes the state of a subscription. It begins now, unless [`Delivery::restart_from`] says otherwise.
    pub fn new(interest: Arc<Interest>, outbox: Rc<Outbox>, head: Option<NamedHead>) -> Self {
        Self {
            interest,
            outbox,
            state: Cell::new(DeliveryState::CatchingUp),
            position: Cell::new(None),
            epoch: Cell::new(None),
            serial: Cell::new(0),
            head,
            is_in_snapshot: Cell::new(false),
            told: Cell::new(0),
            is_catching_up: Cell::new(false),
            has_sent: Cell::new(false),
        }
    }

    /// Goes on from a cursor, whatever the position was.
    pub fn restart_from(&self, cursor: Cursor) {
        self.position.set(Some(cursor.position));
        self.epoch.set(Some(cursor.epoch));
        self.told.set(cursor.position.sequence);
    }

    /// Returns the beginning of its frames, if it is a named one.
    pub fn head(&self) -> Option<&NamedHead> {
        self.head.as_ref()
    }

    /// Returns the cursor up to which it has been served; `None` until it was live.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor { epoch: self.epoch.get()?, position: self.position.get()? })
    }

    /// Returns the same as a client may keep it: `None` also in the middle of a snapshot.
    pub fn shown_cursor(&self) -> Option<Cursor> {
        self.cursor().filter(|_| !self.is_in_snapshot())
    }

    /// Returns the cursor up to which it has been served, if its client doesn't know it.
    pub fn untold_cursor(&self) -> Option<Cursor> {
        self.shown_cursor().filter(|cursor| cursor.position.sequence > self.told.get())
    }

    /// Notes that its client was sent this cursor.
    pub fn set_told(&self, cursor: Cursor) {
        self.told.set(cursor.position.sequence);
    }

    pub fn is_in_snapshot(&self) -> bool {
        self.is_in_snapshot.get()
    }

    pub fn set_in_snapshot(&self, is_in_snapshot: bool) {
        self.is_in_snapshot.set(is_in_snapshot);
    }

    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    pub fn state(&self) -> DeliveryState {
        self.state.get()
    }

    pub fn position(&self) -> Option<Position> {
        self.position.get()
    }

    /// Notes that a task brings it up to date. Returns false if another one does already.
    pub fn begin_catching_up(&self) -> bool {
        !self.is_catching_up.replace(true)
    }

    /// Notes that no task does any more.
    pub fn end_catching_up(&self) {
        self.is_catching_up.set(false);
    }

    /// Whether it has sent any event.
    pub fn has_sent(&self) -> bool {
        self.has_sent.get()
    }

    /// Whether nothing more must be sent, because it has ended or its connection is ending.
    pub fn is_over(&self) -> bool {
        self.state() == DeliveryState::Ended || self.outbox.is_ending()
    }

    /// Moves the position forward, past changes that are no events for it. Never moves it back.
    pub fn pass(&self, position: Position) {
        if self.position.get().is_none_or(|passed| passed.sequence < position.sequence) {
            self.position.set(Some(position));
        }
    }

    /// Whether a change is after the position, and so must still be sent. Log and hub both ask here and nowhere else.
    pub fn is_before(&self, change: Position) -> bool {
        self.position.get().is_none_or(|passed| passed.sequence < change.sequence)
    }

    /// Sends an encoded event if its change is after the position.
    ///
    /// # Errors
    /// If the queue is full, nothing moves. The error is the length that there must be room for.
    pub fn offer(&self, position: Position, rest: Bytes) -> Result<(), usize> {
        if self.state() == DeliveryState::Ended {
            return Ok(());
        }
        if !self.is_before(position) {
            return Ok(());
        }
        let head = self.head.as_ref().map(|head| head.before(rest.len())).unwrap_or_default();
        let frame = Frame { head, rest };
        let length = frame.len();
        if !self.outbox.push(frame) {
            return Err(length);
        }
        self.position.set(Some(position));
        self.told.set(position.sequence);
        self.has_sent.set(true);
        Ok(())
    }

    pub(super) fn set_state(&self, state: DeliveryState) {
        if self.state() != DeliveryState::Ended {
            self.state.set(state);
            self.outbox.notify();
        }
    }
}
