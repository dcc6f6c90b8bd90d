//! What a live stream needs beside the hub: may it, from where, and the log.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionId, DocumentId, Position, ProjectId, cursor::Cursor},
    live::reads::{
        Resume, StreamReader,
        identical_reads::IdenticalReads,
        shared_reads::SharedReads,
        throttle::{Lease, Leases},
    },
    query::Filter,
    service::ServiceError,
    store::{StoreError, documents::snapshots::DocumentPage, log::changes::LogPage},
    writer::Activity,
};

/// How many subscriptions read the database at the same time. The writer has a connection of its own and never waits for
/// them.
const READERS: usize = 4;
/// How many pages are in memory at the same time, on their way to the peers.
const PAGES: usize = 64;

/// The use cases of live streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    reader: Arc<dyn StreamReader>,
    readers: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    leases: Leases,
    shared: Arc<SharedReads>,
    document_pages: Arc<IdenticalReads<PageKey, Option<Arc<DocumentPage>>>>,
}

/// The right to have a page in memory; given back when dropped.
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    pages: Arc<Semaphore>,
    shared: Arc<SharedReads>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        // Pages are kept for others, and now there are none.
        if self.pages.available_permits() == PAGES {
            self.shared.forget_kept();
        }
    }
}

/// Which page of a snapshot: of what, by an index or not, and after which id.
type PageKey = (CollectionId, Arc<Filter>, bool, Option<DocumentId>);

impl Streams {
    /// Starts with nobody reading. Who catches up makes room for the writes that `activity` is of.
    pub fn new(reader: Arc<dyn StreamReader>, activity: Activity) -> Self {
        Self {
            reader,
            readers: Arc::new(Semaphore::new(READERS)),
            pages: Arc::new(Semaphore::new(PAGES)),
            leases: Leases::new(activity),
            shared: Arc::default(),
            document_pages: Arc::default(),
        }
    }

    /// Whether a principal may watch collections at all.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub fn check(&self, principal: &Principal) -> Result<(), ServiceError> {
        permission::check(principal, Action::Subscribe)?;
        permission::check(principal, Action::ReadDocuments)?;
        Ok(())
    }

    /// Whether a principal may be in rooms and in its project's broadcast.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub fn check_meeting(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(permission::check(principal, Action::Subscribe)?)
    }

    /// The collection that a principal wants to watch.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::UnknownCollection`], or the database's own.
    pub async fn open(
        &self,
        principal: &Principal,
        collection: &str,
    ) -> Result<Arc<Collection>, ServiceError> {
        self.check(principal)?;
        let found = self.reader.find_collection(&principal.project, collection).await?;
        let found = found.ok_or(ServiceError::UnknownCollection)?;
        permission::check_collection(principal, &found.id)?;
        Ok(found)
    }

    /// Whether a stream can go on from a cursor.
    ///
    /// # Errors
    /// The database's own.
    pub async fn resume(&self, project: &ProjectId, cursor: Cursor) -> Result<Resume, StoreError> {
        self.reader.resume(project, cursor).await
    }

    /// Whether a collection is still there, where the log can't tell any more.
    ///
    /// # Errors
    /// The database's own.
    pub async fn has_collection(&self, collection: &CollectionId) -> Result<bool, StoreError> {
        self.reader.has_collection(collection).await
    }

    /// The end of a project's log; `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_end(&self, project: &ProjectId) -> Result<Option<Cursor>, StoreError> {
        self.reader.find_end(project).await
    }

    /// Waits for the right to have a page in memory: those who asked first come first. It is kept until the page is sent,
    /// or given up because its peer takes nothing.
    pub async fn turn(&self) -> Turn {
        // Never closed, so a permit always comes.
        let permit = self.pages.clone().acquire_owned().await.ok();
        Turn { permit, pages: self.pages.clone(), shared: self.shared.clone() }
    }

    /// Waits for the right to work on a page, which is given back at each wait: while somebody writes, those who catch up have
    /// a part of the processors only.
    pub async fn lease(&self) -> Lease {
        self.leases.next().await
    }

    /// The next changes of a collection, and control entries of its project, after `after`. Waits while too many read;
    /// meanwhile another one's page may come that has them, and then it is this: it may begin before `after`. `None` if
    /// there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> Result<Option<Arc<LogPage>>, StoreError> {
        let mut wait = self.shared.wait((project.clone(), collection.clone()), after);
        let _permit = tokio::select! {
            biased;
            page = wait.page() => return Ok(Some(page)),
            permit = self.readers.acquire() => permit,
        };
        let begun = wait.begin();
        let Some(page) = self.reader.read_log(project, collection, after).await? else { return Ok(None) };
        let page = Arc::new(page);
        wait.share(begun, &page);
        Ok(Some(page))
    }

    /// Whether so few documents match that they are best found by an index, for each page anew. Waits while too many read.
    ///
    /// # Errors
    /// The database's own.
    pub async fn has_few(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> Result<bool, StoreError> {
        let _permit = self.readers.acquire().await;
        self.reader.has_few(project, collection, filter).await
    }

    /// The next matching documents of a collection in the order of their ids, as they were after this was asked; by an index
    /// if they are `few`. Waits while too many read. `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        few: bool,
        after: Option<DocumentId>,
    ) -> Result<Option<Arc<DocumentPage>>, StoreError> {
        let key = (collection.clone(), filter.clone(), few, after.clone());
        let read = async || {
            let page = self.reader.read_documents(project, collection, filter, few, after).await?;
            Ok(page.map(Arc::new))
        };
        self.document_pages.get(&key, &self.readers, read).await
    }
}
