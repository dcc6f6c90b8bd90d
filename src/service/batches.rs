//! Writes to several documents, all or nothing: batches in one collection, and transactions across collections.

use super::{
    documents::{Documents, RequestKey},
    error::ServiceError,
};
use crate::{
    auth::Principal,
    domain::{Data, DocumentId, Patch},
    writer::{Committed, Missing, Operation, Precondition},
};

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name or id of the collection. The first write to it creates it.
    pub collection: String,
    pub action: StepAction,
}

/// The action of an operation. `version` is the version that the document must have; 0 means that it must not exist.
#[derive(Clone, Debug)]
pub enum StepAction {
    /// Creates a document. An id that the caller chose must be free; without one, the document gets an id of ours.
    Create { id: Option<DocumentId>, data: Data },
    /// Merges into a document that exists.
    Update { id: DocumentId, patch: Patch, version: Option<u64> },
    /// Creates the document, or replaces its data.
    Replace { id: DocumentId, data: Data, version: Option<u64> },
    /// Deletes a document that exists.
    Delete { id: DocumentId, version: Option<u64> },
}

impl Documents {
    /// Creates documents with ids of ours.
    pub async fn create_many(
        &self,
        principal: &Principal,
        collection: String,
        all: Vec<Data>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let create = |data| Operation::CreateDocument {
            checked: self.check_data(principal, &collection, &data),
            collection: collection.clone(),
            data,
        };
        self.write(principal, all.into_iter().map(create).collect(), request_key).await
    }

    /// Merges into documents, all of which must exist.
    pub async fn merge_many(
        &self,
        principal: &Principal,
        collection: String,
        all: Vec<(DocumentId, Patch)>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let merge = |(id, patch)| Operation::MergeDocument {
            collection: collection.clone(),
            id,
            patch,
            precondition: Precondition::None,
        };
        self.write(principal, all.into_iter().map(merge).collect(), request_key).await
    }

    /// Deletes those of the documents that exist.
    pub async fn delete_many(
        &self,
        principal: &Principal,
        collection: String,
        all: Vec<DocumentId>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let delete = |id| Operation::DeleteDocument {
            collection: collection.clone(),
            id,
            precondition: Precondition::None,
            missing: Missing::Allowed,
        };
        self.write(principal, all.into_iter().map(delete).collect(), request_key).await
    }

    /// Carries out operations on any collections of the project, in order.
    pub async fn transact(
        &self,
        principal: &Principal,
        steps: Vec<Step>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let operations = steps.into_iter().map(|step| self.operation(principal, step)).collect();
        self.write(principal, operations, request_key).await
    }

    fn operation(&self, principal: &Principal, Step { collection, action }: Step) -> Operation {
        let expect = |version: Option<u64>| version.map_or(Precondition::None, Precondition::Version);
        let check = |data: &Data| self.check_data(principal, &collection, data);
        match action {
            StepAction::Create { id: None, data } => {
                let checked = check(&data);
                Operation::CreateDocument { collection, data, checked }
            }
            StepAction::Create { id: Some(id), data } => {
                let checked = check(&data);
                Operation::PutDocument { collection, id, data, precondition: Precondition::Free, checked }
            }
            StepAction::Update { id, patch, version } => {
                Operation::MergeDocument { collection, id, patch, precondition: expect(version) }
            }
            StepAction::Replace { id, data, version } => {
                let checked = check(&data);
                Operation::PutDocument { collection, id, data, precondition: expect(version), checked }
            }
            StepAction::Delete { id, version } => Operation::DeleteDocument {
                collection,
                id,
                precondition: expect(version),
                missing: Missing::Refused,
            },
        }
    }
}
