//! Where a filter stands in the index.

use super::kind::{Kind, Side};
use crate::query::key::Key;

/// Where a filter is found.
pub(super) enum Standing {
    /// Its index in the residue.
    Residue(u32),
    /// A document that matches the filter has at least one of these. Postings are ordered by hash, and each is there once.
    Anchored(Box<[Anchor]>),
}

pub(super) enum Anchor {
    Posting { hash: u64, field: u32, kind: Kind, place: u32 },
    Threshold { field: u32, side: Side, bound: Key },
}

/// The filters that are anchored on one value.
pub(super) enum Posting {
    One(u32),
    Many(Box<Crowd>),
}

pub(super) struct Crowd {
    pub(super) filters: Vec<u32>,
    pub(super) cost: u64,
}

impl Posting {
    pub(super) fn filters(&self) -> &[u32] {
        match self {
            Self::One(filter) => std::slice::from_ref(filter),
            Self::Many(crowd) => &crowd.filters,
        }
    }
}

impl Anchor {
    /// Returns the hash of a posting.
    pub(super) fn hash(&self) -> Option<u64> {
        match self {
            Self::Posting { hash, .. } => Some(*hash),
            Self::Threshold { .. } => None,
        }
    }
}
