//! Finds the filters that match a document. The cost grows with the number of matches, and not with that of subscriptions.
//!
//! Equal filters are one filter with many recipients. A filter is anchored on a value that a document must have to match it:
//! one of the values of an equality, an element of a list, or a value beyond a threshold. For each document, every field
//! that an anchor uses is looked up once. Filters without an anchor are the residue: each of them is asked about each
//! document, so their number is limited.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as HashEntry},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use serde_json::Value;
use slab::Slab;

use crate::{
    domain::Document,
    hub::SubscriptionId,
    query::{Field, Filter, key::Key},
    wire::Form,
};

/// The most filters of a collection that are asked about every document.
const MAX_RESIDUE: usize = 10_000;

/// The residue is full, so that a filter without an anchor can't be added.
#[derive(Debug, PartialEq, Eq)]
pub struct ResidueFull;

/// A subscription that gets the events of a filter.
#[derive(Clone, Debug)]
pub struct Recipient {
    pub id: SubscriptionId,
    /// How its events are written.
    pub form: Form,
    /// The collection's name in its events.
    pub label: Arc<str>,
}

/// The filters of one collection's subscriptions.
#[derive(Default)]
pub struct FilterIndex {
    filters: Slab<Interned>,
    by_filter: HashMap<Arc<Filter>, usize>,
    /// The filters that are anchored on a value, by the hash of kind, field and value.
    postings: HashMap<u64, Vec<usize>>,
    /// How many anchors use the values, or the elements, of a field.
    posting_fields: HashMap<(Kind, Field), usize>,
    thresholds: HashMap<Field, Thresholds>,
    residue: Vec<usize>,
    /// The filter of each recipient, and its index in the filter's list.
    places: HashMap<SubscriptionId, (usize, usize)>,
    hasher: RandomState,
}

struct Interned {
    filter: Arc<Filter>,
    /// A document that matches the filter has at least one of these. `None` puts the filter into the residue.
    anchors: Option<Vec<Anchor>>,
    recipients: Vec<Recipient>,
}

/// How a value is found in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// It is the field's value. Null also stands for a missing field.
    Value,
    /// It is an element of the list in the field.
    Element,
}

/// The side of a bound on which the wanted values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Those that are not less.
    Least,
    /// Those that are not more.
    Most,
}

/// A property that a document must have for a filter to be asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Anchor {
    Posting(Kind, Field, Value),
    /// A number or string beyond a bound, or equal to it.
    Threshold(Field, Side, Key),
}

/// The thresholds of one field, and the filters anchored there.
#[derive(Default)]
struct Thresholds {
    /// Values must not be less than these.
    least: BTreeMap<Key, Vec<usize>>,
    /// Values must not be more than these.
    most: BTreeMap<Key, Vec<usize>>,
}

impl Thresholds {
    fn side(&mut self, side: Side) -> &mut BTreeMap<Key, Vec<usize>> {
        match side {
            Side::Least => &mut self.least,
            Side::Most => &mut self.most,
        }
    }

    /// Returns the filters whose bound a value reaches.
    fn reached(&self, key: Key) -> impl Iterator<Item = &usize> {
        // Bounds are numbers and strings, and each is for values of its own type.
        let (first, end) = match &key {
            Key::Number(_) => (Key::Null, Key::Text(String::new())),
            Key::Text(_) => (Key::Text(String::new()), Key::False),
            _ => (Key::Null, Key::Null),
        };
        let is_ordered = matches!(key, Key::Number(_) | Key::Text(_));
        let least = is_ordered.then(|| self.least.range(first..=key.clone()));
        let most = is_ordered.then(|| self.most.range(key..end));
        least.into_iter().flatten().chain(most.into_iter().flatten()).flat_map(|(_, filters)| filters)
    }
}

impl FilterIndex {
    /// Whether it has no recipients.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a recipient of the events of `filter`.
    ///
    /// # Errors
    /// [`ResidueFull`] if the filter has no anchor and there are too many of those.
    pub fn insert(&mut self, filter: &Arc<Filter>, recipient: Recipient) -> Result<(), ResidueFull> {
        let key = match self.by_filter.get(filter) {
            Some(key) => *key,
            None => self.intern(filter)?,
        };
        let recipients = &mut self.filters[key].recipients;
        self.places.insert(recipient.id, (key, recipients.len()));
        recipients.push(recipient);
        Ok(())
    }

    /// Removes a recipient. It is no error if there is none.
    pub fn remove(&mut self, id: SubscriptionId) {
        let Some((key, place)) = self.places.remove(&id) else { return };
        let recipients = &mut self.filters[key].recipients;
        recipients.swap_remove(place);
        if let Some(moved) = recipients.get(place) {
            self.places.insert(moved.id, (key, place));
        }
        if recipients.is_empty() {
            self.forget(key);
        }
    }

