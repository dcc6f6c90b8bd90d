//! Create, list, change and remove collections.

use std::sync::Arc;

use super::{ServiceError, find_collection};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionName, Position, Schema},
    store::{Db, catalog::Catalogs},
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
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::CreateCollection)?;
        self.write(principal, vec![Operation::CreateCollection { name, schema }]).await
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
            Some(Some(schema)) => self.set_schema(principal, &collection, schema, change.name).await,
            Some(None) => {
                let fits_at = Position::default();
                let remove = Operation::SetSchema { collection: collection.clone(), schema: None, fits_at };
                self.write(principal, with_rename(remove, collection, change.name)).await
            }
            None => {
                let rename = change.name.map(|name| Operation::RenameCollection { collection, name });
                self.write(principal, rename.into_iter().collect()).await
            }
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

/// An operation on a collection, and another name for it if there is one.
pub(super) fn with_rename(
    operation: Operation,
    collection: String,
    name: Option<CollectionName>,
) -> Vec<Operation> {
    let rename = name.map(|name| Operation::RenameCollection { collection, name });
    [operation].into_iter().chain(rename).collect()
}
