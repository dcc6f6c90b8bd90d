//! One thing that a connection watches, and what its client is told about it.

use std::{cell::Cell, rc::Rc};

use crate::{
    api::error::ApiError,
    domain::cursor::{Cursor, CursorError},
    hub::{Outbox, Slot},
    live::reads::stored::Gone,
    wire::messages,
};

/// Why what a client holds can't be brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The log has no way on from its cursor.
    Expired(Gone),
    /// It fell behind while it was served, and what it needs is not kept any more.
    Behind,
    /// Its cursor is none of this project.
    Invalid(CursorError),
}

impl Lost {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired(_) | Self::Behind => "CURSOR_EXPIRED",
            Self::Invalid(_) => "INVALID_CURSOR",
        }
    }

    /// What has happened, as a sentence for whoever reads the client's log.
    pub fn sentence(self) -> String {
        match self {
            Self::Expired(Gone::Pruned) => "the log is not kept back to this cursor any more",
            Self::Expired(Gone::OtherHistory) => {
                "this cursor is of another history; the database was restored or replaced"
            }
            Self::Expired(Gone::Beyond) => {
                "this cursor is beyond the end of the log; the database was put back to an older copy"
            }
            Self::Expired(Gone::Replaced) => {
                "another change has the place of this cursor; the database was put back to an older copy"
            }
            Self::Behind => "what comes next is not in the log any more",
            Self::Invalid(err) => return err.to_string(),
        }
        .to_owned()
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the end of the log, whatever was before.
    Now,
    /// After a cursor from which the log has everything.
    After(Cursor),
    /// After one from which it hasn't, which is said.
    Lost(Lost),
}

/// One thing that a connection watches.
pub struct Subscription {
    /// Its place in the hub.
    pub slot: Rc<Slot>,
    /// The name that its client gave it; `None` on SSE, and for the one without `id` of its collection.
    pub id: Option<String>,
    /// Whether what can't be brought up to date is followed by a snapshot.
    pub wants_snapshot: bool,
    needs_snapshot: Cell<bool>,
}

impl Subscription {
    /// One that has yet to begin.
    pub fn new(slot: Rc<Slot>, id: Option<String>, wants_snapshot: bool) -> Self {
        Self { slot, id, wants_snapshot, needs_snapshot: Cell::new(false) }
    }

    /// Whether it is told more than events, and so can be told to start anew.
    pub fn is_resumable(&self) -> bool {
        self.slot.form.says_position()
    }

    /// Whether it begins with a snapshot that has not been sent to its end.
    pub fn needs_snapshot(&self) -> bool {
        self.needs_snapshot.get()
    }

    /// Begins a snapshot, also one after another. Until it is ready, nothing that is sent has a cursor.
    pub fn begin_snapshot(&self) {
        self.needs_snapshot.set(true);
        self.slot.set_in_snapshot(true);
    }

    /// Says that the view is the query at the slot's position.
    pub fn end_snapshot(&self) {
        self.needs_snapshot.set(false);
        self.slot.set_in_snapshot(false);
        if let Some(cursor) = self.slot.cursor() {
            self.outbox().send(messages::ready(
                self.slot.form,
                self.id.as_deref(),
                &cursor.encode(&self.slot.project),
            ));
            self.slot.set_told(cursor);
        }
    }

    /// Says that it has begun: on SSE by an `id:`, to a named one by a message, to others by nothing.
    pub fn say_begun(&self) {
        let cursor = self.slot.shown_cursor().map(|cursor| cursor.encode(&self.slot.project));
        let (form, name) = (self.slot.form, &self.slot.asked_name);
        if let Some(frame) = messages::subscribed(form, self.id.as_deref(), name, cursor.as_deref()) {
            self.outbox().send(frame);
        }
    }

    /// Says that what its client holds can't be brought up to date, and where the log ends now, unless a snapshot follows.
    pub fn say_resync(&self, lost: Lost, end: Option<Cursor>) {
        let cursor = end.filter(|_| !self.wants_snapshot).map(|end| end.encode(&self.slot.project));
        let frame = messages::resync(
            self.slot.form,
            self.id.as_deref(),
            lost.as_str(),
            &lost.sentence(),
            cursor.as_deref(),
        );
        self.outbox().send(frame);
    }

    /// Says how far it has come, if it is a named one and its client doesn't know. Left out when the queue is full.
    pub fn say_progress(&self) {
        if let (Some(id), Some(cursor)) = (&self.id, self.slot.untold_cursor())
            && self.outbox().push(messages::progress(id, &cursor.encode(&self.slot.project)))
        {
            self.slot.set_told(cursor);
        }
    }

    /// Says why it has ended.
    pub fn say_error(&self, error: &ApiError) {
        let id = self.id.as_deref().map(serde_json::Value::from);
        self.outbox().send(messages::error(self.slot.form, error.code.as_str(), &error.message, id.as_ref()));
    }

    fn outbox(&self) -> &Rc<Outbox> {
        self.slot.outbox()
    }
}
