//! The operations on indexes: declare them, record their state, and check documents against them.

use std::sync::Arc;

use super::{batch::Batch, error::WriteError, outcome::Outcome, staged::Staged};
use crate::{
    domain::{Control, Document, IndexId, Violation},
    query::{
        Field,
        index_definition::{Index, IndexDefinition, IndexState, TooLong},
    },
    store::collections::catalog::Catalog,
};

impl Batch {
    /// Makes a collection declare these indexes and no others. Existing indexes stay, and failed ones are built again.
    pub(super) fn set_indexes(
        &self,
        staged: &mut Staged,
        collection: &str,
        wanted: &[IndexDefinition],
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        let current = self.catalog(staged).indexes_of(&collection.id).to_vec();
        let is_new = staged.plan.new_collections.iter().any(|(_, new)| new.id == collection.id);
        let (mut next, mut has_changed) = (Vec::new(), current.len() != wanted.len());
        for definition in wanted {
            let found = current.iter().find(|index| index.definition == *definition);
            if let Some(index) = found.filter(|index| index.counts()) {
                next.push(index.clone());
                continue;
            }
            has_changed = true;
            let id = found.map_or_else(IndexId::generate, |failed| failed.id.clone());
            // A new collection has no document with the same values yet, and gets none before the index is built.
            let state = if is_new && definition.unique { IndexState::Awaited } else { IndexState::Building };
            let index = Index { id, definition: definition.clone(), state };
            if found.is_some() {
                staged.plan.index_states.push((index.id.clone(), Some(IndexState::Building)));
            } else {
                let place = (staged.project.clone(), collection.id.clone(), index.clone());
                staged.plan.new_indexes.push(place);
            }
            next.push(Arc::new(index));
        }
        let mut gone = 0;
        for index in &current {
            if !next.iter().any(|kept| kept.id == index.id) {
                staged.plan.index_states.push((index.id.clone(), None));
                gone += 1;
            }
        }
        let (there, limit) = (self.declared_indexes(), self.max_indexes());
        if !staged.plan.new_indexes.is_empty() && there + staged.plan.new_indexes.len() > limit + gone {
            return Err(WriteError::TooManyIndexes { limit });
        }
        if has_changed || gone > 0 {
            staged.control(Control::IndexesChanged { collection: collection.id.to_string() });
            self.change_catalog(staged, |catalog| catalog.set_indexes(&collection.id, next));
        }
        Ok(Outcome::Collection(collection))
    }

    /// Records the state of an index that was being built. An index that is no longer being built stays as it is.
    pub(super) fn finish_index(
        &self,
        staged: &mut Staged,
        collection: &str,
        id: &IndexId,
        state: &IndexState,
    ) -> Result<Outcome, WriteError> {
        let collection = self.find(staged, collection)?;
        let mut indexes = self.catalog(staged).indexes_of(&collection.id).to_vec();
        let is_built = |index: &&mut Arc<Index>| index.id == *id && index.is_being_built();
        if let Some(index) = indexes.iter_mut().find(is_built) {
            *index = Arc::new(Index { state: state.clone(), ..(**index).clone() });
            staged.plan.index_states.push((id.clone(), Some(state.clone())));
            staged.control(Control::IndexesChanged { collection: collection.id.to_string() });
            self.change_catalog(staged, |catalog| catalog.set_indexes(&collection.id, indexes));
        }
        Ok(Outcome::Collection(collection))
    }

    /// Finds a declared index by its name in the database.
    pub(super) fn find_index(&self, name: &str) -> Option<Arc<Index>> {
        let has_name = |index: &&Arc<Index>| index.unique_name().is_some_and(|own| own == name);
        self.catalogs().flat_map(Catalog::indexes).find(has_name).cloned()
    }
}

/// Rejects a document with a string that is too long for an index of its collection, and any document while the collection waits
/// for a unique index.
pub(super) fn check_indexes(indexes: &[Arc<Index>], document: &Document) -> Result<(), WriteError> {
    if indexes.iter().any(|index| index.state == IndexState::Awaited) {
        return Err(WriteError::IndexAwaited);
    }
    for index in indexes.iter().filter(|index| index.counts()) {
        if let Some(TooLong { field: Field::Data(path), why }) = index.definition.find_too_long(document) {
            let violation = Violation { pointer: path.to_pointer(), message: why };
            return Err(WriteError::IndexedText(Arc::from([violation])));
        }
    }
    Ok(())
}
