//! The facts on which rights depend besides the rules, as a trait, so that the simulation can put a model in its place.

use serde_json::Value;

use crate::{
    domain::{CollectionId, Data, DocumentKey},
    query::rule::SetQuery,
    store::{
        Db, Lane, StoreError,
        documents::{one, sets},
    },
};

/// Reads what rights depend on besides the rules.
pub trait Facts: Sync {
    /// Returns the distinct values that a set of this collection has, in any order. `None` if they are too many.
    fn read_set(
        &self,
        collection: &CollectionId,
        query: &SetQuery,
    ) -> impl Future<Output = Result<Option<Vec<Value>>, StoreError>> + Send;

    /// Returns the data of a document, if there is one.
    fn read_document(
        &self,
        key: &DocumentKey,
    ) -> impl Future<Output = Result<Option<Data>, StoreError>> + Send;
}

/// Reads a database.
pub struct StoredFacts<'a> {
    pub db: &'a Db,
    /// Where sets of other collections are read.
    pub lane: Lane,
}

impl Facts for StoredFacts<'_> {
    async fn read_set(
        &self,
        collection: &CollectionId,
        query: &SetQuery,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let (id, field, filter) = (collection.clone(), query.select.clone(), query.filter.clone());
        self.db.read(self.lane, |db| async move { sets::read(&db, &id, &field, &filter).await }).await
    }

    async fn read_document(&self, key: &DocumentKey) -> Result<Option<Data>, StoreError> {
        let key = key.clone();
        let read = |db| async move { one::find(&db, &key.collection, &key.id).await };
        Ok(self.db.read(Lane::Point, read).await?.map(|document| document.data))
    }
}