    /// Returns all recipients.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.filters.iter().flat_map(|(_, interned)| &interned.recipients)
    }

    /// Returns the filters that match `document`, each once, in no order.
    pub fn matching(&self, document: &Document) -> Vec<usize> {
        let mut candidates = self.residue.clone();
        for (kind, field) in self.posting_fields.keys() {
            let value = field.value_in(document);
            let value = value.as_deref().unwrap_or(&Value::Null);
            let values = match (kind, value) {
                (Kind::Value, value) => std::slice::from_ref(value),
                (Kind::Element, Value::Array(elements)) => elements,
                (Kind::Element, _) => &[],
            };
            for value in values {
                candidates
                    .extend(self.postings.get(&self.posting_hash(*kind, field, value)).into_iter().flatten());
            }
        }
        for (field, thresholds) in &self.thresholds {
            candidates.extend(thresholds.reached(Key::of(field.value_in(document).as_deref())));
        }
        // A filter with alternatives may have several anchors.
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|key| self.filters[*key].filter.matches(document));
        candidates
    }

    /// Returns the recipients of a filter that [`FilterIndex::matching`] returned.
    pub fn recipients_of(&self, key: usize) -> &[Recipient] {
        &self.filters[key].recipients
    }

    fn intern(&mut self, filter: &Arc<Filter>) -> Result<usize, ResidueFull> {
        let anchors = self.choose_anchors(filter).map(|(_, anchors)| anchors);
        if anchors.is_none() && self.residue.len() >= MAX_RESIDUE {
            return Err(ResidueFull);
        }
        let key = self.filters.insert(Interned {
            filter: filter.clone(),
            anchors: anchors.clone(),
            recipients: Vec::new(),
        });
        self.by_filter.insert(filter.clone(), key);
        match anchors {
            None => self.residue.push(key),
            Some(anchors) => anchors.into_iter().for_each(|anchor| self.enter(anchor, key)),
        }
        Ok(key)
    }

    fn enter(&mut self, anchor: Anchor, key: usize) {
        match anchor {
            Anchor::Posting(kind, field, value) => {
                let hash = self.posting_hash(kind, &field, &value);
                self.postings.entry(hash).or_default().push(key);
                *self.posting_fields.entry((kind, field)).or_default() += 1;
            }
            Anchor::Threshold(field, side, bound) => {
                let thresholds = self.thresholds.entry(field).or_default();
                thresholds.side(side).entry(bound).or_default().push(key);
            }
        }
    }

    /// Returns the anchors of a filter, with the number of filters that have the same ones. Of several terms that must all
    /// hold, it takes the one that fewest filters are anchored on.
    fn choose_anchors(&self, filter: &Filter) -> Option<(usize, Vec<Anchor>)> {
        let posting = |kind, field: &Field, values: &[Value]| {
            let length =
                |value| self.postings.get(&self.posting_hash(kind, field, value)).map_or(0, Vec::len);
            let cost = values.iter().map(length).sum();
            (cost, values.iter().map(|value| Anchor::Posting(kind, field.clone(), value.clone())).collect())
        };
        match filter {
            Filter::And(terms) => {
                terms.iter().filter_map(|term| self.choose_anchors(term)).min_by_key(|(cost, _)| *cost)
            }
            Filter::Or(terms) => {
                let each = terms.iter().map(|term| self.choose_anchors(term)).collect::<Option<Vec<_>>>()?;
                let (costs, anchors): (Vec<_>, Vec<_>) = each.into_iter().unzip();
                Some((costs.iter().sum(), anchors.concat()))
            }
            Filter::Equals(field, values) => Some(posting(Kind::Value, field, values)),
            Filter::HasElement(field, values) => Some(posting(Kind::Element, field, values)),
            Filter::Compares(field, comparison, values) => {
                let side = if comparison.is_upwards() { Side::Least } else { Side::Most };
                let cost = self.thresholds.get(field).map_or(0, |thresholds| match side {
                    Side::Least => thresholds.least.len(),
                    Side::Most => thresholds.most.len(),
                });
                let anchor = |value| Anchor::Threshold(field.clone(), side, Key::of(Some(value)));
                Some((cost, values.iter().map(anchor).collect()))
            }
            Filter::Not(_) | Filter::HasText(..) => None,
        }
    }

    fn forget(&mut self, key: usize) {
        let interned = self.filters.remove(key);
        self.by_filter.remove(&interned.filter);
        match interned.anchors {
            None => self.residue.retain(|other| *other != key),
            Some(anchors) => anchors.iter().for_each(|anchor| self.leave(anchor, key)),
        }
    }

    fn leave(&mut self, anchor: &Anchor, key: usize) {
        match anchor {
            Anchor::Posting(kind, field, value) => {
                let hash = self.posting_hash(*kind, field, value);
                take_out(self.postings.entry(hash), key);
                if let HashEntry::Occupied(mut count) = self.posting_fields.entry((*kind, field.clone())) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
            Anchor::Threshold(field, side, bound) => {
                let HashEntry::Occupied(mut thresholds) = self.thresholds.entry(field.clone()) else {
                    return;
                };
                let bounds = thresholds.get_mut().side(*side);
                if let Some(filters) = bounds.get_mut(bound) {
                    filters.retain(|other| *other != key);
                    if filters.is_empty() {
                        bounds.remove(bound);
                    }
                }
                if thresholds.get().least.is_empty() && thresholds.get().most.is_empty() {
                    thresholds.remove();
                }
            }
        }
    }

    fn posting_hash(&self, kind: Kind, field: &Field, value: &Value) -> u64 {
        self.hasher.hash_one((kind, field, value))
    }
}

