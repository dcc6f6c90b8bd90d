//! The reads of live streams: whether the principal may, and then the database, shared and bounded.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    reader::StreamReader,
    shared_reads::{Answer, SharedReads},
    throttle::{Throttle, WorkPermit},
};
use crate::{
    auth::{Action, Forbidden, Principal, permission},
    domain::{Change, Collection, CollectionId, DocumentId, Position, ProjectId, cursor::Cursor},
    hub::{Interests, relay::RelayHandle},
    live::{error::LiveError, resume::Resume},
    query::Filter,
    store::{
        StoreError,
        documents::snapshots::{AccessPath, DocumentPage},
        log::changes::LogPage,
    },
    writer::Activity,
};

/// How many subscriptions read the database at the same time. The writer has a connection of its own and never waits for
/// them.
const MAX_READS: usize = 4;
/// How many pages are in memory at the same time, on their way to the peers.
const MAX_PAGES: usize = 64;

/// Bytes of the filters of all subscriptions, unless a setting says otherwise.
const FILTER_BYTES: usize = 128 * 1024 * 1024;

/// The reads of live streams, shared and bounded. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    reader: Arc<dyn StreamReader>,
    relay: RelayHandle,
    max_subscriptions: usize,
    interests: Interests,
    read_permits: Arc<Semaphore>,
    page_permits: Arc<Semaphore>,
    throttle: Throttle,
    log_pages: Arc<LogPages>,
    document_pages: Arc<SharedReads<DocumentsKey, Option<Arc<DocumentPage>>>>,
}

type LogPages = SharedReads<(ProjectId, CollectionId), Option<Arc<LogPage>>>;

/// The collection, and the filter that its documents match.
type DocumentsKey = (CollectionId, Arc<Filter>);

impl Answer for Option<Arc<LogPage>> {
    /// The position after which the page begins.
    type Request = Position;

    fn covers(&self, read: &Position, request: &Position) -> bool {
        let Some(page) = self else { return false };
        let begins_early_enough = read.sequence <= request.sequence;
        begins_early_enough && (page.is_last || request.sequence < end_of(page))
    }

    fn is_immutable(&self) -> bool {
        self.as_ref().is_some_and(|page| !page.is_last)
    }

    /// The older page is beyond the end of its log, so the database was restored.
    fn contradicts(&self, older: &Self) -> bool {
        let (Some(newer), Some(older)) = (self, older) else { return false };
        newer.ends.project == older.ends.project
            && (newer.ends.epoch != older.ends.epoch || newer.ends.last.sequence < end_of(older))
    }

    fn weight(&self) -> usize {
        self.iter().flat_map(|page| &page.entries).map(|change| Change::weight(change)).sum()
    }
}

impl Answer for Option<Arc<DocumentPage>> {
    /// The way to find the documents, and the id after which the page begins.
    type Request = (AccessPath, Option<DocumentId>);

    fn covers(&self, _: &Self::Request, _: &Self::Request) -> bool {
        false
    }
}

/// The sequence of the last entry of a page; 0 if there is none.
fn end_of(page: &LogPage) -> u64 {
    page.entries.last().map_or(0, |change| change.position.sequence)
}

/// The right to have a page in memory. Held until the page is sent, or dropped because its peer takes nothing.
pub struct PagePermit {
    permit: Option<OwnedSemaphorePermit>,
    permits: Arc<Semaphore>,
    log_pages: Arc<LogPages>,
}

impl Drop for PagePermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        // Pages are kept for others, and now there are none.
        if self.permits.available_permits() == MAX_PAGES {
            self.log_pages.forget_kept();
        }
    }
}

impl Streams {
    /// Makes the reads of streams, of which each connection may have so many subscriptions. Catch-up work is throttled while
    /// `activity` is recent.
    pub fn new(
        reader: Arc<dyn StreamReader>,
        relay: RelayHandle,
        activity: Activity,
        max_subscriptions: usize,
    ) -> Self {
        Self {
            reader,
            relay,
            max_subscriptions,
            interests: Interests::new(FILTER_BYTES),
            read_permits: Arc::new(Semaphore::new(MAX_READS)),
            page_permits: Arc::new(Semaphore::new(MAX_PAGES)),
            throttle: Throttle::new(activity),
            log_pages: Arc::default(),
            document_pages: Arc::default(),
        }
    }

    /// Allows the filters of all subscriptions so many bytes.
    pub fn with_filter_bytes(self, max_bytes: usize) -> Self {
        Self { interests: Interests::new(max_bytes), ..self }
    }

    /// Returns what all subscriptions of the process want to hear of.
    pub fn interests(&self) -> &Interests {
        &self.interests
    }

    /// Returns how many subscriptions a connection may have.
    pub fn max_subscriptions(&self) -> usize {
        self.max_subscriptions
    }

