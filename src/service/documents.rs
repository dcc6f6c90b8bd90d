//! Creates, gets, replaces, merges and deletes single documents.

use std::{collections::HashMap, sync::Arc};

use super::{
    error::ServiceError,
    lookup::View,
    scans::{Scan, Scans},
};
use crate::{
    auth::{
        Access, Action, Forbidden, Principal, Rights,
        permission::{self, Unwritable},
    },
    domain::{Collection, CollectionName, Data, Document, DocumentId, Patch},
    query::{Filter, Mask},
    store::{
        Db, Lane, StoreError,
        collections::catalog::Catalogs,
        documents::one,
        log::{changes, ends, idempotency::IdempotencyKey},
    },
    writer::{
        Author, Checked, Committed, Missing, Mutation, Operation, Outcome, Precondition, WriterHandle,
        mutation::Idempotency,
    },
};

/// Bytes of memory that the changes of a repeated request may take; if they take more, it is answered without data.
const MAX_REPEATED_BYTES: usize = 32 * 1024 * 1024;

/// How often a write is tried whose rules ask for what is changing meanwhile.
const MAX_TRIES: usize = 20;

/// A request's idempotency key. A repetition has the same key and the same hash.
#[derive(Clone, Debug)]
pub struct RequestKey {
    /// The client's text.
    pub key: String,
    /// Hash of method, path, query, preconditions and body.
    pub request: String,
}

/// The use cases of documents. Cheap to clone.
///
/// A collection is given by its name or id. A write to one that does not exist creates it.
#[derive(Clone)]
pub struct Documents {
    pub db: Db,
    pub catalogs: Catalogs,
    pub writer: WriterHandle,
    pub scans: Scans,
}

impl Documents {
    /// Creates a document with an id of ours.
    pub async fn create(
        &self,
        principal: &Principal,
        collection: String,
        data: Data,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let checked = self.check_data(principal, &collection, &data);
        let operation = Operation::CreateDocument { collection, data, checked };
        self.write(principal, vec![operation], request_key).await
    }

    /// Creates the document, or replaces its data.
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

    /// Merges top-level members into a document that exists, and applies operators.
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

    /// Deletes a document that exists.
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
    pub async fn get(
        &self,
        principal: &Principal,
        collection: &str,
        id: &DocumentId,
    ) -> Result<(Arc<Collection>, Document), ServiceError> {
        let (collection, document, mask) = self.get_whole(principal, collection, id).await?;
        Ok((collection, mask.strip(document)))
    }

    /// Does the same, and returns what the principal may do with the document.
    pub async fn get_with_access(
        &self,
        principal: &Principal,
        collection: &str,
        id: &DocumentId,
    ) -> Result<(Arc<Collection>, Document, Option<Access>), ServiceError> {
        let (collection, document, mask) = self.get_whole(principal, collection, id).await?;
        let access = self.access(principal, &collection, std::slice::from_ref(&document)).await?.pop();
        Ok((collection, mask.strip(document), access))
    }

