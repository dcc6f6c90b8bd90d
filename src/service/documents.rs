//! Create, get, list, replace, merge and delete documents.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ServiceError, find_collection};
use crate::{
    auth::{Action, KeyKind, Principal, permission},
    domain::{Collection, Data, Document, DocumentId, Patch},
    query::{Filter, page::Page, planner::helpful_fields},
    store::{
        Db, Lane,
        collections::catalog::Catalogs,
        documents::{
            explain::ListPlan,
            list::{self, ListQuery, Listed, Listing},
            one,
            plans::Plans,
        },
        log::idempotency::IdempotencyKey,
    },
    writer::{
        Checked, Committed, Missing, Mutation, Operation, Precondition, WriterHandle, mutation::Idempotency,
    },
};

/// A request's idempotency key, and the hash by which a repetition is known to be one.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// The client's text.
    pub key: String,
    /// Hash of method, path, preconditions and body.
    pub request: String,
}

/// The use cases of documents. Cheap to clone.
#[derive(Clone)]
pub struct Documents {
    /// Where they are read.
    pub db: Db,
    /// Where collections are found.
    pub catalogs: Catalogs,
    /// Where they are written.
    pub writer: WriterHandle,
    /// How lists are done.
    pub plans: Plans,
    /// How many may be in memory.
    pub lists: ListTurns,
}

/// The most that the documents of one list may take, in bytes of memory.
const MAX_LIST_BYTES: usize = 32 * 1024 * 1024;
/// Lists that are in memory at the same time.
const MAX_LISTS: usize = 16;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bounds how many lists are in memory. Cheap to clone.
#[derive(Clone)]
pub struct ListTurns(Arc<Semaphore>);

impl Default for ListTurns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LISTS)))
    }
}

impl ListTurns {
    async fn next(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        let turn = tokio::time::timeout(PATIENCE, self.0.clone().acquire_owned()).await;
        // Never closed.
        let turn = turn.ok().and_then(Result::ok);
        turn.ok_or(ServiceError::Busy("too many lists are being read; try again"))
    }
}

/// A page of a list. Others may wait for its end.
pub struct DocumentList {
    /// Whose documents.
    pub collection: Arc<Collection>,
    /// The documents, and the log position of the read.
    pub listed: Listed,
    /// How the database does it, for secret keys.
    pub plan: Option<ListPlan>,
    _turn: OwnedSemaphorePermit,
}

impl Documents {
    /// Makes a document; makes the collection on its first write.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn create(
        &self,
        principal: &Principal,
        collection: String,
        data: Data,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let checked = self.check_data(principal, &collection, &data);
        let operation = Operation::CreateDocument { collection, id: DocumentId::generate(), data, checked };
        self.write(principal, vec![operation], request_key).await
    }

    /// Makes the document or replaces its data; makes the collection on its first write.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn put(
        &self,
        principal: &Principal,
        (collection, id): (String, DocumentId),
        data: Data,
        precondition: Precondition,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let checked = self.check_data(principal, &collection, &data);
        let operation = Operation::PutDocument { collection, id, data, precondition, checked };
        self.write(principal, vec![operation], request_key).await
    }

    /// Puts top-level members over those of a document, and applies operators.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn merge(
        &self,
        principal: &Principal,
        (collection, id): (String, DocumentId),
        patch: Patch,
        precondition: Precondition,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let operation = Operation::MergeDocument { collection, id, patch, precondition };
        self.write(principal, vec![operation], request_key).await
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn delete(
        &self,
        principal: &Principal,
        (collection, id): (String, DocumentId),
        precondition: Precondition,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let missing = Missing::Refused;
        let operation = Operation::DeleteDocument { collection, id, precondition, missing };
        self.write(principal, vec![operation], request_key).await
    }

    /// Reads a document, with its collection.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn get(
        &self,
        principal: &Principal,
        collection: &str,
        id: &DocumentId,
    ) -> Result<(Arc<Collection>, Document), ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let collection = find_collection(&self.catalogs, principal, collection).await?;
        let key = (collection.id.clone(), id.clone());
        let found =
            self.db.read(Lane::Point, |db| async move { one::find(&db, &key.0, &key.1).await }).await?;
        Ok((collection, found.ok_or(ServiceError::UnknownDocument)?))
    }

    /// Lists the documents that match. Of a page that takes too much memory, only the first are there, which is said.
    ///
    /// # Errors
    /// [`ServiceError`], also if too many lists are being read.
    pub async fn list(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<DocumentList, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let catalog = self.catalogs.get(&principal.project).await?;
        let collection = catalog.find(collection).cloned().ok_or(ServiceError::UnknownCollection)?;
        let helpful = helpful_fields(&filter, Some(&page.sort));
        let (project, id, plans) = (principal.project.clone(), collection.id.clone(), self.plans.clone());
        let is_told = principal.kind == KeyKind::Secret;
        let turn = self.lists.next().await?;
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&id);
            let listing = Listing { collection: &id, indexes, filter: &filter, page: &page };
            let query = ListQuery { project: &project, listing, max_bytes: MAX_LIST_BYTES };
            let listed = list::list(&db, query).await?;
            let plan = match is_told {
                // Without it the answer is as good.
                true => plans.get(&db, query, catalog.control).await.ok(),
                false => None,
            };
            Ok((listed, plan))
        };
        let outcome = self.db.read(Lane::Scan, read).await;
        let (listed, plan) = outcome.map_err(|err| ServiceError::of_query(err, helpful))?;
        let listed = listed.ok_or(ServiceError::UnknownCollection)?;
        Ok(DocumentList { collection, listed, plan, _turn: turn })
    }

    /// Looks at new data before it is queued, so that the writer, for which everyone waits, need not. The verdict is the
    /// writer's all the same: the schema may change meanwhile, and a repeated request gets its first answer.
    pub(super) fn check_data(&self, principal: &Principal, collection: &str, data: &Data) -> Option<Checked> {
        let catalog = self.catalogs.cached(&principal.project)?;
        let schema = catalog.find(collection)?.schema.clone()?;
        Some(Checked::new(schema, data))
    }

    /// Has operations done, all or none.
    pub(super) async fn write(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::WriteDocuments)?;
        let idempotency = request_key.map(|RequestKey { key, request }| Idempotency {
            key: IdempotencyKey {
                project: principal.project.clone(),
                caller: principal.key.to_string(),
                key,
            },
            request,
        });
        let mutation = Mutation { project: principal.project.clone(), operations, idempotency };
        Ok(self.writer.submit(mutation).await?)
    }
}
