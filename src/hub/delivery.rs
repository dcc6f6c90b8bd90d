//! A subscription's state inside its shard: what it wants, and how far it has been served.

use std::{
    cell::{Cell, RefCell},
    ops::Deref,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    domain::{
        Control, Position,
        cursor::{Cursor, Epoch},
    },
    hub::{Frame, Interest, Outbox, TooManyBytes, interest::SUBSCRIPTION_BYTES, joining::watch_name},
    query::{Filter, rule::Params},
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
    /// Whether the client asked for a snapshot, which is also sent whenever its view can't be brought up to date.
    pub wants_snapshot: bool,
    pub(super) outbox: Rc<Outbox>,
    pub(super) state: Cell<DeliveryState>,
    /// How far it has been served. `None` until it is live for the first time, if it began at "now".
    cursor: Cell<Option<Cursor>>,
    pub(super) serial: Cell<u64>,
    /// The beginning of its frames, if it is a named one.
    head: Option<NamedHead>,
    /// Whether it is in the middle of a snapshot, where nothing that is sent has a cursor.
    is_in_snapshot: Cell<bool>,
    /// The sequence of the last cursor that its client was sent.
    told: Cell<u64>,
    /// What its principal's rights are found with, if that is more than the filter.
    asked: RefCell<Option<Rc<Asked>>>,
    /// The sequence up to which the filter is what the principal's rights make of it.
    checked: Cell<u64>,
    /// Whether the principal's rights may be others by now.
    is_in_doubt: Cell<bool>,
    is_catching_up: Cell<bool>,
    has_sent: Cell<bool>,
}

/// What a subscription was asked for with, where its filter is narrowed by rules.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The filter of the documents that the client wants.
    pub wanted: Arc<Filter>,
    /// The parameters for the rules.
    pub params: Params,
    /// The documents on which the rights depend: at most one filter of each collection.
    pub watched: Vec<Arc<Interest>>,
    /// The bytes of its mask.
    pub mask_bytes: usize,
}

impl Asked {
    /// Returns the bytes of memory that it takes, about.
    fn bytes(&self) -> usize {
        let params = serde_json::to_string(&*self.params).map_or(0, |text| text.len());
        size_of::<Self>() + self.wanted.size().memory + params + self.mask_bytes
    }
}

impl Deref for Delivery {
    type Target = Interest;

    fn deref(&self) -> &Interest {
        &self.interest
    }
}

impl Delivery {
    /// Makes the state of a subscription. It begins now, unless [`Delivery::restart_from`] says otherwise. Its memory counts
    /// for its key until it is dropped.
    ///
    /// # Errors
    /// [`TooManyBytes`] if there is no memory for it.
    pub fn new(
        interest: Arc<Interest>,
        outbox: Rc<Outbox>,
        head: Option<NamedHead>,
        wants_snapshot: bool,
    ) -> Result<Self, TooManyBytes> {
        interest.take(SUBSCRIPTION_BYTES + id_bytes(head.as_ref()))?;
        Ok(Self {
            interest,
            wants_snapshot,
            outbox,
            state: Cell::new(DeliveryState::CatchingUp),
            cursor: Cell::new(None),
            serial: Cell::new(0),
            head,
            is_in_snapshot: Cell::new(false),
            told: Cell::new(0),
            asked: RefCell::default(),
            checked: Cell::new(0),
            is_in_doubt: Cell::new(false),
            is_catching_up: Cell::new(false),
            has_sent: Cell::new(false),
        })
    }

    /// Notes with what it was asked for, and that its filter is what its principal's rights make of that, up to this sequence.
    ///
    /// # Errors
    /// [`TooManyBytes`] if there is no memory for it.
    pub fn bind(&self, asked: Option<Asked>, checked: u64) -> Result<(), TooManyBytes> {
        self.interest.take(asked.as_ref().map_or(0, Asked::bytes))?;
        let before = self.asked.replace(asked.map(Rc::new));
        self.interest.give_back(before.map_or(0, |before| before.bytes()));
        self.trust(checked);
        Ok(())
    }

    /// Returns with what it was asked for. `None` if that is its filter alone.
    pub fn asked(&self) -> Option<Rc<Asked>> {
        self.asked.borrow().clone()
    }

