//! Which subscriptions does a document concern? An index of interned filters, so that the answer costs as much as it has
//! matches, and not as there are subscriptions.
//!
//! Equal filters are one filter with many subscribers. A filter is anchored on one of its equalities: it stands in the
//! posting list of hash (field, value), and a document looks into one list per field that any anchor uses. Filters
//! without an equality are the residue: each is asked about each document, and their number is capped.

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use serde_json::Value;
use slab::Slab;

use super::{Form, SubscriptionId};
use crate::{
    domain::Document,
    query::{Field, Filter},
};

/// The most distinct filters of a collection that are asked about every document.
const MAX_RESIDUE: usize = 10_000;

/// The residue is full.
#[derive(Debug, PartialEq, Eq)]
pub struct ResidueFull;

/// One who gets the events of a filter.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Where they go.
    pub id: SubscriptionId,
    /// How they are written.
    pub form: Form,
    /// Under which name of the collection.
    pub asked_name: Arc<str>,
}

/// The filters of one collection's subscriptions.
#[derive(Default)]
pub struct FilterIndex {
    filters: Slab<Interned>,
    by_filter: HashMap<Arc<Filter>, usize>,
    /// Hash of (field, value) → filters anchored there.
    postings: HashMap<u64, Vec<usize>>,
    /// Fields that anchors use, and how many filters are anchored on each.
    anchor_fields: HashMap<Field, usize>,
    residue: Vec<usize>,
    /// Where each subscriber stands: filter, and place in its list.
    places: HashMap<SubscriptionId, (usize, usize)>,
    hasher: RandomState,
}

struct Interned {
    filter: Arc<Filter>,
    /// Which of the filter's terms it is anchored on.
    anchor: Option<usize>,
    subscribers: Vec<Subscriber>,
}

impl FilterIndex {
    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Enters a subscriber.
    ///
    /// # Errors
    /// [`ResidueFull`] if the filter has no equality and there are too many of that kind.
    pub fn insert(&mut self, filter: &Arc<Filter>, subscriber: Subscriber) -> Result<(), ResidueFull> {
        let key = match self.by_filter.get(filter) {
            Some(key) => *key,
            None => self.intern(filter)?,
        };
        let subscribers = &mut self.filters[key].subscribers;
        self.places.insert(subscriber.id, (key, subscribers.len()));
        subscribers.push(subscriber);
        Ok(())
    }

    /// Takes a subscriber out; unknown ones are no error.
    pub fn remove(&mut self, id: SubscriptionId) {
        let Some((key, place)) = self.places.remove(&id) else { return };
        let subscribers = &mut self.filters[key].subscribers;
        subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place) {
            self.places.insert(moved.id, (key, place));
        }
        if subscribers.is_empty() {
            self.forget(key);
        }
    }

    /// Everyone who is subscribed.
    pub fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.filters.iter().flat_map(|(_, interned)| &interned.subscribers)
    }

    /// The filters that match `document`, in no order, each once.
    pub fn matching(&self, document: &Document) -> Vec<usize> {
        let anchored = self.anchor_fields.keys().filter_map(|field| {
            let value = field.value_in(document);
            self.postings.get(&self.anchor_hash(field, value.as_deref().unwrap_or(&Value::Null)))
        });
        let candidates = anchored.flatten().chain(&self.residue);
        candidates.copied().filter(|key| self.filters[*key].filter.matches(document)).collect()
    }

    /// The subscribers of a filter that [`FilterIndex::matching`] named.
    pub fn subscribers_of(&self, key: usize) -> &[Subscriber] {
        &self.filters[key].subscribers
    }

    fn intern(&mut self, filter: &Arc<Filter>) -> Result<usize, ResidueFull> {
        let anchor = self.choose_anchor(filter);
        if anchor.is_none() && self.residue.len() >= MAX_RESIDUE {
            return Err(ResidueFull);
        }
        let key = self.filters.insert(Interned { filter: filter.clone(), anchor, subscribers: Vec::new() });
        self.by_filter.insert(filter.clone(), key);
        match anchor.map(|term| &filter.terms()[term]) {
            Some(Filter::Equals(field, values)) => {
                *self.anchor_fields.entry(field.clone()).or_default() += 1;
                for value in values {
                    self.postings.entry(self.anchor_hash(field, value)).or_default().push(key);
                }
            }
            _ => self.residue.push(key),
        }
        Ok(key)
    }

    /// The equality whose posting lists are shortest now.
    fn choose_anchor(&self, filter: &Filter) -> Option<usize> {
        let length = |field: &Field, value: &Value| {
            self.postings.get(&self.anchor_hash(field, value)).map_or(0, Vec::len)
        };
        let terms = filter.terms().iter().enumerate();
        let costs = terms.filter_map(|(place, term)| match term {
            Filter::Equals(field, values) => {
                Some((values.iter().map(|value| length(field, value)).sum::<usize>(), place))
            }
            Filter::And(_) => None,
        });
        costs.min().map(|(_, place)| place)
    }

    fn forget(&mut self, key: usize) {
        let interned = self.filters.remove(key);
        self.by_filter.remove(&interned.filter);
        let Some(Filter::Equals(field, values)) = interned.anchor.map(|term| &interned.filter.terms()[term])
        else {
            self.residue.retain(|other| *other != key);
            return;
        };
        for value in values {
            if let MapEntry::Occupied(mut posting) = self.postings.entry(self.anchor_hash(field, value)) {
                posting.get_mut().retain(|other| *other != key);
                if posting.get().is_empty() {
                    posting.remove();
                }
            }
        }
        if let MapEntry::Occupied(mut count) = self.anchor_fields.entry(field.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn anchor_hash(&self, field: &Field, value: &Value) -> u64 {
        self.hasher.hash_one((field, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::{Data, DocumentId, Timestamp},
        query::parse::parse_value,
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

    fn fields() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3_i64).prop_map(Value::from),
            "[ab]".prop_map(Value::from),
        ];
        prop::collection::hash_map("[xyz]", value, 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        /// The index finds exactly those filters that match when each is asked, also after others were removed.
        #[test]
        fn the_index_agrees_with_asking_every_filter(
            filters in prop::collection::vec(fields(), 0..30), removed in prop::collection::vec(any::<bool>(), 30),
            data in fields(),
        ) {
            let mut index = FilterIndex::default();
            let filters: Vec<_> = filters.into_iter().map(|json| Arc::new(parse_value(json).unwrap())).collect();
            let id = |place: usize| SubscriptionId { shard: 0, serial: place as u64 };
            for (place, filter) in filters.iter().enumerate() {
                let subscriber = Subscriber { id: id(place), form: Form::Sse, asked_name: "c".into() };
                index.insert(filter, subscriber).unwrap();
            }
            for (place, gone) in removed.iter().enumerate() {
                if *gone { index.remove(id(place)); }
            }
            let document = document(data);
            let keys = index.matching(&document);
            let mut found: Vec<_> =
                keys.iter().flat_map(|key| index.subscribers_of(*key)).map(|s| s.id.serial as usize).collect();
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
        let filter = Arc::new(parse_value(serde_json::json!({"a": 1})).unwrap());
        let id = SubscriptionId { shard: 0, serial: 1 };
        index.insert(&filter, Subscriber { id, form: Form::Sse, asked_name: "c".into() }).unwrap();
        index.remove(id);
        assert!(index.is_empty() && index.postings.is_empty() && index.anchor_fields.is_empty());
        assert!(index.by_filter.is_empty() && index.filters.is_empty());
    }
}
