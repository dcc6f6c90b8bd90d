//! The search for the filters that match one document, step by step.

use std::vec;

use super::{index::FilterIndex, judge::Judge};
use crate::domain::Document;

/// The cost of the filters that one step asks. It is some 50 µs.
const STEP_COST: u64 = 1000;
/// Candidates beyond this number are told apart in a set of bits instead of by sorting, which would take long.
const FEW: usize = 4096;

/// The search for the filters that match one document. Whoever searches may let others run between two steps: a document may
/// reach very many anchors.
pub struct Search<'f, 'd> {
    index: &'f FilterIndex,
    judge: Judge<'f, 'd>,
    candidates: vec::IntoIter<u32>,
    found: Vec<usize>,
}

impl FilterIndex {
    /// Begins to search for the filters that match `document`.
    pub fn search<'f, 'd>(&'f self, document: &'d Document) -> Search<'f, 'd> {
        let judge = Judge::new(document, self.texts());
        let mut candidates = self.candidates(document, &judge);
        // A filter with alternatives may have several anchors.
        if candidates.len() <= FEW {
            candidates.sort_unstable();
            candidates.dedup();
        } else {
            let mut seen = vec![0_u64; candidates.iter().max().map_or(0, |last| *last as usize / 64 + 1)];
            candidates.retain(|key| {
                let (word, bit) = (&mut seen[*key as usize / 64], 1 << (key % 64));
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            });
        }
        Search { index: self, judge, candidates: candidates.into_iter(), found: Vec::new() }
    }
}

impl Search<'_, '_> {
    /// Asks some more filters. Returns whether all have been asked.
    pub fn step(&mut self) -> bool {
        let mut cost = 0;
        while cost < STEP_COST {
            let Some(key) = self.candidates.next() else { return true };
            let (filter, its_cost) = self.index.asked(key);
            cost += its_cost;
            if self.judge.matches(filter) {
                self.found.push(key as usize);
            }
        }
        self.candidates.as_slice().is_empty()
    }

    /// Returns the filters that were found, each once, in no order.
    pub fn found(self) -> Vec<usize> {
        self.found
    }
}
