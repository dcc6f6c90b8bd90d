//! Create, list, rename and remove collections.

use std::sync::Arc;

use super::{ServiceError, find_collection};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionName},
    store::catalog::Catalogs,
    writer::{Committed, Mutation, Operation, WriterHandle},
};

/// The use cases of collections. Cheap to clone.
#[derive(Clone)]
pub struct Collections {
    /// Where they are found.
    pub catalogs: Catalogs,
    /// Where they are written.
    pub writer: WriterHandle,
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
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::CreateCollection)?;
        self.write(principal, Operation::CreateCollection { name }).await
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

    /// Gives a collection another name. Subscriptions and cursors go on.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn rename(
        &self,
        principal: &Principal,
        collection: String,
        name: CollectionName,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::ChangeCollection)?;
        self.write(principal, Operation::RenameCollection { collection, name }).await
    }

    /// Removes a collection with its documents; its subscriptions end.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn remove(&self, principal: &Principal, collection: String) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::RemoveCollection)?;
        self.write(principal, Operation::RemoveCollection { collection }).await
    }

    async fn write(&self, principal: &Principal, operation: Operation) -> Result<Committed, ServiceError> {
        let mutation =
            Mutation { project: principal.project.clone(), operations: vec![operation], idempotency: None };
        Ok(self.writer.submit(mutation).await?)
    }
}
