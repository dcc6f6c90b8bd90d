//! The parts of a view that events have replaced, so that earlier states of the view can be told.

use crate::{Document, replica::Documents};

/// The events since a position, each with what it replaced; oldest first.
#[derive(Clone, Debug)]
pub(crate) struct History {
    since: u64,
    replaced: Vec<Replaced>,
}

#[derive(Clone, Debug)]
struct Replaced {
    sequence: u64,
    id: String,
    before: Option<Document>,
}

impl History {
    /// A history of a view that is as of this sequence.
    pub(crate) fn new(since: u64) -> Self {
        Self { since, replaced: Vec::new() }
    }

    /// The first sequence that [`History::rewind`] can return to.
    pub(crate) fn since(&self) -> u64 {
        self.since
    }

    /// Adds the event with this sequence, which replaced `before`.
    pub(crate) fn record(&mut self, sequence: u64, id: String, before: Option<Document>) {
        self.replaced.push(Replaced { sequence, id, before });
    }

    /// Undoes the events after this sequence, newest first; `None` before the history began.
    pub(crate) fn rewind(&self, documents: &Documents, sequence: u64) -> Option<Documents> {
        if sequence < self.since {
            return None;
        }
        let mut documents = documents.clone();
        for replaced in self.replaced.iter().rev().take_while(|replaced| replaced.sequence > sequence) {
            match &replaced.before {
                Some(document) => documents.insert(replaced.id.clone(), document.clone()),
                None => documents.remove(&replaced.id),
            };
        }
        Some(documents)
    }
}
