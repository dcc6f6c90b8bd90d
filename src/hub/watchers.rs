//! What the rights of live subscriptions depend on: documents of other collections, such as that of the user, or memberships.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    filter_index::{FilterIndex, Recipient, TooMuchWork},
    interest::Interest,
    joining::SubscriptionId,
};
use crate::domain::CollectionId;

/// The live subscriptions of a project that depend on documents, by the filters of these.
#[derive(Default)]
pub(super) struct Watchers {
    indexes: HashMap<CollectionId, FilterIndex>,
    watched: HashMap<SubscriptionId, Watched>,
}

/// What one subscription depends on.
struct Watched {
    /// The collection that it is about.
    own: CollectionId,
    /// Those whose documents are watched.
    others: Vec<CollectionId>,
}

impl Watchers {
    /// Adds a subscription, with what its rights depend on: at most one filter of each collection.
    ///
    /// # Errors
    /// [`TooMuchWork`] if documents would have to be asked about too much. Nothing is added then.
    pub(super) fn add(
        &mut self,
        id: SubscriptionId,
        own: &CollectionId,
        watched: &[Arc<Interest>],
    ) -> Result<(), TooMuchWork> {
        if watched.is_empty() {
            return Ok(());
        }
        self.watched.insert(id, Watched { own: own.clone(), others: Vec::new() });
        for interest in watched {
            let index = self.indexes.entry(interest.collection.clone()).or_default();
            if let Err(err) = index.insert(Recipient { id, interest: interest.clone() }) {
                self.remove(id);
                return Err(err);
            }
            if let Some(watched) = self.watched.get_mut(&id) {
                watched.others.push(interest.collection.clone());
            }
        }
        Ok(())
    }

    /// Removes a subscription. It is no error if it depends on no document.
    pub(super) fn remove(&mut self, id: SubscriptionId) {
        let Some(watched) = self.watched.remove(&id) else { return };
        for collection in watched.others {
            if let Some(index) = self.indexes.get_mut(&collection) {
                index.remove(id);
                if index.is_empty() {
                    self.indexes.remove(&collection);
                }
            }
        }
    }

    /// Returns the filters of a collection's documents that subscriptions depend on.
    pub(super) fn of(&self, collection: &CollectionId) -> Option<&FilterIndex> {
        self.indexes.get(collection)
    }

    /// Returns all who depend on documents of a collection.
    pub(super) fn all_of(&self, collection: &CollectionId) -> Vec<SubscriptionId> {
        let index = self.indexes.get(collection).into_iter();
        index.flat_map(FilterIndex::recipients).map(|recipient| recipient.id).collect()
    }

    /// Returns the collections that subscriptions are about, in the order of the subscriptions.
    pub(super) fn own(&self, ids: Vec<SubscriptionId>) -> BTreeMap<(u32, u64), CollectionId> {
        let own = |id: SubscriptionId| Some(((id.shard, id.serial), self.watched.get(&id)?.own.clone()));
        ids.into_iter().filter_map(own).collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
