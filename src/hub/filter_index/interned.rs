//! The part of the index that it holds once for each distinct filter.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

use slab::Slab;

use super::{
    recipients::{Recipient, Recipients},
    standing::Standing,
};
use crate::{domain::KeyId, query::Filter};

/// A filter, and who wants it. There may be a million, so rare parts are in a box.
pub(super) struct Interned {
    pub(super) filter: Arc<Filter>,
    pub(super) recipients: Recipients,
    pub(super) standing: Standing,
    pub(super) rare: Option<Box<Rare>>,
    /// The cost of the terms that its anchors don't decide.
    pub(super) cost: u32,
}

/// The parts that few filters have.
pub(super) struct Rare {
    /// The texts that it looks for.
    pub(super) needles: Box<[u32]>,
    /// The key that it counts for, if it counts.
    pub(super) payer: Option<Payer>,
}

/// The key whose subscriptions a filter counts for. Others may have the same filter.
pub(super) struct Payer {
    pub(super) key: KeyId,
    pub(super) cost: u32,
    /// How many recipients have this key.
    pub(super) recipients: usize,
}

/// Where a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) filter: u32,
    pub(super) index: u32,
}

/// An entry of a large table, with a part of its hash. A table that grows hashes all of its entries: for a million of them that
/// would take more than half a second if each had to be looked up, and everybody would wait.
#[derive(Clone, Copy)]
pub(super) struct Hashed<T> {
    hash: u32,
    pub(super) entry: T,
}

impl Interned {
    pub(super) fn payer_mut(&mut self) -> Option<&mut Payer> {
        self.rare.as_mut()?.payer.as_mut()
    }
}

impl Hashed<()> {
    /// Returns the hash that the entry for `key` has in its table.
    pub(super) fn hash_of(hasher: &RandomState, key: impl Hash) -> u64 {
        Hashed::new(hasher, key, ()).hash()
    }
}

impl<T> Hashed<T> {
    pub(super) fn new(hasher: &RandomState, key: impl Hash, entry: T) -> Self {
        Self { hash: hasher.hash_one(key) as u32, entry }
    }

    pub(super) fn hash(&self) -> u64 {
        // The table takes the place from the low bits, and a mark from the high ones.
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl Seat {
    pub(super) fn recipient(self, filters: &Slab<Interned>) -> &Recipient {
        &filters[self.filter as usize].recipients.all()[self.index as usize]
    }
}
