//! Where a filter stands in the index.

use super::kind::{Kind, Side};
use crate::query::key::Key;

/// Where a filter is found.
pub(super) enum Standing {
    /// Its index in the residue.
    Residue(u32),
    /// A document that matches the filter has this. Most filters are found by one value, which takes no list of its own.
    Posted(Place),
    /// A document that matches the filter has at least one of these. Postings are ordered by hash, and each is there once.
    Anchored(Box<[Anchor]>),
}

/// Where a filter is among those that are anchored on one value.
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) field: u32,
    /// Its index in the crowd.
    pub(super) index: u32,
    pub(super) kind: Kind,
}

pub(super) enum Anchor {
    Posting(Place),
    Threshold { field: u32, side: Side, bound: Key },
}

/// The filters that are anchored on one value: the only one, or the number of their crowd. It is small, since there is one for
/// each value that a filter wants.
#[derive(Clone, Copy)]
pub(super) enum Posting {
    One(u32),
    Many(u32),
}

/// Several filters that are anchored on one value.
pub(super) struct Crowd {
    pub(super) filters: Vec<u32>,
    pub(super) cost: u64,
}

impl Standing {
    /// Returns the place of a posting of this filter.
    pub(super) fn place_mut(&mut self, hash: u64) -> Option<&mut Place> {
        match self {
            Self::Residue(_) => None,
            Self::Posted(place) => Some(place).filter(|place| place.hash == hash),
            Self::Anchored(anchors) => {
                let index = anchors.binary_search_by_key(&Some(hash), Anchor::hash).ok()?;
                match &mut anchors[index] {
                    Anchor::Posting(place) => Some(place),
                    Anchor::Threshold { .. } => None,
                }
            }
        }
    }
}

impl Anchor {
    /// Returns the hash of a posting.
    pub(super) fn hash(&self) -> Option<u64> {
        match self {
            Self::Posting(place) => Some(place.hash),
            Self::Threshold { .. } => None,
        }
    }
}
