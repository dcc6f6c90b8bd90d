//! Create, list, change and remove collections.

use std::sync::Arc;

use super::{ServiceError, find_collection};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionName, Position, Schema},
    query::index_definition::{Index, IndexDefinition},
    store::{Db, collections::catalog::Catalogs},
    writer::{Committed, Mutation, Operation, WriterHandle},
};

/// The use cases of collections. Cheap to clone.
#[derive(Clone)]
pub struct Collections {
    /// Where documents are read that a new schema must fit.
    pub db: Db,
    /// Where they are found.
    pub catalogs: Catalogs,
    /// Where they are written.
    pub writer: WriterHandle,
}

/// What shall be changed of a collection.
#[derive(Clone, Debug, Default)]
pub struct SettingsChange {
    /// Another name.
    pub name: Option<CollectionName>,
    /// Another schema, or none any more.
    pub schema: Option<Option<Arc<Schema>>>,
    /// These indexes, and no others.
    pub indexes: Option<Vec<IndexDefinition>>,
}

impl Collections {
    /// Makes a collection.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn create(
        &self,
        principal: &Principal,
        name: CollectionName,
        schema: Option<Arc<Schema>>,
        indexes: Vec<IndexDefinition>,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::CreateCollection)?;
        let collection = name.to_string();
        let mut operations = vec![Operation::CreateCollection { name, schema }];
        if !indexes.is_empty() {
            // Each costs every write of the whole database.
            permission::check(principal, Action::ChangeCollection)?;
            operations.push(Operation::SetIndexes { collection, indexes });
        }
        self.write(principal, operations).await
    }

    /// The indexes of a collection, in the order of their declaration; for whoever may change them.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn indexes(
        &self,
        principal: &Principal,
        collection: &Collection,
    ) -> Result<Option<Vec<Arc<Index>>>, ServiceError> {
        if permission::check(principal, Action::ChangeCollection).is_err() {
            return Ok(None);
        }
        let catalog = self.catalogs.get(&principal.project).await?;
        Ok(Some(catalog.indexes_of(&collection.id).to_vec()))
    }

    /// All collections of the principal's project, by name.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn list(&self, principal: &Principal) -> Result<Vec<Arc<Collection>>, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        Ok(self.catalogs.get(&principal.project).await?.list())
    }

    /// One collection, by name or id.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn get(
        &self,
        principal: &Principal,
        name_or_id: &str,
    ) -> Result<Arc<Collection>, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        find_collection(&self.catalogs, principal, name_or_id).await
    }

    /// The collection of a document that the principal has just written; `None` if it has another name by now, or is gone.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_written(
        &self,
        principal: &Principal,
        name: &CollectionName,
    ) -> Result<Option<Arc<Collection>>, ServiceError> {
        Ok(self.catalogs.get(&principal.project).await?.find(name.as_str()).cloned())
    }

    /// Changes a collection's settings, all or none. A new name: subscriptions and cursors go on. A new schema, or none any
    /// more: all documents that are there must fit it.
    ///
    /// # Errors
    /// [`ServiceError`]; [`ServiceError::Unfit`] names documents that don't fit.
    pub async fn change(
        &self,
        principal: &Principal,
        collection: String,
        change: SettingsChange,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::ChangeCollection)?;
        match change.schema {
            Some(Some(schema)) => {
                let others = SettingsChange { schema: None, ..change };
                self.set_schema(principal, &collection, schema, others).await
            }
            Some(None) => {
                let fits_at = Position::default();
                let remove = Operation::SetSchema { collection: collection.clone(), schema: None, fits_at };
                self.write(principal, [vec![remove], change.others(&collection)].concat()).await
            }
            None => self.write(principal, change.others(&collection)).await,
        }
    }

    /// Removes a collection with its documents; its subscriptions end.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn remove(&self, principal: &Principal, collection: String) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::RemoveCollection)?;
        self.write(principal, vec![Operation::RemoveCollection { collection }]).await
    }

    pub(super) async fn write(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
    ) -> Result<Committed, ServiceError> {
        let mutation = Mutation { project: principal.project.clone(), operations, idempotency: None };
        Ok(self.writer.submit(mutation).await?)
    }
}

impl SettingsChange {
    /// The operations for what is changed beside the schema. The name comes last: the others go by the old one.
    pub(super) fn others(&self, collection: &str) -> Vec<Operation> {
        let collection = || collection.to_owned();
        let indexes = self.indexes.clone();
        let indexes = indexes.map(|indexes| Operation::SetIndexes { collection: collection(), indexes });
        let name = self.name.clone();
        let rename = name.map(|name| Operation::RenameCollection { collection: collection(), name });
        indexes.into_iter().chain(rename).collect()
    }
}
