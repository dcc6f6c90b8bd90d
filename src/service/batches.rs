//! Several documents at once, all or none: batches of one collection, and transactions over several.

use super::{Documents, ServiceError, documents::RequestKey};
use crate::{
    auth::Principal,
    domain::{Data, DocumentId, Patch},
    writer::{Committed, Missing, Operation, Precondition},
};

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name or id of the collection; the first write makes it.
    pub collection: String,
    /// What is done.
    pub action: StepAction,
}

/// What an operation of a transaction does. `version` is the one that the document must have; 0 means that it isn't there.
#[derive(Clone, Debug)]
pub enum StepAction {
    /// Makes a document; an id of the caller's must be free.
    Create {
        /// The caller's id; else it gets one of ours.
        id: Option<DocumentId>,
        /// Its data.
        data: Data,
    },
    /// Merges into a document that is there.
    Update {
        /// Which.
        id: DocumentId,
        /// Members and operators.
        patch: Patch,
        /// What must hold.
        version: Option<u64>,
    },
    /// Makes the document or replaces its data.
    Replace {
        /// Which.
        id: DocumentId,
        /// Its data.
        data: Data,
        /// What must hold.
        version: Option<u64>,
    },
    /// Deletes a document that is there.
    Delete {
        /// Which.
        id: DocumentId,
        /// What must hold.
        version: Option<u64>,
    },
}

impl Documents {
    /// Makes documents; makes the collection on its first write.
    ///
    /// # Errors
    /// [`ServiceError`]; then none was made.
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
            id: DocumentId::generate(),
            data,
        };
        self.write(principal, all.into_iter().map(create).collect(), request_key).await
    }

    /// Merges into documents, all of which must be there.
    ///
    /// # Errors
    /// [`ServiceError`]; then none was changed.
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

    /// Deletes those of the documents that are there.
    ///
    /// # Errors
    /// [`ServiceError`]; then none was deleted.
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

    /// Does operations on any collections of the project, in order.
    ///
    /// # Errors
    /// [`ServiceError`]; then none was done.
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
                Operation::CreateDocument { collection, id: DocumentId::generate(), data, checked }
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