    /// Reads a whole document, with its collection and the mask through which the principal sees it.
    async fn get_whole(
        &self,
        principal: &Principal,
        collection: &str,
        id: &DocumentId,
    ) -> Result<(Arc<Collection>, Document, Arc<Mask>), ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let View { collection, filter: rule, mask } = self.view(principal, collection, Filter::all()).await?;
        let key = (collection.id.clone(), id.clone());
        let found =
            self.db.read(Lane::Point, |db| async move { one::find(&db, &key.0, &key.1).await }).await?;
        let found = found.filter(|document| rule.matches(document));
        Ok((collection, found.ok_or(ServiceError::UnknownDocument)?, mask))
    }

    /// Checks new data against the schema before it is queued: the writer serves everybody, and should not spend time on it.
    /// The writer still decides. The schema may change before it gets there, and a repeated request gets its first answer.
    pub(super) fn check_data(&self, principal: &Principal, collection: &str, data: &Data) -> Option<Checked> {
        let catalog = self.catalogs.cached(&principal.project)?;
        let schema = catalog.find(collection)?.schema.clone()?;
        Some(Checked::new(schema, data))
    }

    /// Submits operations as one mutation, and waits until it is on disk.
    pub(super) async fn write(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        permission::check(principal, Action::WriteDocuments)?;
        self.check_writes(principal, &operations).await?;
        self.submit(principal, operations, request_key).await
    }

    /// Does the same for a principal who was found to be allowed to.
    pub(super) async fn submit(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
        request_key: Option<RequestKey>,
    ) -> Result<Committed, ServiceError> {
        let idempotency = request_key.map(|RequestKey { key, request }| Idempotency {
            key: IdempotencyKey {
                project: principal.project.clone(),
                // Users of one app send the same texts with the same key.
                caller: principal.caller_name(),
                key,
            },
            request,
        });
        let (project, caller, session) = principal.callers();
        let seen = principal.seen.clone();
        let mut mutation = Mutation { project, caller, session, author: None, operations, idempotency, seen };
        let mut tries = 1;
        let committed = loop {
            mutation.author = self.find_author(principal, &mutation.operations, None).await?;
            let asks_others = mutation.author.as_ref().is_some_and(|author| !author.sets.is_empty());
            if !asks_others || tries == MAX_TRIES {
                break self.writer.submit(mutation).await?;
            }
            match self.writer.submit(mutation.clone()).await {
                Err(err) if err.is_behind() => tries += 1,
                done => break done?,
            }
        };
        let committed = match committed.lacks_data() {
            true => self.add_data(principal, committed).await?,
            false => committed,
        };
        Ok(self.mask_written(principal, committed).await)
    }

    /// Returns what was committed, with its documents as the principal sees them. The write has happened, so it is answered in any
    /// case: without data if the mask can't be found.
    async fn mask_written(&self, principal: &Principal, mut committed: Committed) -> Committed {
        if principal.is_server() {
            return committed;
        }
        let masks = match self.masks_of(principal, &committed).await {
            Ok(Some(masks)) => masks,
            Ok(None) => return committed.without_data(),
            Err(err) => {
                tracing::warn!("a write is answered without data, because its mask can't be found: {err}");
                return committed.without_data();
            }
        };
        for outcome in &mut committed.outcomes {
            if let Outcome::Document { collection, document, .. } = outcome
                && let Some(mask) = masks.get(collection)
            {
                *document = mask.strip_shared(document);
            }
        }
        committed
    }

    /// Returns the masks of the collections whose documents were written, where they hide something. `None` if one can't be found.
    async fn masks_of(
        &self,
        principal: &Principal,
        committed: &Committed,
    ) -> Result<Option<HashMap<CollectionName, Mask>>, StoreError> {
        let catalog = self.catalogs.get(&principal.project).await?;
        let rights = Rights::new(&self.db, Lane::Scan, catalog.clone(), principal);
        let mut masks = HashMap::new();
        for outcome in &committed.outcomes {
            let Outcome::Document { collection: name, .. } = outcome else { continue };
            let Some(collection) = catalog.find(name.as_str()).filter(|_| !masks.contains_key(name)) else {
                continue;
            };
            match rights.mask(collection).await? {
                Some(mask) => masks.insert(name.clone(), mask),
                None => return Ok(None),
            };
        }
        masks.retain(|_, mask| !mask.is_empty());
        Ok(Some(masks))
    }

    /// Returns the author of what a principal writes, with the sets of other collections that the rules ask for. These are read in
    /// a turn of the principal, unless the caller has one (`in_turn`).
    pub(super) async fn find_author(
        &self,
        principal: &Principal,
        operations: &[Operation],
        in_turn: Option<&Scan>,
    ) -> Result<Option<Author>, ServiceError> {
        let Some(author) = Author::of(principal) else { return Ok(None) };
        let catalog = self.catalogs.get(&principal.project).await?;
        let mut ids: Vec<_> = Vec::new();
        for operation in operations {
            if let Some(collection) = operation.collection().and_then(|name| catalog.find(name))
                && catalog.rules_of(&collection.id).is_some_and(|rules| rules.has_relations())
                && !ids.contains(&collection.id)
            {
                ids.push(collection.id.clone());
            }
        }
        if ids.is_empty() {
            return Ok(Some(author));
        }
        let _turn = if in_turn.is_none() { Some(self.scans.begin(principal).await?) } else { None };
        // The sets are read after the end, so that they are at least as new.
        let project = principal.project.clone();
        let ends = self.db.read(Lane::Point, |db| async move { ends::find(&db, &project).await }).await?;
        let sets_at = ends.map_or(0, |ends| ends.last.sequence);
        let catalog = self.catalogs.get_latest(&principal.project).await?;
        let rights = Rights::new(&self.db, Lane::Scan, catalog, principal);
        let sets = rights.all_sets(ids.iter()).await?.ok_or(Forbidden::TooManyValues)?;
        Ok(Some(Author { sets, sets_at, ..author }))
    }

    /// Checks that a principal may write to the collections of these operations.
    pub(super) async fn check_writes(
        &self,
        principal: &Principal,
        operations: &[Operation],
    ) -> Result<(), ServiceError> {
        if permission::check(principal, Action::ManageUsers).is_ok() {
            return Ok(());
        }
        let catalog = self.catalogs.get(&principal.project).await?;
        for operation in operations {
            let Some(collection) = operation.collection().and_then(|name| catalog.find(name)) else {
                continue;
            };
            match operation {
                Operation::MergeDocument { id, patch, .. } => {
                    let has_rules = catalog.has_own_rules(&collection.id);
                    let checked = permission::check_merge(principal, (collection, has_rules), id, patch);
                    checked.map_err(|why| match why {
                        Unwritable::Unknown => ServiceError::UnknownDocument,
                        Unwritable::Forbidden(why) => why.into(),
                    })?;
                }
                _ => permission::check_writable(principal, collection)?,
            }
        }
        Ok(())
    }

    /// Adds the data that a stored outcome leaves out, as the log has it. Data that the log no longer has stays left out, and so
    /// does all data if it would take too much memory.
    async fn add_data(
        &self,
        principal: &Principal,
        mut committed: Committed,
    ) -> Result<Committed, ServiceError> {
        let sequence_of = |outcome: &Outcome| match outcome {
            Outcome::WithoutData { sequence, .. } => Some(*sequence),
            _ => None,
        };
        let sequences: Vec<_> = committed.outcomes.iter().filter_map(sequence_of).collect();
        // The write has happened, so it is answered in any case.
        let Ok(scan) = self.scans.begin(principal).await else { return Ok(committed) };
        let (project, most) = (principal.project.clone(), MAX_REPEATED_BYTES.min(scan.room().free_bytes()));
        let read = move |db| async move { changes::read_images(&db, &project, &sequences, most).await };
        let images = scan.read(read).await?;
        for outcome in &mut committed.outcomes {
            if let Outcome::WithoutData { collection, stamp, is_new, sequence } = outcome
                && let Some(document) = images.get(sequence)
                && document.stamp() == *stamp
            {
                let (collection, document) = (collection.clone(), document.clone());
                *outcome = Outcome::Document { collection, document, is_new: *is_new, sequence: *sequence };
            }
        }
        Ok(committed)
    }
}
