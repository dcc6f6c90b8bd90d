//! A subscription on its worker thread: what it wants, and how far it has been served.

use std::{cell::Cell, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    domain::{
        CollectionId, Position, ProjectId,
        cursor::{Cursor, Epoch},
    },
    hub::{Frame, Outbox},
    query::Filter,
    wire::{Form, NamedHead},
};

/// How a subscription is being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It reads the log, or waits to.
    CatchingUp,
    /// It asked the hub to go live and hasn't heard yet; events are taken already.
    Joining,
    /// The hub sends it every event.
    Live,
    /// Its collection is gone.
    Removed,
    /// The hub has too many filters of its kind.
    Refused,
    /// Its client wants no more of it.
    Ended,
}

/// A subscription on its worker thread: what it wants, and how far it has been served.
///
/// A change is sent if, and only if, its sequence is after the position, which then moves to it. That one comparison
/// removes duplicates wherever log and hub overlap.
pub struct Delivery {
    /// The project.
    pub project: ProjectId,
    /// The collection.
    pub collection: CollectionId,
    /// Which documents.
    pub filter: Arc<Filter>,
    /// How its events are written.
    pub form: Form,
    /// The name or id that it was asked with.
    pub asked_name: Arc<str>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) state: Cell<DeliveryState>,
    /// `None` until it is live for the first time, if it began at "now".
    pub(super) position: Cell<Option<Position>>,
    /// The history that the position is in; known with it.
    pub(super) epoch: Cell<Option<Epoch>>,
    pub(super) serial: Cell<u64>,
    /// What its frames begin with, if it is a named one.
    head: Option<NamedHead>,
    /// In the middle of a snapshot, where nothing that is sent has a cursor.
    is_in_snapshot: Cell<bool>,
    /// Sequence of the last cursor that its client was sent.
    told: Cell<u64>,
    is_catching_up: Cell<bool>,
    has_sent: Cell<bool>,
}

impl Delivery {
    /// A subscription of the documents of `collection` that match, from now on.
    pub fn new(
        (project, collection): (ProjectId, CollectionId),
        filter: Arc<Filter>,
        (form, asked_name): (Form, Arc<str>),
        outbox: Rc<Outbox>,
        head: Option<NamedHead>,
    ) -> Self {
        Self {
            project,
            collection,
            filter,
            form,
            asked_name,
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

    /// Goes on from a cursor, whatever was before.
    pub fn restart_from(&self, cursor: Cursor) {
        self.position.set(Some(cursor.position));
        self.epoch.set(Some(cursor.epoch));
        self.told.set(cursor.position.sequence);
    }

    /// The place up to which it has been served; `None` until it was live.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(Cursor { epoch: self.epoch.get()?, position: self.position.get()? })
    }

    /// The same, as a client may keep it: `None` also in the middle of a snapshot.
    pub fn shown_cursor(&self) -> Option<Cursor> {
        self.cursor().filter(|_| !self.is_in_snapshot())
    }

    /// The place up to which it has been served, if its client doesn't know it.
    pub fn untold_cursor(&self) -> Option<Cursor> {
        self.shown_cursor().filter(|cursor| cursor.position.sequence > self.told.get())
    }

    /// Notes that its client was sent this cursor.
    pub fn set_told(&self, cursor: Cursor) {
        self.told.set(cursor.position.sequence);
    }

    /// Whether it is in the middle of a snapshot.
    pub fn is_in_snapshot(&self) -> bool {
        self.is_in_snapshot.get()
    }

    /// Notes that a snapshot begins or ends.
    pub fn set_in_snapshot(&self, is_in_snapshot: bool) {
        self.is_in_snapshot.set(is_in_snapshot);
    }

    /// The queue that its events go to.
    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    /// How it is being served.
    pub fn state(&self) -> DeliveryState {
        self.state.get()
    }

    /// Up to where it has been served.
    pub fn position(&self) -> Option<Position> {
        self.position.get()
    }

    /// Notes that somebody brings it up to date; false if somebody does already.
    pub fn begin_catching_up(&self) -> bool {
        !self.is_catching_up.replace(true)
    }

    /// Notes that nobody does any more.
    pub fn end_catching_up(&self) {
        self.is_catching_up.set(false);
    }

    /// Whether any event went out.
    pub fn has_sent(&self) -> bool {
        self.has_sent.get()
    }

    /// Whether nothing more is to be sent: it was ended, or its connection is ending.
    pub fn is_over(&self) -> bool {
        self.state() == DeliveryState::Ended || self.outbox.is_ending()
    }

    /// Moves the position forward, past changes that were no events for it; never back.
    pub fn pass(&self, position: Position) {
        if self.position.get().is_none_or(|passed| passed.sequence < position.sequence) {
            self.position.set(Some(position));
        }
    }

    /// Whether a change is after the position, so that it is still to be sent. Log and hub both ask here and nowhere else:
    /// that removes duplicates wherever they overlap.
    pub fn is_before(&self, change: Position) -> bool {
        self.position.get().is_none_or(|passed| passed.sequence < change.sequence)
    }

    /// Sends an encoded event if its change is after the position.
    ///
    /// # Errors
    /// The queue is full, and nothing moved: the length that there must be room for.
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
