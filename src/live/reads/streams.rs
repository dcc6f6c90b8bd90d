//! The reads of live streams: whether the principal may, and then the database, shared and bounded.

use std::{ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    reader::{AsOf, LogEnd, StreamReader},
    shared_reads::{Answer, SharedReads},
    throttle::{Throttle, WorkPermit},
};
use crate::{
    auth::{Action, Forbidden, Principal, permission},
    domain::{
        Change, Collection, CollectionId, DocumentId, KeyStates, Position, ProjectId, SessionId,
        cursor::Cursor,
    },
    hub::{CloseReason, Interests, Owner, relay::RelayHandle},
    live::{error::LiveError, resume::Resume},
    query::Filter,
    shares::{Account, Budget, BudgetExhausted, BudgetPermit, FairPermit, FairPermits, PermitLimits},
    store::{
        StoreError,
        documents::snapshots::{AccessPath, DocumentPage},
        log::changes::LogPage,
    },
    writer::Activity,
};

/// How many pages are in memory at the same time, on their way to the peers, and how many of these are for keys that have
/// none yet.
const MAX_PAGES: (usize, usize) = (64, 16);
/// Bytes of memory that all pages over [`FREE_BYTES`] take together.
const LARGE_PAGES: usize = 32 * 1024 * 1024;
/// A smaller page takes nothing of that. Most pages are smaller, since only the last document of a page may be large.
const FREE_BYTES: usize = 256 * 1024;
/// Bytes that frames over [`FREE_FRAME`] take together, from their making until their peers have taken them.
const LARGE_FRAMES: usize = 48 * 1024 * 1024;
/// A smaller frame takes nothing of that.
const FREE_FRAME: usize = 64 * 1024;
/// The most that one page takes of it, so that pages that are kept for others leave room for it.
const MAX_LARGE_PAGE: usize = 24 * 1024 * 1024;

/// How long a wait for room is at most, before the next one begins.
const FRAME_WAIT: Duration = Duration::from_secs(60);

/// Bytes of memory of all subscriptions, unless a setting says otherwise.
const SUBSCRIPTION_BYTES: usize = 256 * 1024 * 1024;

/// The reads of live streams, shared and bounded. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    reader: Arc<dyn StreamReader>,
    relay: RelayHandle,
    max_subscriptions: usize,
    interests: Interests,
    read_permits: FairPermits,
    page_permits: FairPermits,
    /// In KiB.
    large_pages: Arc<Semaphore>,
    large_frames: Budget,
    throttle: Throttle,
    log_pages: Arc<LogPages>,
    document_pages: Arc<SharedReads<DocumentsKey, Option<Arc<Held<DocumentPage>>>>>,
}

type LogPages = SharedReads<(ProjectId, CollectionId), Option<Arc<Held<LogPage>>>>;

/// A frame with the memory that it takes.
struct HeldFrame {
    frame: Bytes,
    _permit: BudgetPermit,
}

impl AsRef<[u8]> for HeldFrame {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// A page with the memory that it takes, if that is much.
pub struct Held<P> {
    page: P,
    _memory: Option<OwnedSemaphorePermit>,
}

impl<P> Deref for Held<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.page
    }
}

/// The collection, and the filter that its documents match.
type DocumentsKey = (CollectionId, Arc<Filter>);

impl Answer for Option<Arc<Held<LogPage>>> {
    /// The position after which the page begins.
    type Request = Position;

    fn covers(&self, read: &Position, request: &Position) -> bool {
        let Some(page) = self else { return false };
        let begins_early_enough = read.sequence <= request.sequence;
        begins_early_enough
            && (page.is_last || request.sequence < end_of(page))
            && !page.contradicts(*request)
    }

    fn is_immutable(&self) -> bool {
        self.as_ref().is_some_and(|page| !page.is_last)
    }

    /// The older page is beyond the end of its log, or has other entries, so the database was restored or lost commits.
    fn contradicts(&self, older: &Self) -> bool {
        let (Some(newer), Some(older)) = (self, older) else { return false };
        let is_other = |change: &Arc<Change>| newer.contradicts(change.position);
        newer.ends.project == older.ends.project
            && (newer.ends.epoch != older.ends.epoch
                || newer.ends.last.sequence < end_of(older)
                || older.entries.iter().any(is_other))
    }

