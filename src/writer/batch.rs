//! Applies mutations in order to an in-memory overlay, which yields the rows to write and the changes to log. It uses no
//! database, and the clock for one bound only.
//!
//! The operations themselves are in `documents`, `collections` and `indexes`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    accounts::Accounts,
    error::WriteError,
    mutation::{Mutation, Operation},
    outcome::{Committed, Outcome},
    staged::{Plan, Staged},
    stored_outcome,
};
use crate::{
    domain::{
        Change, CollectionId, Document, DocumentId, DocumentKey, LogEnds, ProjectId, SessionId, Timestamp,
    },
    store::{
        Trouble,
        access::keys::StoredKey,
        collections::catalog::Catalog,
        documents::writes::{DocumentWrite, DocumentWrites},
        log::idempotency::{self, Caller, IdempotencyKey, StoredOutcome},
    },
};

/// The database's content, as far as the mutations need it. The log ends are locked, so it stays true until the commit.
#[derive(Debug, Default)]
pub struct Base {
    pub log_ends: HashMap<ProjectId, LogEnds>,
    pub catalogs: HashMap<ProjectId, Arc<Catalog>>,
    /// The keys that are not revoked, of projects whose keys are changed.
    pub keys: HashMap<ProjectId, Vec<StoredKey>>,
    /// The documents that the mutations read. A document that is missing here does not exist.
    pub documents: HashMap<DocumentKey, Arc<Document>>,
    /// Credentials and sessions of the users that the mutations are about, and whose the addresses are that they give.
    pub accounts: Accounts,
    /// The users of the sessions that the mutations refresh.
    pub refreshed: HashMap<SessionId, DocumentId>,
    /// Stored outcomes of the mutations' idempotency keys.
    pub outcomes: HashMap<IdempotencyKey, StoredOutcome>,
    /// Bytes of expired outcomes under the mutations' idempotency keys, which new ones replace.
    pub expired: HashMap<IdempotencyKey, u64>,
    /// Bytes of the stored outcomes of each caller. Read only if a mutation has an idempotency key.
    pub outcome_sizes: HashMap<Caller, u64>,
    /// The most bytes of the stored outcomes of a project.
    pub max_idempotency_bytes: u64,
    /// Changes of a collection since its documents were checked against the schema that is about to be set; `None` if there are
    /// too many.
    pub unchecked: Option<Vec<Arc<Change>>>,
    /// Indexes that all collections declare. Read only if a mutation declares indexes.
    pub declared_indexes: usize,
    /// The bound on `declared_indexes`.
    pub max_indexes: usize,
    /// The most collections of a project.
    pub max_collections: usize,
    /// The time of the batch.
    pub now: Timestamp,
    /// Bytes of a document's data, as canonical text.
    pub max_document_bytes: usize,
}

/// The changes that the mutations make to the base.
#[derive(Default)]
struct Overlay {
    log_ends: HashMap<ProjectId, LogEnds>,
    catalogs: HashMap<ProjectId, Arc<Catalog>>,
    /// `None` for a document that is deleted.
    documents: HashMap<DocumentKey, Option<Arc<Document>>>,
    accounts: Accounts,
    outcomes: HashMap<IdempotencyKey, StoredOutcome>,
    /// By how much the bytes of each caller's outcomes grow.
    outcome_sizes: HashMap<Caller, i64>,
}

/// A batch in progress: what the database holds, and what the mutations so far make of it.
pub struct Batch {
    base: Base,
    /// The effects of the mutations since the last [`Batch::keep`].
    next: Overlay,
    /// The documents of `next`, in the order of their first write.
    written: Vec<DocumentKey>,
    /// The collections of all documents that the batch has written so far.
    changed: HashSet<CollectionId>,
    plan: Plan,
    weight: usize,
    kept_weight: usize,
}

impl Batch {
    pub fn new(base: Base) -> Self {
        Self {
            base,
            next: Overlay::default(),
            written: Vec::new(),
            changed: HashSet::new(),
            plan: Plan::default(),
            weight: 0,
            kept_weight: 0,
        }
    }

