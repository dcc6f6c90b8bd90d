//! The events of one change: which there are, and who gets each.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    Audience, SubscriptionId,
    filter_index::{FilterIndex, Search},
};
use crate::{
    domain::{Change, Document, ProjectId, cursor::Epoch},
    query::mask::{HiddenFields, Images},
    wire::{Event, EventKind, Form},
};

/// The serials of recipients, by shard.
pub(super) type Targets = Vec<(u32, Vec<u64>)>;

/// The properties that recipients share if they get the same event.
type Distinct<'f> = (EventKind, Form, &'f str, HiddenFields);

/// The search for the filters that match before or after a change.
pub(super) struct FanOut<'f, 'd> {
    index: &'f FilterIndex,
    images: Images<'d>,
    before: Option<Search<'f, 'd>>,
    after: Option<Search<'f, 'd>>,
}

impl<'f, 'd> FanOut<'f, 'd> {
    /// Begins the search.
    pub(super) fn new(index: &'f FilterIndex, images: Images<'d>) -> Self {
        let search = |image: Option<&'d Arc<Document>>| image.map(|document| index.search(document));
        Self { index, images, before: search(images.0), after: search(images.1) }
    }

    /// Asks some more filters. Returns whether all have been asked.
    pub(super) fn step(&mut self) -> bool {
        let step = |search: &mut Option<Search<'_, '_>>| search.as_mut().is_none_or(Search::step);
        step(&mut self.before) && step(&mut self.after)
    }

    /// Returns the recipients of all filters that were found.
    pub(super) fn recipients(self) -> Vec<SubscriptionId> {
        let found = |search: Option<Search<'_, '_>>| search.map(Search::found).unwrap_or_default();
        let keys = kinds(found(self.before), found(self.after));
        keys.iter()
            .flat_map(|(key, _)| self.index.recipients_of(*key))
            .map(|recipient| recipient.id)
            .collect()
    }

    /// Encodes each distinct event that the change is, once, and returns it with its recipients. Recipients share an event if
    /// it is of the same kind, in the same form, calls the collection the same, and hides the same fields.
    pub(super) fn events(
        self,
        (project, epoch): (&ProjectId, Epoch),
        change: &Change,
    ) -> Vec<(Bytes, Targets)> {
        let Self { index, images, before, after } = self;
        let found = |search: Option<Search<'_, '_>>| search.map(Search::found).unwrap_or_default();
        let mut distinct: BTreeMap<Distinct<'_>, BTreeMap<u32, Vec<u64>>> = BTreeMap::new();
        for (key, kind) in kinds(found(before), found(after)) {
            // The recipients of a filter are often those of one audience.
            let mut last: Option<(&Audience, HiddenFields)> = None;
            for recipient in index.recipients_of(key) {
                let audience @ Audience { form, label, .. } = &**recipient.interest;
                let hidden = match &last {
                    Some((known, hidden)) if std::ptr::eq(*known, audience) => hidden.clone(),
                    _ => audience.hidden_in(images),
                };
                last = Some((audience, hidden.clone()));
                let targets = distinct.entry((kind, *form, &**label, hidden)).or_default();
                targets.entry(recipient.id.shard).or_default().push(recipient.id.serial);
            }
        }
        let encoded = distinct.into_iter().filter_map(|((kind, form, label, hidden), targets)| {
            let (before, after) = hidden.strip(images)?;
            let place = (project, epoch, change.position);
            let event = Event::of_change(place, (before.as_ref(), after.as_ref()), kind, label)?;
            Some((form.encode(&event), targets.into_iter().collect()))
        });
        encoded.collect()
    }
}

/// Returns the kind of event that a change is to each filter that matches before or after it, in the order of the filters.
fn kinds(before: Vec<usize>, after: Vec<usize>) -> Vec<(usize, EventKind)> {
    let before = before.into_iter().map(|key| (key, EventKind::Deleted));
    let mut kinds: Vec<_> = before.chain(after.into_iter().map(|key| (key, EventKind::Created))).collect();
    kinds.sort_unstable_by_key(|(key, _)| *key);
    kinds.dedup_by(|other, kind| {
        let is_in_both = other.0 == kind.0;
        if is_in_both {
            kind.1 = EventKind::Updated;
        }
        is_in_both
    });
    kinds
}