fn take_out(entry: HashEntry<'_, u64, Vec<usize>>, key: usize) {
    if let HashEntry::Occupied(mut posting) = entry {
        posting.get_mut().retain(|other| *other != key);
        if posting.get().is_empty() {
            posting.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::{Data, DocumentId, Timestamp},
        query::parse::{Typing, parse_value},
    };

    fn document(data: Value) -> Document {
        Document {
            id: DocumentId::parse("a").unwrap(),
            data: Data::from_value(data).unwrap(),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            version: 1,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            "[ab]".prop_map(Value::from),
            prop::collection::vec((0..3_i64).prop_map(Value::from), 0..3).prop_map(Value::from),
        ]
    }

    fn fields() -> impl Strategy<Value = Value> {
        prop::collection::hash_map("[xyz]", value(), 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    fn filter() -> impl Strategy<Value = Value> {
        let ordered = prop_oneof![(0..3_i64).prop_map(Value::from), "[ab]".prop_map(Value::from)];
        let term = prop_oneof![
            ("[xyz](__ne|__array_contains)?", value()),
            ("[xyz]__(gt|gte|lt|lte)", ordered),
            ("[xyz]__in", prop::collection::vec(value(), 0..3).prop_map(Value::from)),
            ("[xyz]__contains", "[ab]".prop_map(Value::from)),
        ];
        let object =
            prop::collection::vec(term, 0..3).prop_map(|terms| Value::Object(terms.into_iter().collect()));
        object.prop_recursive(3, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|members| serde_json::json!({ "$or": members })),
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|members| serde_json::json!({ "$and": members })),
                inner.prop_map(|member| serde_json::json!({ "$not": member })),
            ]
        })
    }

    proptest! {
        /// The index finds exactly those filters that match when each is asked, also after others were removed.
        #[test]
        fn the_index_agrees_with_asking_every_filter(
            filters in prop::collection::vec(filter(), 0..30), removed in prop::collection::vec(any::<bool>(), 30),
            data in fields(),
        ) {
            let mut index = FilterIndex::default();
            let filters: Vec<_> = filters.into_iter().map(|json| Arc::new(parse_value(json, Typing::Typed).unwrap())).collect();
            let id = |place: usize| SubscriptionId { shard: 0, serial: place as u64 };
            for (place, filter) in filters.iter().enumerate() {
                let recipient = Recipient { id: id(place), form: Form::Sse, label: "c".into() };
                index.insert(filter, recipient).unwrap();
            }
            for (place, gone) in removed.iter().enumerate() {
                if *gone { index.remove(id(place)); }
            }
            let document = document(data);
            let keys = index.matching(&document);
            let mut found: Vec<_> =
                keys.iter().flat_map(|key| index.recipients_of(*key)).map(|s| s.id.serial as usize).collect();
            found.sort_unstable();
            let expected: Vec<_> = filters.iter().enumerate()
                .filter(|(place, filter)| !removed[*place] && filter.matches(&document))
                .map(|(place, _)| place).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_index_that_everyone_left_is_empty() {
        let mut index = FilterIndex::default();
        let json = serde_json::json!({ "$or": [{ "a": 1 }, { "b__gt": 1 }, { "c__array_contains": 1 }] });
        for json in [json, serde_json::json!({ "a__contains": "x" })] {
            let filter = Arc::new(parse_value(json, Typing::Typed).unwrap());
            let id = SubscriptionId { shard: 0, serial: 1 };
            index.insert(&filter, Recipient { id, form: Form::Sse, label: "c".into() }).unwrap();
            index.remove(id);
            assert!(index.is_empty() && index.postings.is_empty() && index.posting_fields.is_empty());
            assert!(index.by_filter.is_empty() && index.filters.is_empty());
            assert!(index.thresholds.is_empty() && index.residue.is_empty());
        }
    }

    #[test]
    fn only_filters_near_a_document_are_candidates() {
        let mut index = FilterIndex::default();
        for n in 0..100_u64 {
            let json = serde_json::json!({ "$or": [{ "room": n }, { "price__gt": n, "price__lt": n }] });
            let filter = Arc::new(parse_value(json, Typing::Typed).unwrap());
            let id = SubscriptionId { shard: 0, serial: n };
            index.insert(&filter, Recipient { id, form: Form::Sse, label: "c".into() }).unwrap();
        }
        assert!(index.residue.is_empty());
        assert_eq!(index.matching(&document(serde_json::json!({ "room": 7, "price": 50 }))).len(), 1);
    }
}