    /// Applies one mutation, wholly or not at all.
    ///
    /// # Errors
    /// [`WriteError`] if one of its operations fails; the batch is then as before.
    pub fn apply(&mut self, mutation: &Mutation) -> Result<Committed, WriteError> {
        if let Some(idempotency) = &mutation.idempotency
            && let Some(stored) = self.outcome(&idempotency.key)
        {
            if stored.request != idempotency.request {
                return Err(WriteError::IdempotencyConflict);
            }
            return stored_outcome::from_text(&stored.outcome).ok_or(WriteError::IdempotencyConflict);
        }
        let mut staged = self.begin(mutation)?;
        let at_operation = |place, cause| WriteError::AtOperation { place, cause: Box::new(cause) };
        let mut outcomes = Vec::with_capacity(mutation.operations.len());
        for (place, operation) in mutation.operations.iter().enumerate() {
            let outcome = self.apply_operation(&mut staged, operation);
            outcomes.push(outcome.map_err(|cause| at_operation(place, cause))?);
        }
        let cursor = staged.ends.cursor();
        let committed = Committed { outcomes, cursor };
        if let Some(idempotency) = &mutation.idempotency {
            let outcome =
                stored_outcome::to_text(&committed).map_err(|_| WriteError::Unavailable(Trouble::Away))?;
            let stored = StoredOutcome { request: idempotency.request.clone(), outcome };
            self.check_outcome_size(&idempotency.key, &stored)?;
            staged.plan.outcomes.push((idempotency.key.clone(), stored));
        }
        self.absorb(staged);
        Ok(committed)
    }

