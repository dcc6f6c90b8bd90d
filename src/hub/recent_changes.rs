//! A project's most recent changes. A subscription that is only a little behind goes live from them, without reading the log.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    domain::{Change, Position},
    query::mask::HiddenFields,
    wire::{EventKind, Form},
};

/// A subscription that is further behind reads the log, even where the recent changes would reach.
const MAX_REPLAY: u64 = 256;

/// The last changes of a log, in order and without gap, up to its end.
#[derive(Default)]
pub(super) struct RecentChanges {
    /// The position before the first of them.
    begin: Position,
    changes: VecDeque<Recent>,
    /// Of the changes and their events.
    bytes: usize,
    /// Of the encoded events alone.
    encoded_bytes: usize,
}

struct Recent {
    change: Arc<Change>,
    /// The events that this change was to subscriptions that joined after it. All who need the same one share its bytes.
    events: Vec<RecentEvent>,
}

struct RecentEvent {
    kind: EventKind,
    form: Form,
    label: Arc<str>,
    hidden: HiddenFields,
    frame: Bytes,
}

/// An encoded event of a recent change.
pub(super) struct Encoded {
    pub(super) frame: Bytes,
    /// Whether it was encoded for this call. Otherwise its bytes are held already.
    pub(super) is_new: bool,
}

impl RecentChanges {
    /// Adds the next change. Drops the oldest ones while there are too many, or they take more than `max_bytes`.
    pub(super) fn push(&mut self, change: Arc<Change>, max_bytes: usize) {
        self.bytes += change.weight();
        self.changes.push_back(Recent { change, events: Vec::new() });
        while self.bytes > max_bytes || self.changes.len() as u64 > MAX_REPLAY {
            let Some(oldest) = self.changes.pop_front() else { break };
            let events: usize = oldest.events.iter().map(|event| event.frame.len()).sum();
            self.begin = oldest.change.position;
            self.bytes -= oldest.change.weight() + events;
            self.encoded_bytes -= events;
        }
    }

    /// Returns the places of the changes after `position` up to `end`, where the log ends. `None` if they don't reach back that
    /// far, if they are too many, if the position is beyond the end, or if another change has its place. In the last two cases
    /// only the log knows whether the hub is late, or the database was restored.
    pub(super) fn after(&self, position: Position, end: Position) -> Option<Range<usize>> {
        let behind = end.sequence.checked_sub(position.sequence)?;
        let held = self.changes.len() as u64;
        if behind > MAX_REPLAY || behind > held {
            return None;
        }
        let place = (held - behind) as usize;
        let known = place.checked_sub(1).map_or(self.begin, |before| self.changes[before].change.position);
        (known == position).then_some(place..self.changes.len())
    }

    /// Returns the change at a place that [`RecentChanges::after`] returned.
    pub(super) fn at(&self, place: usize) -> &Arc<Change> {
        &self.changes[place].change
    }

    /// Returns the encoded event that the change at `place` is to those who get this kind of event in this form, under this
    /// label, without these fields. It is encoded once. `None` if the encoded events would take more than `max_bytes`, or `encode` returns none.
    pub(super) fn event(
        &mut self,
        place: usize,
        (kind, form, label, hidden): (EventKind, Form, &Arc<str>, &HiddenFields),
        max_bytes: usize,
        encode: impl FnOnce(&Change) -> Option<Bytes>,
    ) -> Option<Encoded> {
        let recent = &mut self.changes[place];
        let is_same = |event: &&RecentEvent| {
            (event.kind, event.form, &event.label, &event.hidden) == (kind, form, label, hidden)
        };
        if let Some(event) = recent.events.iter().find(is_same) {
            return Some(Encoded { frame: event.frame.clone(), is_new: false });
        }
        if self.encoded_bytes >= max_bytes {
            return None;
        }
        let frame = encode(&recent.change)?;
        if self.encoded_bytes > 0 && self.encoded_bytes + frame.len() > max_bytes {
            return None;
        }
        self.bytes += frame.len();
        self.encoded_bytes += frame.len();
        let (label, hidden) = (label.clone(), hidden.clone());
        recent.events.push(RecentEvent { kind, form, label, hidden, frame: frame.clone() });
        Some(Encoded { frame, is_new: true })
    }

    /// Holds no changes, and those to come follow on this position.
    pub(super) fn begin_at(begin: Position) -> Self {
        Self { begin, ..Self::default() }
    }
}
