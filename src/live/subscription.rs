//! One subscription, and what its client is told about it.

use std::{cell::Cell, rc::Rc};

use crate::{
    domain::cursor::Cursor,
    hub::{Delivery, Outbox},
    live::{error::LiveError, resume::Lost},
    wire::{NamedHead, messages},
};

/// A client's standing interest in the documents of a collection that match a filter.
pub struct Subscription {
    /// Its state inside the shard.
    pub delivery: Rc<Delivery>,
    /// Whether the client asked for a snapshot, which is also sent whenever its view can't be brought up to date.
    pub wants_snapshot: bool,
    needs_snapshot: Cell<bool>,
    held: Rc<FilterBytes>,
}

/// The bytes that the filters of a connection's subscriptions count for, with their ids.
pub struct FilterBytes {
    held: Cell<usize>,
    limit: usize,
}

/// A connection has so many of them for each subscription that it may have. Equal filters of one connection count each.
const FILTER_BYTES: usize = 20 * 1024;
/// The bytes of an `id` that don't count.
const FREE_ID_BYTES: usize = 32;

impl FilterBytes {
    /// Holds nothing yet, for a connection that may have so many subscriptions.
    pub fn new(max_subscriptions: usize) -> Self {
        Self { held: Cell::new(0), limit: max_subscriptions * FILTER_BYTES }
    }
}

impl Subscription {
    /// Makes a subscription that has yet to begin, of the connection that holds these bytes. `replaced` is about to end.
    ///
    /// # Errors
    /// [`LiveError::TooManyBytesOfConnection`] and [`LiveError::TooManyBytes`].
    pub fn new(
        delivery: Delivery,
        wants_snapshot: bool,
        held: &Rc<FilterBytes>,
        replaced: Option<&Self>,
    ) -> Result<Self, LiveError> {
        let (filter, id) = bytes_of(&delivery);
        let limit = held.limit;
        if held.held.get() + filter + id > limit + replaced.map_or(0, Self::bytes) {
            return Err(LiveError::TooManyBytesOfConnection { limit });
        }
        if id > 0 {
            delivery.interest.take(id)?;
        }
        held.held.update(|bytes| bytes + filter + id);
        Ok(Self {
            delivery: Rc::new(delivery),
            wants_snapshot,
            needs_snapshot: Cell::new(false),
            held: held.clone(),
        })
    }

    /// Returns the `id` that its client chose. `None` for a plain subscription, and on SSE.
    pub fn id(&self) -> Option<String> {
        self.delivery.head().map(NamedHead::id)
    }

    fn bytes(&self) -> usize {
        let (filter, id) = bytes_of(&self.delivery);
        filter + id
    }

    /// Whether its client is sent cursors. Only such a client can be told to start anew.
    pub fn is_resumable(&self) -> bool {
        self.delivery.form.says_position()
    }

    /// Whether a snapshot must be sent, or sent to its end.
    pub fn needs_snapshot(&self) -> bool {
        self.needs_snapshot.get()
    }

    /// Begins a snapshot, or begins it anew. Until it is ready, nothing that is sent has a cursor.
    pub fn begin_snapshot(&self) {
        self.needs_snapshot.set(true);
        self.delivery.set_in_snapshot(true);
    }

    /// Ends a snapshot: tells the client that its view is the result of its query at the current position.
    pub fn end_snapshot(&self) {
        self.needs_snapshot.set(false);
        self.delivery.set_in_snapshot(false);
        if let Some(cursor) = self.delivery.cursor() {
            let text = cursor.encode(&self.delivery.project);
            self.outbox().send(messages::ready(self.delivery.form, self.id().as_deref(), &text));
            self.delivery.set_told(cursor);
        }
    }

    /// Tells the client that the subscription has begun, if the form has a message for it.
    pub fn say_begun(&self) {
        let cursor = self.delivery.shown_cursor().map(|cursor| cursor.encode(&self.delivery.project));
        let (form, name) = (self.delivery.form, &self.delivery.label);
        if let Some(frame) = messages::subscribed(form, self.id().as_deref(), name, cursor.as_deref()) {
            self.outbox().send(frame);
        }
    }

    /// Tells the client that its view can't be brought up to date. The message has the cursor of the log's end, unless a
    /// snapshot follows.
    pub fn say_resync(&self, lost: Lost, end: Cursor) {
        let cursor = (!self.wants_snapshot).then(|| end.encode(&self.delivery.project));
        let (form, message) = (self.delivery.form, lost.message());
        let frame = messages::resync(form, self.id().as_deref(), lost.code(), &message, cursor.as_deref());
        self.outbox().send(frame);
    }

    /// Tells the client of a named subscription its position, if the client doesn't know it. Left out when the queue is
    /// full, since the next heartbeat says it again.
    pub fn say_progress(&self) {
        if let (Some(head), Some(cursor)) = (self.delivery.head(), self.delivery.untold_cursor())
            && self.outbox().push(messages::progress(&head.id(), &cursor.encode(&self.delivery.project)))
        {
            self.delivery.set_told(cursor);
        }
    }

    /// Tells the client why it has ended.
    pub fn say_error(&self, code: &str, message: &str) {
        let id = self.id().as_deref().map(serde_json::Value::from);
        self.outbox().send(messages::error(self.delivery.form, code, message, id.as_ref()));
    }

    fn outbox(&self) -> &Rc<Outbox> {
        self.delivery.outbox()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let (filter, id) = bytes_of(&self.delivery);
        if id > 0 {
            self.delivery.interest.give_back(id);
        }
        self.held.held.update(|bytes| bytes - filter - id);
    }
}

/// Returns what a subscription counts for its filter, and for its `id`.
fn bytes_of(delivery: &Delivery) -> (usize, usize) {
    let id = delivery.head().map_or(0, NamedHead::id_bytes);
    (delivery.interest.bytes(), id.saturating_sub(FREE_ID_BYTES))
}