    /// Returns the documents on which its principal's rights depend.
    pub fn watched(&self) -> Vec<Arc<Interest>> {
        self.asked.borrow().as_ref().map_or_else(Vec::new, |asked| asked.watched.clone())
    }

    /// Whether its principal's rights depend on documents.
    pub fn has_watched(&self) -> bool {
        self.asked.borrow().as_ref().is_some_and(|asked| !asked.watched.is_empty())
    }

    /// Returns the sequence up to which its filter is what its principal's rights make of it.
    pub fn checked(&self) -> u64 {
        self.checked.get()
    }

    /// Whether its principal's rights must be asked for before it is sent anything.
    pub fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.get()
    }

    /// Whether its principal's rights may be others after a control entry at this position.
    pub fn is_doubted_by(&self, control: &Control, position: Position) -> bool {
        position.sequence > self.checked()
            && (control.may_change_rights(&self.collection) || watch_name(&self.watched(), control))
    }

    /// Notes that its principal's rights may be others by now.
    pub fn doubt(&self) {
        self.is_in_doubt.set(true);
    }

    /// Notes that nothing is known of its principal's rights: entries that told of them are missing, or are of another history.
    pub fn distrust(&self) {
        self.checked.set(0);
        self.doubt();
    }

    /// Notes that its filter is what its principal's rights make of it, up to this sequence.
    pub fn trust(&self, checked: u64) {
        self.checked.set(checked);
        self.is_in_doubt.set(false);
    }

    /// Returns the bytes that its filter and its `id` count for, beyond [`SUBSCRIPTION_BYTES`].
    pub fn extra_bytes(&self) -> usize {
        self.interest.bytes() + id_bytes(self.head.as_ref())
    }

    /// Goes on from a cursor, whatever the position was.
    pub fn restart_from(&self, cursor: Cursor) {
        self.cursor.set(Some(cursor));
        self.told.set(cursor.position.sequence);
    }

    /// Returns the beginning of its frames, if it is a named one.
    pub fn head(&self) -> Option<&NamedHead> {
        self.head.as_ref()
    }

    /// Returns the cursor up to which it has been served; `None` until it was live.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor.get()
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
        self.cursor.get().map(|cursor| cursor.position)
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
        if let Some(cursor) = self.cursor.get()
            && cursor.position.sequence < position.sequence
        {
            self.cursor.set(Some(Cursor { position, ..cursor }));
        }
    }

    /// Notes that it is live, and was sent everything up to `last`. Returns false if its position is of another epoch.
    pub(super) fn begin_live(&self, epoch: Epoch, last: Position) -> bool {
        let cursor = self.cursor.get().unwrap_or(Cursor { epoch, position: last });
        if cursor.epoch != epoch {
            return false;
        }
        self.cursor.set(Some(cursor));
        self.pass(last);
        true
    }

    /// Whether a change is after the position, and so must still be sent. Log and hub both ask here and nowhere else.
    pub fn is_before(&self, change: Position) -> bool {
        self.position().is_none_or(|passed| passed.sequence < change.sequence)
    }

    /// Sends an encoded event if its change is after the position. The position is known by then: whoever sends has said first
    /// where the subscription begins.
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
        let Some(cursor) = self.cursor.get() else { return Err(rest.len()) };
        let head = self.head.as_ref().map(|head| head.before(rest.len())).unwrap_or_default();
        let frame = Frame { head, rest };
        let length = frame.len();
        if !self.outbox.push(frame) {
            return Err(length);
        }
        self.cursor.set(Some(Cursor { position, ..cursor }));
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

impl Drop for Delivery {
    fn drop(&mut self) {
        let asked = self.asked.get_mut().as_ref().map_or(0, |asked| asked.bytes());
        self.interest.give_back(SUBSCRIPTION_BYTES + id_bytes(self.head.as_ref()) + asked);
    }
}

/// The bytes of an `id` that [`SUBSCRIPTION_BYTES`] has room for.
const FREE_ID_BYTES: usize = 32;

/// Returns the bytes that an `id` takes beyond those that are free.
fn id_bytes(head: Option<&NamedHead>) -> usize {
    head.map_or(0, NamedHead::id_bytes).saturating_sub(FREE_ID_BYTES)
}
