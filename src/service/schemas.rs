//! Sets a schema on a collection that may have documents.
//!
//! The existing documents are checked page by page, while others go on writing. Documents that they write meanwhile are in the
//! log, and are checked from there, until so few are left that the writer checks the rest itself in the transaction that sets
//! the schema. Thus no write slips in between the check and the schema, memory is bounded, and a large collection keeps nobody
//! waiting.

use std::sync::Arc;

use super::{
    collections::{Collections, SettingsChange},
    error::{ServiceError, UnfitDocuments},
    lookup::get_collection,
};
use crate::{
    auth::Principal,
    domain::{CollectionId, Document, DocumentId, Entry, Position, ProjectId, Schema, Violation},
    store::{
        Lane, StoreError,
        documents::{one, several},
        log::{
            changes::{self, PageSize},
            ends,
        },
    },
    writer::{Committed, Operation, WriteError},
};

/// How much is read and checked at once.
const PAGE: PageSize = PageSize { entries: 512, bytes: 4 * 1024 * 1024 };
/// How often the writer is asked. Each time, only the documents that were written during the last check are left.
const MAX_TRIES: usize = 20;

impl Collections {
    /// Sets a schema that all documents fit, and makes the other changes in the same mutation.
    pub(super) async fn set_schema(
        &self,
        principal: &Principal,
        collection: &str,
        schema: Arc<Schema>,
        others: SettingsChange,
    ) -> Result<Committed, ServiceError> {
        // It takes a secret key, which reads everything.
        let id = get_collection(&self.catalogs, &principal.project, collection).await?.id.clone();
        let project = &principal.project;
        // Before the documents are read: later writes are in the log after this position.
        let mut fits_at = self.find_log_end(project).await?;
        self.check_documents(principal, &id, &schema).await?;
        for _ in 0..MAX_TRIES {
            // By id: the name may belong to another collection by now.
            let collection = id.to_string();
            let set = Operation::SetSchema {
                collection: collection.clone(),
                schema: Some(schema.clone()),
                fits_at,
            };
            match self.write(principal, [vec![set], others.without_schema(&collection)].concat()).await {
                Err(ServiceError::Write(WriteError::AtOperation { place: 0, cause })) => match *cause {
                    WriteError::SchemaBehind => {}
                    WriteError::Unfit { id, violations } => {
                        return Err(ServiceError::Unfit(UnfitDocuments::one(id, violations)));
                    }
                    cause => return Err(cause.into()),
                },
                done => return done,
            }
            fits_at = self.check_log(principal, &id, &schema, fits_at).await?;
        }
        Err(WriteError::SchemaBehind.into())
    }

    async fn find_log_end(&self, project: &ProjectId) -> Result<Position, ServiceError> {
        let project = project.clone();
        let ends = self.db.read(Lane::Point, |db| async move { ends::find(&db, &project).await }).await?;
        Ok(ends.ok_or(ServiceError::UnknownCollection)?.last)
    }

    /// Checks all documents. One that is written during the check may be missed; the log has it.
    async fn check_documents(
        &self,
        principal: &Principal,
        collection: &CollectionId,
        schema: &Arc<Schema>,
    ) -> Result<(), ServiceError> {
        let (mut unfit, mut after) = (UnfitDocuments::default(), None);
        loop {
            let (id, begin) = (collection.clone(), after.clone());
            let read = move |db| async move { several::read_after_id(&db, &id, begin.as_ref(), PAGE).await };
            let scan = self.scans.begin_large(principal, PAGE.bytes).await?;
            let page = scan.read(read).await?;
            // Others may read while this page is checked.
            let _memory = scan.into_memory();
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for (id, violations) in check_all(schema, page.into_iter().map(Arc::new).collect()).await? {
                unfit.add(id, violations);
            }
        }
        if unfit.count > 0 { Err(ServiceError::Unfit(unfit)) } else { Ok(()) }
    }

    /// Checks the documents that the log has after `fits_at`, where all documents fitted. Returns the position up to which they
    /// fit now.
    async fn check_log(
        &self,
        principal: &Principal,
        collection: &CollectionId,
        schema: &Arc<Schema>,
        mut fits_at: Position,
    ) -> Result<Position, ServiceError> {
        let project = &principal.project;
        loop {
            let (own, id, after) = (project.clone(), collection.clone(), fits_at.sequence);
            let read = move |db| async move { changes::read_collection(&db, &own, &id, after, PAGE).await };
            let scan = self.scans.begin_large(principal, PAGE.bytes).await?;
            let page = scan.read(read).await?;
            let _memory = scan.into_memory();
            let page = page.ok_or(ServiceError::UnknownCollection)?;
            if page.ends.first.sequence > after || page.has_unreadable() {
                // The log was pruned past the position, or can't be read, so all documents have to be checked again.
                let end = self.find_log_end(project).await?;
                self.check_documents(principal, collection, schema).await?;
                return Ok(end);
            }
            let images = page.entries.iter().filter_map(|change| match &change.entry {
                Entry::Document { after, .. } => after.clone(),
                Entry::Control(_) | Entry::Unreadable { .. } => None,
            });
            for (id, _) in check_all(schema, images.collect()).await? {
                self.check_again(collection, &id, schema).await?;
            }
            let last = page.entries.last().map(|change| change.position);
            if page.is_last {
                return Ok(page.ends.last);
            }
            fits_at = last.unwrap_or(page.ends.last);
        }
    }

    /// Checks the current document behind an image of the log that doesn't fit: a later write may have mended it. If the document
    /// changes again, that change is in the log too.
    async fn check_again(
        &self,
        collection: &CollectionId,
        id: &DocumentId,
        schema: &Arc<Schema>,
    ) -> Result<(), ServiceError> {
        let key = (collection.clone(), id.clone());
        let read = |db| async move { one::find(&db, &key.0, &key.1).await };
        let Some(document) = self.db.read(Lane::Point, read).await? else { return Ok(()) };
        match schema.check(&document.data) {
            Ok(()) => Ok(()),
            Err(violations) => Err(ServiceError::Unfit(UnfitDocuments::one(id.clone(), violations))),
        }
    }
}

/// Checks documents on a blocking thread, because a schema can take long. Returns those that don't fit.
async fn check_all(
    schema: &Arc<Schema>,
    documents: Vec<Arc<Document>>,
) -> Result<Vec<(DocumentId, Arc<[Violation]>)>, ServiceError> {
    let schema = schema.clone();
    let check = move || {
        let unfit =
            |document: &Arc<Document>| Some((document.id.clone(), schema.check(&document.data).err()?));
        documents.iter().filter_map(unfit).collect()
    };
    // The task is cut short only when the server stops.
    let cut_short = |_| ServiceError::Store(StoreError::no_answer());
    tokio::task::spawn_blocking(check).await.map_err(cut_short)
}
