//! What a live stream needs beside the hub: may it, from where, and the log.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{ServiceError, find_collection};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, CollectionId, Position, ProjectId},
    query::cursor::Cursor,
    store::{
        Db, Lane, StoreError,
        catalog::Catalogs,
        changes::{self, LogPage, PageSize},
        heads,
    },
};

/// How much of the log is read at once for one subscription.
const PAGE: PageSize = PageSize { entries: 256, bytes: 512 * 1024 };
/// How many subscriptions read the log at the same time. The writer has a connection of its own and never waits for them.
const READERS: usize = 4;

/// The use cases of live streams. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    db: Db,
    catalogs: Catalogs,
    readers: Arc<Semaphore>,
}

/// From where a stream can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From the cursor's position: the log has everything after it.
    From(Position),
    /// The log doesn't reach there: pruned, another history, or beyond its end. Here is its end.
    Expired(Cursor),
}

impl Streams {
    /// Starts with no reader.
    pub fn new(db: Db, catalogs: Catalogs) -> Self {
        Self { db, catalogs, readers: Arc::new(Semaphore::new(READERS)) }
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
        find_collection(&self.catalogs, principal, collection).await
    }

    /// Whether a stream can go on from a cursor.
    ///
    /// # Errors
    /// The database's own.
    pub async fn resume(&self, project: &ProjectId, cursor: Cursor) -> Result<Resume, StoreError> {
        let project = project.clone();
        let read = move |db| async move {
            let Some(head) = heads::find(&db, &project).await? else { return Ok(Resume::Expired(cursor)) };
            Ok(match changes::holds_cursor(&db, &head, &cursor).await? {
                true => Resume::From(cursor.position),
                false => Resume::Expired(Cursor { epoch: head.epoch, position: head.head }),
            })
        };
        self.db.read(Lane::Point, read).await
    }

    /// The end of a project's log; `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn find_end(&self, project: &ProjectId) -> Result<Option<Cursor>, StoreError> {
        let project = project.clone();
        let head = self.db.read(Lane::Point, |db| async move { heads::find(&db, &project).await }).await?;
        Ok(head.map(|head| Cursor { epoch: head.epoch, position: head.head }))
    }

    /// The next changes of a collection, and control entries of its project, after `after`. Waits while too many read.
    /// `None` if there is no such project.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> Result<Option<LogPage>, StoreError> {
        // Never closed, so a permit always comes.
        let _permit = self.readers.acquire().await;
        let (project, collection) = (project.clone(), collection.clone());
        let read = move |db| async move {
            changes::read_collection(&db, &project, &collection, after.sequence, PAGE).await
        };
        self.db.read(Lane::Scan, read).await
    }
}
