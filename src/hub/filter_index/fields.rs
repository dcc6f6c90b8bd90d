//! The fields that anchors use. Each of them is looked up once in each document.

use std::collections::{BTreeMap, HashMap};

use slab::Slab;

use super::kind::{Kind, Side};
use crate::query::{Field, key::Key};

/// The most fields of a collection that anchors use, because each is a look-up in every document. Terms on other fields are
/// no anchors.
const MAX_FIELDS: usize = 1000;

/// The fields that the anchors of a collection's filters use.
#[derive(Default)]
pub(super) struct Fields {
    all: Slab<FieldUse>,
    by_field: HashMap<Field, u32>,
}

/// The anchors on one field.
pub(super) struct FieldUse {
    pub(super) field: Field,
    /// How many postings of each kind there are.
    postings: [u32; Kind::COUNT],
    pub(super) thresholds: Thresholds,
}

/// The thresholds of one field, and the filters anchored there.
#[derive(Default)]
pub(super) struct Thresholds {
    /// Values must not be less than these.
    least: BTreeMap<Key, Vec<u32>>,
    /// Values must not be more than these.
    most: BTreeMap<Key, Vec<u32>>,
    /// The cost of the filters at each side. A document may reach all of them.
    costs: [u64; 2],
}

impl Fields {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.by_field.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &FieldUse)> {
        self.all.iter().map(|(key, used)| (key as u32, used))
    }

    /// Whether an anchor may use a field.
    pub(super) fn has_room_for(&self, field: &Field) -> bool {
        self.all.len() < MAX_FIELDS || self.by_field.contains_key(field)
    }

    /// Whether anchors may use all of these fields.
    pub(super) fn have_room_for<'f>(&self, fields: impl Iterator<Item = &'f Field>) -> bool {
        let mut new: Vec<_> = fields.filter(|field| !self.by_field.contains_key(field)).collect();
        if self.all.len() + new.len() <= MAX_FIELDS {
            return true;
        }
        new.sort_unstable_by_key(|field| field.to_string());
        new.dedup();
        self.all.len() + new.len() <= MAX_FIELDS
    }

    pub(super) fn find(&self, field: &Field) -> Option<u32> {
        self.by_field.get(field).copied()
    }

    pub(super) fn get(&self, key: u32) -> &FieldUse {
        &self.all[key as usize]
    }

    /// Returns the key of a field, which an anchor is about to use.
    pub(super) fn enter(&mut self, field: &Field) -> u32 {
        if let Some(key) = self.find(field) {
            return key;
        }
        let (postings, thresholds) = ([0; Kind::COUNT], Thresholds::default());
        let key = self.all.insert(FieldUse { field: field.clone(), postings, thresholds }) as u32;
        self.by_field.insert(field.clone(), key);
        key
    }

    /// Changes the anchors on a field, and forgets the field if none is left.
    pub(super) fn change(&mut self, key: u32, change: impl FnOnce(&mut FieldUse)) {
        let used = &mut self.all[key as usize];
        change(used);
        if used.postings == [0; Kind::COUNT] && used.thresholds.is_empty() {
            let used = self.all.remove(key as usize);
            self.by_field.remove(&used.field);
        }
    }
}

impl FieldUse {
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.postings[kind as usize] > 0
    }

    pub(super) fn count(&mut self, kind: Kind) {
        self.postings[kind as usize] += 1;
    }

    pub(super) fn discount(&mut self, kind: Kind) {
        self.postings[kind as usize] -= 1;
    }
}

impl Thresholds {
    pub(super) fn is_empty(&self) -> bool {
        self.least.is_empty() && self.most.is_empty()
    }

    /// Returns how many bounds one side has.
    pub(super) fn len(&self, side: Side) -> usize {
        match side {
            Side::Least => self.least.len(),
            Side::Most => self.most.len(),
        }
    }

    pub(super) fn cost(&self, side: Side) -> u64 {
        self.costs[side as usize]
    }

    fn side(&mut self, side: Side) -> &mut BTreeMap<Key, Vec<u32>> {
        match side {
            Side::Least => &mut self.least,
            Side::Most => &mut self.most,
        }
    }

    pub(super) fn enter(&mut self, side: Side, bound: Key, filter: u32, cost: u32) {
        self.side(side).entry(bound).or_default().push(filter);
        self.costs[side as usize] += u64::from(cost);
    }

    pub(super) fn leave(&mut self, side: Side, bound: &Key, filter: u32, cost: u32) {
        let bounds = self.side(side);
        if let Some(filters) = bounds.get_mut(bound) {
            if let Some(place) = filters.iter().position(|other| *other == filter) {
                filters.swap_remove(place);
            }
            if filters.is_empty() {
                bounds.remove(bound);
            }
        }
        self.costs[side as usize] -= u64::from(cost);
    }

    /// Returns the filters whose bound a value reaches.
    pub(super) fn reached(&self, key: Key) -> impl Iterator<Item = &u32> {
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
