//! The index itself: adds and removes recipients, and finds the filters that match a document.

use std::{
    collections::{HashMap, hash_map::Entry as HashEntry},
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;
use serde_json::Value;
use slab::Slab;

use super::{
    anchor::{Choice, Probe, Wanted, choose},
    cost::{FREE_COST_OF_ANCHOR, MAX_COST, MAX_COST_OF_KEY, cost},
    fields::{FieldUse, Fields},
    interned::{Hashed, Interned, Payer, Rare, Seat},
    judge::Judge,
    kind::Kind,
    recipients::{Recipient, Recipients},
    standing::{Anchor, Crowd, Place, Posting, Standing},
    text::TextSearch,
};
use crate::{
    domain::{Document, KeyId},
    hub::SubscriptionId,
    query::{Filter, Part, key::Key},
};

/// The filters of the collection, or those of one key, would take too much work for each document with another one.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMuchWork;

/// The filters of one collection's subscriptions.
#[derive(Default)]
pub struct FilterIndex {
    filters: Slab<Interned>,
    /// The filters by themselves.
    by_filter: HashTable<Hashed<u32>>,
    fields: Fields,
    texts: TextSearch,
    /// The filters that are anchored on a value, by the hash of kind, field and value.
    postings: HashMap<u64, Posting>,
    crowds: Slab<Crowd>,
    residue: Vec<u32>,
    /// The filter of each recipient, and its index in the filter's list, by its id.
    seats: HashTable<Hashed<Seat>>,
    /// The work that filters may cause for one document, besides what is free.
    cost: u32,
    /// The part of it that each key causes.
    costs: HashMap<KeyId, u32>,
    hasher: RandomState,
}

impl FilterIndex {
    /// Whether it has no recipients.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Adds a recipient of the events of its filter.
    ///
    /// # Errors
    /// [`TooMuchWork`] if the filter is a new one that documents would have to be asked about for too many reasons.
    pub fn insert(&mut self, recipient: Recipient) -> Result<(), TooMuchWork> {
        let id = recipient.id;
        let Some(key) = self.find(&recipient.interest.filter) else {
            let filter = self.intern(recipient)?;
            self.add_seat(id, Seat { filter, index: 0 });
            return Ok(());
        };
        let interned = &mut self.filters[key as usize];
        if let Some(payer) = interned.payer_mut()
            && payer.key == recipient.interest.key
        {
            payer.recipients += 1;
        }
        let index = interned.recipients.all().len() as u32;
        interned.recipients.add(recipient);
        self.add_seat(id, Seat { filter: key, index });
        Ok(())
    }

    /// Removes a recipient. It is no error if there is none.
    pub fn remove(&mut self, id: SubscriptionId) {
        let (hash, filters) = (Hashed::hash_of(&self.hasher, id), &self.filters);
        let Ok(found) = self.seats.find_entry(hash, |seat| seat.entry.recipient(filters).id == id) else {
            return;
        };
        let (Hashed { entry: Seat { filter: key, index: place }, .. }, _) = found.remove();
        let interned = &mut self.filters[key as usize];
        let gone = match &mut interned.recipients {
            Recipients::Many(recipients) if recipients.len() > 1 => recipients.swap_remove(place as usize),
            Recipients::One(_) | Recipients::Many(_) => return self.forget(key),
        };
        if let Some(moved) = interned.recipients.all().get(place as usize) {
            let last = Seat { filter: key, index: interned.recipients.all().len() as u32 };
            let hash = Hashed::hash_of(&self.hasher, moved.id);
            if let Some(moved) = self.seats.find_mut(hash, |seat| seat.entry == last) {
                moved.entry.index = place;
            }
        }
        let Some(payer) = interned.payer_mut() else { return };
        if payer.key == gone.interest.key {
            payer.recipients -= 1;
            if payer.recipients == 0 {
                self.change_payer(key);
            }
        }
    }

    /// Returns all recipients.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.filters.iter().flat_map(|(_, interned)| interned.recipients.all())
    }

    /// Returns the filters that must be asked about `document`. Some of them may be there several times: at most once for each
    /// of their anchors.
    pub(super) fn candidates<'f>(&'f self, document: &Document, judge: &Judge<'f, '_>) -> Vec<u32> {
        let mut candidates = self.residue.clone();
        for (key, used) in self.fields.iter() {
            self.add_candidates(key, used, document, judge, &mut candidates);
        }
        candidates
    }

    /// Returns a filter, and the cost of asking it.
    pub(super) fn asked(&self, key: u32) -> (&Filter, u64) {
        let interned = &self.filters[key as usize];
        (&interned.filter, u64::from(interned.cost) + 1)
    }

    pub(super) fn texts(&self) -> &TextSearch {
        &self.texts
    }

    /// Returns the recipients of a filter that a search has found.
    pub fn recipients_of(&self, key: usize) -> &[Recipient] {
        self.filters[key].recipients.all()
    }

    fn add_candidates<'f>(
        &'f self,
        key: u32,
        used: &'f FieldUse,
        document: &Document,
        judge: &Judge<'f, '_>,
        candidates: &mut Vec<u32>,
    ) {
        let found = used.field.value_in(document);
        let value = found.as_deref().unwrap_or(&Value::Null);
        let mut add_by = |hash: u64| {
            if let Some(posting) = self.postings.get(&hash) {
                candidates.extend(self.filters_of(posting));
            }
        };
        if used.has(Kind::of_value(value)) {
            add_by(self.hash(Kind::of_value(value), key, Probe::Value(value)));
        }
        match value {
            Value::Array(elements) if used.has(Kind::Element) || used.has(Kind::CompositeElement) => {
                let wanted = elements.iter().filter(|element| used.has(Kind::of_element(element)));
                let hash = |element| self.hash(Kind::of_element(element), key, Probe::Value(element));
                let mut hashes: Vec<_> = wanted.map(hash).collect();
                // A million elements may be the same one, behind which there are many filters.
                hashes.sort_unstable();
                hashes.dedup();
                hashes.into_iter().for_each(add_by);
            }
            Value::String(string) if used.has(Kind::Text) => {
                let text = judge.text_in(&used.field, string);
                let needles = text.found.needles.iter();
                needles.for_each(|needle| add_by(self.hash(Kind::Text, key, Probe::Needle(*needle))));
            }
            _ => {}
        }
        if !used.thresholds.is_empty() {
            candidates.extend(used.thresholds.reached(Key::of(found.as_deref())));
        }
    }

    fn intern(&mut self, first: Recipient) -> Result<u32, TooMuchWork> {
        let (filter, owner) = (&first.interest.filter.clone(), &first.interest.key.clone());
        let mut needles = Vec::new();
        add_texts(filter, &mut self.texts, &mut needles);
        let whole = cost(filter, &self.texts);
        let choice = choose(filter, &self.fields, &self.texts, &|wanted| self.crowd(wanted).0)
            .filter(|choice| self.fields.have_room_for(choice.anchors.iter().map(Wanted::field)));
        let cost = whole - choice.as_ref().map_or(0, |choice| choice.decided.min(whole));
        let counted = match &choice {
            None => whole,
            // The filter is asked once about a document, by whichever anchor it is found.
            Some(choice) => {
                let crowds = choice.anchors.iter().map(|wanted| self.crowd(wanted).1);
                let beyond = |crowd: u64| (crowd + u64::from(cost)).saturating_sub(FREE_COST_OF_ANCHOR);
                crowds.map(|crowd| beyond(crowd).min(u64::from(cost))).max().unwrap_or(0) as u32
            }
        };
        let of_owner = self.costs.get(owner).copied().unwrap_or(0);
        if counted > 0 && (self.cost + counted > MAX_COST || of_owner + counted > MAX_COST_OF_KEY) {
            needles.into_iter().for_each(|needle| self.texts.remove(needle));
            return Err(TooMuchWork);
        }
        let payer = (counted > 0).then(|| {
            self.cost += counted;
            *self.costs.entry(owner.clone()).or_default() += counted;
            Payer { key: owner.clone(), cost: counted, recipients: 1 }
        });
        let is_rare = payer.is_some() || !needles.is_empty();
        let rare = is_rare.then(|| Box::new(Rare { needles: needles.into(), payer }));
        let (standing, recipients) = (Standing::Residue(0), Recipients::One(first));
        let key =
            self.filters.insert(Interned { filter: filter.clone(), recipients, standing, rare, cost }) as u32;
        let standing = self.enter(choice, key);
        self.filters[key as usize].standing = standing;
        let hashed = Hashed::new(&self.hasher, filter, key);
        self.by_filter.insert_unique(hashed.hash(), hashed, Hashed::hash);
        Ok(key)
    }

    fn find(&self, filter: &Filter) -> Option<u32> {
        let is_same = |key: &Hashed<u32>| *self.filters[key.entry as usize].filter == *filter;
        Some(self.by_filter.find(Hashed::hash_of(&self.hasher, filter), is_same)?.entry)
    }

    fn add_seat(&mut self, id: SubscriptionId, seat: Seat) {
        let hashed = Hashed::new(&self.hasher, id, seat);
        self.seats.insert_unique(hashed.hash(), hashed, Hashed::hash);
    }

    fn filters_of<'f>(&'f self, posting: &'f Posting) -> &'f [u32] {
        match posting {
            Posting::One(filter) => std::slice::from_ref(filter),
            Posting::Many(crowd) => &self.crowds[*crowd as usize].filters,
        }
    }

    /// Returns how many filters have an anchor, and what they cost.
    fn crowd(&self, wanted: &Wanted<'_>) -> (usize, u64) {
        let Some(field) = self.fields.find(wanted.field()) else { return (0, 0) };
        match wanted {
            Wanted::Posting(kind, _, probe) => match self.postings.get(&self.hash(*kind, field, *probe)) {
                None => (0, 0),
                Some(Posting::One(filter)) => (1, u64::from(self.filters[*filter as usize].cost)),
                Some(Posting::Many(crowd)) => {
                    let crowd = &self.crowds[*crowd as usize];
                    (crowd.filters.len(), crowd.cost)
                }
            },
            Wanted::Threshold(_, side, _) => {
                let thresholds = &self.fields.get(field).thresholds;
                (thresholds.len(*side), thresholds.cost(*side))
            }
        }
    }

    fn enter(&mut self, choice: Option<Choice<'_>>, key: u32) -> Standing {
        let Some(choice) = choice else {
            self.residue.push(key);
            return Standing::Residue(self.residue.len() as u32 - 1);
        };
        let mut anchors = Vec::with_capacity(choice.anchors.len());
        for wanted in choice.anchors {
            let field = self.fields.enter(wanted.field());
            anchors.push(match wanted {
                Wanted::Posting(kind, _, probe) => {
                    Anchor::Posting(Place { hash: self.hash(kind, field, probe), field, index: 0, kind })
                }
                Wanted::Threshold(_, side, bound) => Anchor::Threshold { field, side, bound },
            });
        }
        anchors.sort_unstable_by_key(Anchor::hash);
        anchors.dedup_by(|one, two| one.hash().is_some() && one.hash() == two.hash());
        let cost = self.filters[key as usize].cost;
        for anchor in &mut anchors {
            match anchor {
                Anchor::Posting(place) => {
                    place.index = self.enter_posting(place.hash, key, cost);
                    self.fields.change(place.field, |used| used.count(place.kind));
                }
                Anchor::Threshold { field, side, bound } => {
                    self.fields.change(*field, |used| used.thresholds.enter(*side, bound.clone(), key, cost));
                }
            }
        }
        match anchors.pop() {
            Some(Anchor::Posting(only)) if anchors.is_empty() => Standing::Posted(only),
            last => {
                anchors.extend(last);
                Standing::Anchored(anchors.into())
            }
        }
    }

    fn enter_posting(&mut self, hash: u64, key: u32, cost: u32) -> u32 {
        match self.postings.entry(hash) {
            HashEntry::Vacant(entry) => {
                entry.insert(Posting::One(key));
                0
            }
            HashEntry::Occupied(mut entry) => match entry.get_mut() {
                Posting::One(first) => {
                    let cost = u64::from(cost) + u64::from(self.filters[*first as usize].cost);
                    let filters = vec![*first, key];
                    entry.insert(Posting::Many(self.crowds.insert(Crowd { filters, cost }) as u32));
                    1
                }
                Posting::Many(crowd) => {
                    let crowd = &mut self.crowds[*crowd as usize];
                    crowd.cost += u64::from(cost);
                    crowd.filters.push(key);
                    crowd.filters.len() as u32 - 1
                }
            },
        }
    }

    fn forget(&mut self, key: u32) {
        let interned = self.filters.remove(key as usize);
        let hash = Hashed::hash_of(&self.hasher, &interned.filter);
        if let Ok(found) = self.by_filter.find_entry(hash, |other| other.entry == key) {
            found.remove();
        }
        if let Some(rare) = interned.rare {
            rare.needles.iter().for_each(|needle| self.texts.remove(*needle));
            if let Some(payer) = rare.payer {
                self.cost -= payer.cost;
                self.take_from(&payer.key, payer.cost);
            }
        }
        match interned.standing {
            Standing::Residue(place) => {
                self.residue.swap_remove(place as usize);
                if let Some(moved) = self.residue.get(place as usize) {
                    self.filters[*moved as usize].standing = Standing::Residue(place);
                }
            }
            Standing::Posted(place) => self.leave_posting(&place, interned.cost),
            Standing::Anchored(anchors) => {
                for anchor in anchors {
                    self.leave(anchor, key, interned.cost);
                }
            }
        }
    }

    fn leave(&mut self, anchor: Anchor, key: u32, cost: u32) {
        match anchor {
            Anchor::Posting(place) => self.leave_posting(&place, cost),
            Anchor::Threshold { field, side, bound } => {
                self.fields.change(field, |used| used.thresholds.leave(side, &bound, key, cost));
            }
        }
    }

    fn leave_posting(&mut self, place: &Place, cost: u32) {
        self.fields.change(place.field, |used| used.discount(place.kind));
        let HashEntry::Occupied(entry) = self.postings.entry(place.hash) else { return };
        let Posting::Many(number) = *entry.get() else {
            entry.remove();
            return;
        };
        let crowd = &mut self.crowds[number as usize];
        crowd.cost -= u64::from(cost);
        crowd.filters.swap_remove(place.index as usize);
        if let Some(moved) = crowd.filters.get(place.index as usize) {
            let standing = &mut self.filters[*moved as usize].standing;
            if let Some(moved) = standing.place_mut(place.hash) {
                moved.index = place.index;
            }
        } else if crowd.filters.is_empty() {
            self.crowds.remove(number as usize);
            entry.remove();
        }
    }

    /// Lets a filter count for another key, because its old one has no recipient any more.
    fn change_payer(&mut self, key: u32) {
        let interned = &mut self.filters[key as usize];
        let payer = interned.rare.as_mut().and_then(|rare| rare.payer.as_mut());
        let Some((payer, next)) = payer.zip(interned.recipients.all().first()) else { return };
        let next = next.interest.key.clone();
        payer.recipients =
            interned.recipients.all().iter().filter(|other| other.interest.key == next).count();
        let (old, cost) = (std::mem::replace(&mut payer.key, next.clone()), payer.cost);
        self.take_from(&old, cost);
        *self.costs.entry(next).or_default() += cost;
    }

    fn take_from(&mut self, owner: &KeyId, cost: u32) {
        if let HashEntry::Occupied(mut entry) = self.costs.entry(owner.clone()) {
            *entry.get_mut() -= cost;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    fn hash(&self, kind: Kind, field: u32, probe: Probe<'_>) -> u64 {
        self.hasher.hash_one((kind, field, probe))
    }
}

/// Adds the texts that a filter looks for.
fn add_texts(filter: &Filter, texts: &mut TextSearch, needles: &mut Vec<u32>) {
    match filter {
        Filter::And(terms) | Filter::Or(terms) => {
            terms.iter().for_each(|term| add_texts(term, texts, needles));
        }
        Filter::Not(term) => add_texts(term, texts, needles),
        Filter::HasText(_, Part::Anywhere, text) => needles.extend(texts.add(text)),
        Filter::Equals(..) | Filter::Compares(..) | Filter::HasElement(..) | Filter::HasText(..) => {}
    }
}

#[cfg(test)]
mod tests;
