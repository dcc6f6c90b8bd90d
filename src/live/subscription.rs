//! One subscription, and what its client is told about it.

use std::rc::Rc;

use crate::{
    domain::cursor::Cursor,
    hub::{Delivery, Outbox},
    live::resume::Lost,
    wire::{NamedHead, messages},
};

/// A client's standing interest in the documents of a collection that match a filter. Cheap to clone.
#[derive(Clone)]
pub struct Subscription {
    /// Its state inside the shard. There is none beside it, since there may be a million subscriptions.
    pub delivery: Rc<Delivery>,
}

impl Subscription {
    /// Makes a subscription that has yet to begin.
    pub fn new(delivery: Delivery) -> Self {
        Self { delivery: Rc::new(delivery) }
    }

    /// Whether this is the same subscription.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.delivery, &other.delivery)
    }

    /// Returns the `id` that its client chose. `None` for a plain subscription, and on SSE.
    pub fn id(&self) -> Option<String> {
        self.delivery.head().map(NamedHead::id)
    }

    /// Whether its client is sent cursors. Only such a client can be told to start anew.
    pub fn is_resumable(&self) -> bool {
        self.delivery.form.says_position()
    }

    /// Whether a snapshot must be sent, or sent to its end.
    pub fn needs_snapshot(&self) -> bool {
        self.delivery.is_in_snapshot()
    }

    /// Begins a snapshot, or begins it anew. Until it is ready, nothing that is sent has a cursor.
    pub fn begin_snapshot(&self) {
        self.delivery.set_in_snapshot(true);
    }

    /// Ends a snapshot: tells the client that its view is the result of its query at the current position.
    pub fn end_snapshot(&self) {
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

    /// Tells the client of a named subscription that it has begun, and that its collection doesn't exist yet.
    pub fn say_waiting(&self) {
        if let Some(id) = self.id() {
            let cursor = self.delivery.shown_cursor().map(|cursor| cursor.encode(&self.delivery.project));
            self.outbox().send(messages::waiting(&id, &self.delivery.label, cursor.as_deref()));
        }
    }

    /// Sends the snapshot of a collection that doesn't exist, up to `ready`.
    pub fn send_empty_snapshot(&self) {
        self.outbox().send(messages::snapshot(self.delivery.form, self.id().as_deref(), &[]));
        self.end_snapshot();
    }

    /// Tells the client that its view can't be brought up to date. The message has the cursor of the log's end, unless a
    /// snapshot follows.
    pub fn say_resync(&self, lost: Lost, end: Cursor) {
        let cursor = (!self.delivery.wants_snapshot).then(|| end.encode(&self.delivery.project));
        let (form, message) = (self.delivery.form, lost.message());
        let frame = messages::resync(form, self.id().as_deref(), lost.code(), &message, cursor.as_deref());
        self.outbox().send(frame);
    }

    /// Tells the client that its snapshot was interrupted, and begins anew.
    pub fn say_interrupted(&self) {
        let (form, lost) = (self.delivery.form, Lost::Interrupted);
        let frame = messages::resync(form, self.id().as_deref(), lost.code(), &lost.message(), None);
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
        self.outbox().send(messages::error(self.delivery.form, code, message, None, id.as_ref()));
    }

    fn outbox(&self) -> &Rc<Outbox> {
        self.delivery.outbox()
    }
}