    /// Returns the documents to write: the last state of each, as an insert, an update or a delete.
    pub fn document_writes<'a>(&'a self) -> DocumentWrites<'a> {
        let write = |key: &'a DocumentKey, document: &'a Document| DocumentWrite {
            collection: &key.collection,
            document,
        };
        let mut writes = DocumentWrites::default();
        for key in &self.written {
            let next = self.next.documents.get(key).and_then(Option::as_ref);
            match (self.base.documents.contains_key(key), next) {
                (true, Some(document)) => writes.updates.push(write(key, document)),
                (false, Some(document)) => writes.inserts.push(write(key, document)),
                (true, None) => writes.deletes.push(key),
                (false, None) => {}
            }
        }
        writes
    }

    /// Returns everything else to write.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the new ends of the logs that grew.
    pub fn moved_log_ends(&self) -> impl Iterator<Item = &LogEnds> {
        let moved =
            |ends: &&LogEnds| self.base.log_ends.get(&ends.project).is_none_or(|old| old.last != ends.last);
        self.next.log_ends.values().filter(moved)
    }

    /// Returns by how much the bytes of each caller's stored outcomes grow.
    pub fn outcome_sizes(&self) -> impl Iterator<Item = (&Caller, i64)> {
        self.next.outcome_sizes.iter().map(|(caller, change)| (caller, *change))
    }

    /// Returns roughly how many bytes the changes so far occupy: each new image, and the text of both images for the log.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Plan { changes, outcomes, mails, audit, changed_keys, key_uses, .. } = &self.plan;
        changes.is_empty()
            && changed_keys.is_empty()
            && key_uses.is_empty()
            && outcomes.is_empty()
            && mails.is_empty()
            && audit.is_empty()
            && self.next.accounts.is_empty()
    }

    /// Makes the applied mutations part of the base, after they were written.
    pub fn keep(&mut self) {
        let next = std::mem::take(&mut self.next);
        self.base.log_ends.extend(next.log_ends);
        self.base.catalogs.extend(next.catalogs);
        for (key, document) in next.documents {
            match document {
                Some(document) => self.base.documents.insert(key, document),
                None => self.base.documents.remove(&key),
            };
        }
        self.base.accounts.extend(next.accounts);
        self.base.outcomes.extend(next.outcomes);
        for (caller, change) in next.outcome_sizes {
            let size = self.base.outcome_sizes.entry(caller).or_default();
            *size = size.saturating_add_signed(change);
        }
        self.kept_weight = self.weight;
        self.clear();
    }

    /// Drops the mutations that were applied since the last [`Batch::keep`], because they were not written.
    pub fn discard(&mut self) {
        self.next = Overlay::default();
        self.weight = self.kept_weight;
        self.clear();
    }

    /// Returns the collections of each project as they are after the batch.
    pub fn into_catalogs(self) -> HashMap<ProjectId, Arc<Catalog>> {
        let mut catalogs = self.base.catalogs;
        catalogs.extend(self.next.catalogs);
        catalogs
    }

    pub(super) fn catalogs(&self) -> impl Iterator<Item = &Catalog> {
        self.next.catalogs.values().chain(self.base.catalogs.values()).map(|catalog| &**catalog)
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    pub(super) fn declared_indexes(&self) -> usize {
        self.base.declared_indexes
    }

    pub(super) fn max_indexes(&self) -> usize {
        self.base.max_indexes
    }

    pub(super) fn max_collections(&self) -> usize {
        self.base.max_collections
    }

    /// Returns the time of the batch.
    pub(super) fn now(&self) -> Timestamp {
        self.base.now
    }

    pub(super) fn max_document_bytes(&self) -> usize {
        self.base.max_document_bytes
    }

    /// Returns the credentials and sessions as the mutations since the last [`Batch::keep`] leave them, to be written.
    pub(super) fn next_accounts(&self) -> &Accounts {
        &self.next.accounts
    }

    pub(super) fn base_accounts(&self) -> &Accounts {
        &self.base.accounts
    }

    pub(super) fn unchecked(&self) -> Option<&[Arc<Change>]> {
        self.base.unchecked.as_deref()
    }

    pub(super) fn log_ends(&self, project: &ProjectId) -> Option<&LogEnds> {
        self.next.log_ends.get(project).or_else(|| self.base.log_ends.get(project))
    }

    fn outcome(&self, key: &IdempotencyKey) -> Option<&StoredOutcome> {
        self.next.outcomes.get(key).or_else(|| self.base.outcomes.get(key))
    }

    /// Checks the bound on a project's outcomes. One caller may take half of it, so that no API key can lock out the others.
    fn check_outcome_size(&self, key: &IdempotencyKey, stored: &StoredOutcome) -> Result<(), WriteError> {
        let limit = self.base.max_idempotency_bytes;
        let (caller, added) = (key.caller(), self.added_size(key, stored));
        let (mut own, mut all) = (added, added);
        let kept = self.base.outcome_sizes.iter().map(|(other, size)| (other, *size as i64));
        let grown = self.next.outcome_sizes.iter().map(|(other, change)| (other, *change));
        for (other, size) in kept.chain(grown).filter(|((project, _), _)| *project == key.project) {
            all += size;
            if *other == caller {
                own += size;
            }
        }
        if all > limit as i64 || own > (limit / 2) as i64 {
            return Err(WriteError::TooManyIdempotencyKeys { limit });
        }
        Ok(())
    }

    /// Returns by how much a caller's outcomes grow with a new one, which may replace one that is expired.
    fn added_size(&self, key: &IdempotencyKey, stored: &StoredOutcome) -> i64 {
        let replaced = self.base.expired.get(key).copied().unwrap_or(0);
        idempotency::size(key, stored) as i64 - replaced as i64
    }

    fn clear(&mut self) {
        self.written.clear();
        self.plan = Plan::default();
    }

    fn absorb(&mut self, staged: Staged) {
        for key in staged.order {
            if !self.changed.contains(&key.collection) {
                self.changed.insert(key.collection.clone());
            }
            if !self.next.documents.contains_key(&key) {
                self.written.push(key);
            }
        }
        self.next.documents.extend(staged.documents);
        self.next.accounts.extend(staged.accounts);
        if let Some(catalog) = staged.catalog {
            self.next.catalogs.insert(staged.project.clone(), Arc::new(catalog));
        }
        self.next.log_ends.insert(staged.project, staged.ends);
        for (key, stored) in &staged.plan.outcomes {
            let added = self.added_size(key, stored);
            *self.next.outcome_sizes.entry(key.caller()).or_default() += added;
            self.next.outcomes.insert(key.clone(), stored.clone());
        }
        self.weight += staged.weight;
        self.plan.extend(staged.plan);
    }

    pub(super) fn apply_operation(
        &self,
        staged: &mut Staged,
        operation: &Operation,
    ) -> Result<Outcome, WriteError> {
        match operation {
            Operation::CreateDocument { collection, data, checked } => {
                self.create_document(staged, collection, data, checked.as_ref())
            }
            Operation::PutDocument { collection, id, data, precondition, checked } => {
                self.put_document(staged, collection, id, data, precondition, checked.as_ref())
            }
            Operation::MergeDocument { collection, id, patch, precondition } => {
                self.merge_document(staged, collection, id, patch, precondition)
            }
            Operation::DeleteDocument { collection, id, precondition, missing } => {
                self.delete_document(staged, collection, id, precondition, *missing)
            }
            Operation::CreateCollection { name, schema } => {
                self.create_collection(staged, name, schema.as_ref())
            }
            Operation::SetRules { collection, rules } => self.set_rules(staged, collection, rules.as_ref()),
            Operation::SetSchema { collection, schema, .. } => {
                self.set_schema(staged, collection, schema.as_ref())
            }
            Operation::SetIndexes { collection, indexes } => self.set_indexes(staged, collection, indexes),
            Operation::FinishIndex { collection, index, state } => {
                self.finish_index(staged, collection, index, state)
            }
            Operation::RenameCollection { collection, name } => {
                self.rename_collection(staged, collection, name)
            }
            Operation::RemoveCollection { collection } => self.remove_collection(staged, collection),
            Operation::Key(operation) => self.apply_key_operation(staged, operation),
            Operation::NoteKeyUses(uses) => {
                staged.plan.key_uses.extend(uses.iter().cloned());
                Ok(Outcome::Done)
            }
            Operation::RotateSecret(rotation) => {
                staged.rotate_secret(rotation);
                Ok(Outcome::Done)
            }
            Operation::ChangeSettings(change) => self.change_settings(staged, change),
            Operation::User(operation) => self.apply_user_operation(staged, operation),
            Operation::Audit(entries) => {
                staged.plan.audit.extend(entries.iter().cloned());
                Ok(Outcome::Done)
            }
            Operation::KeepMail(mail) => {
                staged.plan.mails.push((**mail).clone());
                Ok(Outcome::Done)
            }
            Operation::AcceptClock => {
                staged.accept_clock(self.base.now);
                Ok(Outcome::ClockAccepted)
            }
        }
    }

    /// Returns the collections as the mutation sees them.
    pub(super) fn catalog<'a>(&'a self, staged: &'a Staged) -> &'a Catalog {
        staged.catalog.as_ref().unwrap_or_else(|| self.catalog_of(&staged.project))
    }

    /// Returns the collections as the mutations so far left them.
    fn catalog_of(&self, project: &ProjectId) -> &Catalog {
        static EMPTY: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(Catalog::default);
        let catalog = self.next.catalogs.get(project).or_else(|| self.base.catalogs.get(project));
        catalog.map_or(&EMPTY, |catalog| catalog)
    }

    /// Changes the collections, as of the control entry that was logged last.
    pub(super) fn change_catalog(&self, staged: &mut Staged, change: impl FnOnce(&mut Catalog)) {
        let control = staged.ends.control;
        let catalog = staged.catalog.get_or_insert_with(|| self.catalog_of(&staged.project).clone());
        change(catalog);
        catalog.control = control;
    }

    /// Whether the batch has written documents of a collection, before the mutation at hand.
    pub(super) fn has_written(&self, collection: &CollectionId) -> bool {
        self.changed.contains(collection)
    }

    /// Returns a document as it was before the mutation at hand.
    pub(super) fn document_before(&self, key: &DocumentKey) -> Option<Arc<Document>> {
        match self.next.documents.get(key) {
            Some(document) => document.clone(),
            None => self.base.documents.get(key).cloned(),
        }
    }

    /// Returns a document as the mutation sees it.
    pub(super) fn document(&self, staged: &Staged, key: &DocumentKey) -> Option<Arc<Document>> {
        staged.documents.get(key).cloned().unwrap_or_else(|| self.document_before(key))
    }
}