    /// Makes sure that a principal may watch collections at all.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn check(&self, principal: &Principal) -> Result<(), Forbidden> {
        permission::check(principal, Action::Subscribe)?;
        permission::check(principal, Action::ReadDocuments)
    }

    /// Finds the collection that a principal wants to watch.
    ///
    /// # Errors
    /// [`LiveError::Forbidden`], [`LiveError::UnknownCollection`] or [`LiveError::Store`].
    pub async fn open(&self, principal: &Principal, collection: &str) -> Result<Arc<Collection>, LiveError> {
        self.check(principal)?;
        let found = self.reader.find_collection(&principal.project, collection).await?;
        let found = found.ok_or(LiveError::UnknownCollection)?;
        permission::check_collection(principal, &found.id)?;
        Ok(found)
    }

    /// Returns whether a stream can go on from a cursor.
    ///
    /// # Errors
    /// The database's own.
    pub async fn resume(&self, project: &ProjectId, cursor: Cursor) -> Result<Resume, StoreError> {
        self.reader.resume(project, cursor).await
    }

    /// Waits until the hub knows where the log ends, after a stream found that it lacks changes which the hub may still have.
    pub async fn hub_knows_log_end(&self) {
        self.relay.next_poll().await;
    }

    /// Returns whether a collection still exists, where the log can't tell any more.
    ///
    /// # Errors
    /// The database's own.
    pub async fn has_collection(&self, collection: &CollectionId) -> Result<bool, StoreError> {
        self.reader.has_collection(collection).await
    }

    /// Finds the end of a project's log. `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_end(&self, project: &ProjectId) -> Result<Option<Cursor>, StoreError> {
        self.reader.find_end(project).await
    }

    /// Waits for a permit to have a page in memory. Those who asked first get it first.
    pub async fn page_permit(&self) -> PagePermit {
        // The semaphore is never closed, so a permit always comes.
        let permit = self.page_permits.clone().acquire_owned().await.ok();
        PagePermit { permit, permits: self.page_permits.clone(), log_pages: self.log_pages.clone() }
    }

    /// Waits for a permit to work on a page. It must be given back before each wait.
    pub async fn work_permit(&self) -> WorkPermit {
        self.throttle.permit().await
    }

    /// Reads the next changes of a collection, and control entries of its project, after `after`. The page may be one that
    /// another subscription has read, and then it may begin before `after`. `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> Result<Option<Arc<LogPage>>, StoreError> {
        let read = async || Ok(self.reader.read_log(project, collection, after).await?.map(Arc::new));
        let key = (project.clone(), collection.clone());
        self.log_pages.get(&key, after, &self.read_permits, read).await
    }

    /// Chooses how the documents that match are best found. Waits while too many read.
    ///
    /// # Errors
    /// The database's own.
    pub async fn choose_path(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> Result<AccessPath, StoreError> {
        let _permit = self.read_permits.acquire().await;
        self.reader.choose_path(project, collection, filter).await
    }

    /// Reads the next matching documents of a collection in the order of their ids, as they were after this was called.
    /// `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        path: AccessPath,
        after: Option<DocumentId>,
    ) -> Result<Option<Arc<DocumentPage>>, StoreError> {
        let (key, request) = ((collection.clone(), filter.clone()), (path, after.clone()));
        let read = async || {
            let page = self.reader.read_documents(project, collection, filter, path, after).await?;
            Ok(page.map(Arc::new))
        };
        self.document_pages.get(&key, request, &self.read_permits, read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Control, Entry, LogEnds, Timestamp, cursor::Epoch};

    fn at(sequence: u64) -> Position {
        Position { sequence, at: Timestamp(0) }
    }

    /// The page after a sequence, up to and with `last`, of a log that ends there or later.
    fn page(project: &str, (after, last): (u64, u64), end: u64) -> Option<Arc<LogPage>> {
        let project = ProjectId::from_stored(project);
        let change = |sequence| {
            let entry = Entry::Control(Control::KeyRevoked { key: String::new() });
            Arc::new(Change { project: project.clone(), position: at(sequence), entry })
        };
        let entries = (after + 1..=last).map(change).collect();
        let ends =
            LogEnds { project: project.clone(), epoch: Epoch(1), first: at(0), last: at(end), control: 0 };
        Some(Arc::new(LogPage { ends, entries, is_last: last == end }))
    }

    #[test]
    fn a_log_page_covers_every_position_that_it_goes_on_from() {
        for (why, end, after, expected) in [
            ("it begins after that", 30, 9, false),
            ("the same", 30, 10, true),
            ("a part of it", 30, 19, true),
            ("it ends there, and the log goes on", 30, 20, false),
            ("the log ends there, too", 20, 20, true),
        ] {
            let page = page("p", (10, 20), end);
            assert_eq!(page.covers(&at(10), &at(after)), expected, "{why}");
            assert_eq!(page.is_immutable(), end == 30, "{why}");
        }
        assert!(!None::<Arc<LogPage>>.covers(&at(0), &at(0)), "there is no such project");
    }

    #[test]
    fn a_log_that_ends_before_a_page_contradicts_it() {
        let older = page("p", (10, 20), 30);
        assert!(page("p", (5, 8), 8).contradicts(&older));
        assert!(!page("p", (20, 25), 25).contradicts(&older));
        assert!(!page("another", (5, 8), 8).contradicts(&older));
    }
}
