//! Setting a schema on a collection that has documents.
//!
//! They are checked before the writer is asked, page by page, while others go on writing. What they write meanwhile is in the
//! log: it is checked from there, until so little is left that the writer can look at the rest itself. So no write slips in
//! between the check and the schema, memory is bounded, and nobody waits for a large collection.

use std::sync::Arc;

use super::{Collections, ServiceError, collections::SettingsChange, find_collection};
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

/// How much is checked at once.
const PAGE: PageSize = PageSize { entries: 512, bytes: 4 * 1024 * 1024 };
/// Documents that are told, of those that don't fit.
const MAX_TOLD: usize = 20;
/// How often the writer is asked. Each time, what is left to check is what was written during the last check.
const MAX_TRIES: usize = 20;

/// Documents of a collection that don't fit a schema.
#[derive(Clone, Debug, Default)]
pub struct UnfitDocuments {
    /// The first of them, by id, and why.
    pub told: Vec<(DocumentId, Arc<[Violation]>)>,
    /// How many there are.
    pub count: u64,
}

impl UnfitDocuments {
    fn add(&mut self, id: DocumentId, violations: Arc<[Violation]>) {
        self.count += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push((id, violations));
        }
    }
}

impl Collections {
    /// Sets a schema that all documents fit, and what else is changed.
    pub(super) async fn set_schema(
        &self,
        principal: &Principal,
        collection: &str,
        schema: Arc<Schema>,
        others: SettingsChange,
    ) -> Result<Committed, ServiceError> {
        let id = find_collection(&self.catalogs, principal, collection).await?.id.clone();
        let project = &principal.project;
        // Before the documents are read: what is written later is in the log behind it.
        let mut fits_at = self.find_log_end(project).await?;
        self.check_documents(&id, &schema).await?;
        for _ in 0..MAX_TRIES {
            // By id: another collection may have come to this name meanwhile.
            let collection = id.to_string();
            let set = Operation::SetSchema {
                collection: collection.clone(),
                schema: Some(schema.clone()),
                fits_at,
            };
            match self.write(principal, [vec![set], others.others(&collection)].concat()).await {
                Err(ServiceError::Write(WriteError::AtOperation { place: 0, cause })) => match *cause {
                    WriteError::SchemaBehind => {}
                    WriteError::Unfit { id, violations } => {
                        return Err(ServiceError::Unfit(UnfitDocuments {
                            told: vec![(id, violations)],
                            count: 1,
                        }));
                    }
                    cause => return Err(cause.into()),
                },
                done => return done,
            }
            fits_at = self.check_log(project, &id, &schema, fits_at).await?;
        }
        Err(WriteError::SchemaBehind.into())
    }

    async fn find_log_end(&self, project: &ProjectId) -> Result<Position, ServiceError> {
        let project = project.clone();
        let ends = self.db.read(Lane::Point, |db| async move { ends::find(&db, &project).await }).await?;
        Ok(ends.ok_or(ServiceError::UnknownCollection)?.last)
    }

    /// Checks every document that is there from now on and doesn't change.
    async fn check_documents(
        &self,
        collection: &CollectionId,
        schema: &Arc<Schema>,
    ) -> Result<(), ServiceError> {
        let (mut unfit, mut after) = (UnfitDocuments::default(), None);
        loop {
            let (id, begin) = (collection.clone(), after.clone());
            let read = move |db| async move { several::read_after_id(&db, &id, begin.as_ref(), PAGE).await };
            let page = self.db.read(Lane::Scan, read).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for (id, violations) in check_all(schema, page.into_iter().map(Arc::new).collect()).await? {
                unfit.add(id, violations);
            }
        }
        if unfit.count > 0 { Err(ServiceError::Unfit(unfit)) } else { Ok(()) }
    }

    /// Checks what the log has after a place where all documents fitted; returns how far that was.
    async fn check_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        schema: &Arc<Schema>,
        mut fits_at: Position,
    ) -> Result<Position, ServiceError> {
        loop {
            let (own, id, after) = (project.clone(), collection.clone(), fits_at.sequence);
            let read = move |db| async move { changes::read_collection(&db, &own, &id, after, PAGE).await };
            let page = self.db.read(Lane::Scan, read).await?.ok_or(ServiceError::UnknownCollection)?;
            if page.ends.first.sequence > after {
                // Pruned meanwhile: begin anew.
                let end = self.find_log_end(project).await?;
                self.check_documents(collection, schema).await?;
                return Ok(end);
            }
            let images = page.entries.iter().filter_map(|change| match &change.entry {
                Entry::Document { after, .. } => after.clone(),
                Entry::Control(_) => None,
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

    /// An image that doesn't fit may be of yesterday: asks for the document as it is. If it changes again, the log knows.
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
            Err(violations) => {
                let told = vec![(id.clone(), violations)];
                Err(ServiceError::Unfit(UnfitDocuments { told, count: 1 }))
            }
        }
    }
}

/// Checks documents on a thread that nobody else waits for; returns those that don't fit.
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
    // It ends early only when the server does.
    let cut_short = |_| ServiceError::Store(StoreError::no_answer());
    tokio::task::spawn_blocking(check).await.map_err(cut_short)
}
