//! One mutation's effects while it is applied, and what a batch writes beside documents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    domain::{
        Change, Collection, CollectionId, Control, Document, DocumentKey, Entry, IndexId, KeyId, LogEnds,
        Position, ProjectId, Timestamp,
    },
    query::index_definition::{Index, IndexState},
    store::{
        collections::catalog::Catalog,
        log::idempotency::{IdempotencyKey, StoredOutcome},
    },
    writer::{load::MAX_MUTATION_BYTES, mutation::WriteError},
};

/// Everything but the documents that a batch writes, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The log's new entries.
    pub changes: Vec<Arc<Change>>,
    /// Collections that are new.
    pub new_collections: Vec<(ProjectId, Collection)>,
    /// Collections that have another name or schema, as they are now.
    pub changed_collections: Vec<Arc<Collection>>,
    /// Collections that are gone.
    pub removed_collections: Vec<CollectionId>,
    /// Indexes that are to be built.
    pub new_indexes: Vec<(ProjectId, CollectionId, Index)>,
    /// How far indexes are; `None` is no longer declared.
    pub index_states: Vec<(IndexId, Option<IndexState>)>,
    /// Keys that are no longer good.
    pub revoked_keys: Vec<KeyId>,
    /// Outcomes to keep.
    pub outcomes: Vec<(IdempotencyKey, StoredOutcome)>,
}

impl Plan {
    /// Whether a collection is made, changed or removed more than once. The statements have one order for all mutations,
    /// whatever the order of these was, so such a batch can't be written with one of each.
    pub fn needs_order(&self) -> bool {
        let mut seen = HashSet::new();
        let new = self.new_collections.iter().map(|(_, collection)| &collection.id);
        let changed = self.changed_collections.iter().map(|collection| &collection.id);
        !new.chain(changed).chain(&self.removed_collections).all(|id| seen.insert(id))
    }
}

/// One mutation's effects, before it is known that all of its operations happen.
pub(super) struct Staged {
    pub(super) project: ProjectId,
    pub(super) ends: LogEnds,
    pub(super) at: Timestamp,
    pub(super) catalog: Option<Catalog>,
    pub(super) documents: HashMap<DocumentKey, Option<Arc<Document>>>,
    pub(super) order: Vec<DocumentKey>,
    pub(super) plan: Plan,
    pub(super) weight: usize,
}

impl Staged {
    /// Gives the entry the log's next place.
    pub(super) fn log(&mut self, entry: Entry) {
        let position = Position { sequence: self.ends.last.sequence + 1, at: self.at };
        self.ends.last = position;
        let change = Change { project: self.project.clone(), position, entry };
        self.weight += images_weight(&change);
        self.plan.changes.push(Arc::new(change));
    }

    /// Many changes of one large document are as many documents. One alone may be as large as a document may be.
    pub(super) fn check_weight(&self) -> Result<(), WriteError> {
        if !self.documents.is_empty() && self.weight > MAX_MUTATION_BYTES {
            return Err(WriteError::TooManyBytes { limit: MAX_MUTATION_BYTES });
        }
        Ok(())
    }

    pub(super) fn control(&mut self, control: Control) {
        self.log(Entry::Control(control));
        self.ends.control = self.ends.last.sequence;
    }

    pub(super) fn set_document(&mut self, key: DocumentKey, document: Option<Arc<Document>>) {
        if self.documents.insert(key.clone(), document).is_none() {
            self.order.push(key);
        }
    }
}

fn images_weight(change: &Change) -> usize {
    let Entry::Document { before, after, .. } = &change.entry else { return 0 };
    let texts = before.iter().chain(after).map(|document| document.data.text().len());
    texts.sum::<usize>() + after.as_ref().map_or(0, |document| document.data.weight())
}