    fn weight(&self) -> usize {
        self.as_ref().map_or(0, |page| log_page_bytes(page))
    }
}

impl Answer for Option<Arc<Held<DocumentPage>>> {
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
    permit: Option<FairPermit>,
    permits: FairPermits,
    log_pages: Arc<LogPages>,
}

impl Drop for PagePermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        // Pages are kept for others, and now there are none.
        if self.permits.free() == MAX_PAGES.0 {
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
        // Each subscription has a place in a queue, so the number of subscriptions bounds those who wait.
        let permits = |permits, for_newcomers| {
            FairPermits::new(PermitLimits {
                permits,
                for_newcomers,
                waiting_of_a_key: usize::MAX,
                waiting_of_a_project: usize::MAX,
                waiting: usize::MAX,
            })
        };
        Self {
            read_permits: permits(reader.max_reads(), 1),
            page_permits: permits(MAX_PAGES.0, MAX_PAGES.1),
            large_pages: Arc::new(Semaphore::new(LARGE_PAGES / 1024)),
            large_frames: Budget::new(LARGE_FRAMES),
            reader,
            relay,
            max_subscriptions,
            interests: Interests::new(SUBSCRIPTION_BYTES),
            throttle: Throttle::new(activity),
            log_pages: Arc::default(),
            document_pages: Arc::default(),
        }
    }

    /// Allows all subscriptions so many bytes of memory.
    pub fn with_subscription_bytes(self, max_bytes: usize) -> Self {
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

    /// Finds a collection of which a principal may read something.
    ///
    /// # Errors
    /// [`LiveError::Forbidden`], [`LiveError::UnknownCollection`] or [`LiveError::Store`].
    pub async fn open_readable(
        &self,
        principal: &Principal,
        collection: &str,
    ) -> Result<Arc<Collection>, LiveError> {
        let found = self.open(principal, collection).await?;
        self.reader.read_rights(principal, &found, AsOf::Heard).await?.narrow(Filter::all())?;
        Ok(found)
    }

    /// Finds a collection that a principal may watch, if it may read something of it.
    ///
    /// # Errors
    /// [`LiveError::Forbidden`], [`LiveError::UnknownCollection`] or [`LiveError::Store`].
    pub async fn open(&self, principal: &Principal, collection: &str) -> Result<Arc<Collection>, LiveError> {
        self.check(principal)?;
        let found = self.reader.find_collection(&principal.project, collection).await?;
        let found = found.ok_or(LiveError::UnknownCollection)?;
        permission::check_collection(principal, &found)?;
        Ok(found)
    }

    /// Returns the reads that are not bounded here.
    pub fn reader(&self) -> &dyn StreamReader {
        &*self.reader
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

    /// Returns why the owner of a connection is not to be served any more, where the relay may not have heard of it yet. The last
    /// control entry of the log had the sequence `control`, if that is known. A key or a session that has ended is refused from then on.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_end_of(
        &self,
        owner: &Owner,
        control: Option<u64>,
    ) -> Result<Option<CloseReason>, StoreError> {
        let known =
            control.and_then(|control| self.reader.knows_key_end(&owner.project, &owner.key, control));
        let end = match known {
            Some(end) => end,
            None => self.reader.find_key_end(&owner.key).await?,
        };
        if let Some(end) = end {
            return Ok(Some(CloseReason::KeyEnded(end)));
        }
        match &owner.session {
            Some(session) if !self.has_session(session).await? => Ok(Some(CloseReason::SessionEnded)),
            _ => Ok(None),
        }
    }

    /// Returns whether a session goes on, by the database.
    ///
    /// # Errors
    /// The database's own.
    pub async fn has_session(&self, session: &SessionId) -> Result<bool, StoreError> {
        let goes_on = self.reader.has_session(session).await?;
        if !goes_on {
            self.reader.note_session_ended(session);
        }
        Ok(goes_on)
    }

    /// Notes that a session has ended, before its stream ends.
    pub fn note_session_ended(&self, session: &SessionId) {
        self.reader.note_session_ended(session);
    }

    /// Notes what has happened to keys, before a stream ends with it: a client that was told so must not be served any more.
    pub fn note_key_state(&self, states: &KeyStates) {
        self.reader.note_key_state(states);
    }

    /// Finds the end of a project's log. `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_end(&self, project: &ProjectId) -> Result<Option<LogEnd>, StoreError> {
        self.reader.find_end(project).await
    }

    /// Waits for a permit to have a page in memory. Keys get theirs in turns.
    pub async fn page_permit(&self, account: &Account) -> PagePermit {
        // The queue has no bound, so a permit always comes.
        let permit = self.page_permits.acquire(account).await.ok();
        PagePermit { permit, permits: self.page_permits.clone(), log_pages: self.log_pages.clone() }
    }

    /// Whether a frame needs a share of the memory for large ones.
    pub fn is_large(frame: &Bytes) -> bool {
        frame.len() > FREE_FRAME
    }

    /// Returns a frame that holds its share of the memory for large ones until the last copy of it is dropped. Waits for a moment.
    ///
    /// # Errors
    /// The peers of this key or of all have not taken enough; see [`Streams::frame_room`].
    pub async fn hold_frame(
        &self,
        account: &Account,
        frame: Bytes,
        moment: Duration,
    ) -> Result<Bytes, BudgetExhausted> {
        if !Self::is_large(&frame) {
            return Ok(frame);
        }
        let permit = self.large_frames.take_within(moment, account, frame.len()).await?;
        Ok(Bytes::from_owner(HeldFrame { frame, _permit: permit }))
    }

    /// Waits until there is room for a frame of this length, however long that takes. The caller must hold nothing meanwhile.
    pub async fn frame_room(&self, account: &Account, length: usize) {
        if length > FREE_FRAME {
            while self.large_frames.take_within(FRAME_WAIT, account, length).await.is_err() {}
        }
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
        account: &Account,
        collection: &CollectionId,
        after: Position,
    ) -> Result<Option<Arc<Held<LogPage>>>, StoreError> {
        let read = async || match self.reader.read_log(&account.project, collection, after).await? {
            Some(page) => {
                let bytes = log_page_bytes(&page);
                Ok(Some(self.hold(page, bytes).await))
            }
            None => Ok(None),
        };
        let key = (account.project.clone(), collection.clone());
        self.log_pages.get(&key, after, async || self.read_permits.acquire(account).await, read).await
    }

    /// Chooses how the documents that match are best found. Waits while too many read.
    ///
    /// # Errors
    /// The database's own.
    pub async fn choose_path(
        &self,
        account: &Account,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> Result<AccessPath, StoreError> {
        let _permit = self.read_permits.acquire(account).await;
        self.reader.choose_path(&account.project, collection, filter).await
    }

    /// Reads the next matching documents of a collection in the order of their ids, as they were after this was called.
    /// `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_documents(
        &self,
        account: &Account,
        collection: &CollectionId,
        filter: Arc<Filter>,
        (path, after): (AccessPath, Option<DocumentId>),
    ) -> Result<Option<Arc<Held<DocumentPage>>>, StoreError> {
        let (key, request) = ((collection.clone(), filter.clone()), (path, after.clone()));
        let read = async || match self
            .reader
            .read_documents(&account.project, collection, filter, path, after)
            .await?
        {
            Some(page) => {
                let bytes = page.documents.iter().map(|document| document.data.weight()).sum();
                Ok(Some(self.hold(page, bytes).await))
            }
            None => Ok(None),
        };
        self.document_pages.get(&key, request, async || self.read_permits.acquire(account).await, read).await
    }

    /// Waits until a large page finds room beside the others. Until then its permit to read is held, so that few wait here.
    async fn hold<P>(&self, page: P, bytes: usize) -> Arc<Held<P>> {
        let kib = u32::try_from(bytes.min(MAX_LARGE_PAGE).div_ceil(1024)).unwrap_or(u32::MAX);
        let memory = match bytes > FREE_BYTES {
            // The semaphore is never closed, so a permit always comes.
            true => self.large_pages.clone().acquire_many_owned(kib).await.ok(),
            false => None,
        };
        Arc::new(Held { page, _memory: memory })
    }
}

fn log_page_bytes(page: &LogPage) -> usize {
    page.entries.iter().map(|change| Change::weight(change)).sum()
}

#[cfg(test)]
mod tests;
