//! What live streams read of the database.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    domain::{Collection, CollectionId, DocumentId, LogEnds, Position, ProjectId, cursor::Cursor},
    query::Filter,
    store::{
        Db, Lane, StoreError,
        collections::{catalog::Catalogs, rows},
        documents::snapshots::{self, DocumentPage, Way},
        log::{
            changes::{self, LogPage, PageSize},
            ends,
        },
    },
};

/// How much of the log is read at once: about what a peer's queue has room for.
const LOG_PAGE: PageSize = PageSize { entries: 128, bytes: 256 * 1024 };
/// How many documents are read at once for a snapshot.
const DOCUMENT_PAGE: PageSize = PageSize { entries: 128, bytes: 128 * 1024 };

/// What became of a read.
pub type ReadResult<T> = Result<T, StoreError>;

/// From where a stream can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// From the cursor's position: the log has everything after it.
    From(Position),
    /// The log doesn't reach there, and why. Here is its end.
    Expired(Cursor, Gone),
}

/// Why the log has no way on from a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// What came after it is not kept any more.
    Pruned,
    /// It is of another history.
    OtherHistory,
    /// It is beyond the log's end.
    Beyond,
    /// There is another change in its place.
    Replaced,
}

impl Gone {
    /// Why a log with these ends doesn't hold a cursor, which it doesn't.
    pub fn of(cursor: &Cursor, ends: &LogEnds) -> Self {
        let sequence = cursor.position.sequence;
        if cursor.epoch != ends.epoch {
            Self::OtherHistory
        } else if sequence < ends.first.sequence {
            Self::Pruned
        } else if sequence > ends.last.sequence {
            Self::Beyond
        } else {
            Self::Replaced
        }
    }
}

/// What live streams read of the database, and all that they know of it; `app` hands the implementation in. Every future
/// can be dropped at any await.
pub trait StreamReader: Send + Sync + 'static {
    /// A collection by its name or id.
    fn find_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>>;

    /// Whether a collection is still there, where the log can't tell any more.
    fn has_collection(&self, collection: &CollectionId) -> BoxFuture<'_, ReadResult<bool>>;

    /// The end of a project's log; `None` if there is no such project.
    fn find_end(&self, project: &ProjectId) -> BoxFuture<'_, ReadResult<Option<Cursor>>>;

    /// Whether a stream can go on from a cursor.
    fn resume(&self, project: &ProjectId, cursor: Cursor) -> BoxFuture<'_, ReadResult<Resume>>;

    /// The next changes of a collection, and control entries of its project, after `after`, with the log's ends at that
    /// moment. `None` if there is no such project.
    fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> BoxFuture<'_, ReadResult<Option<LogPage>>>;

    /// Whether so few documents match that they are best found by an index, for each page anew.
    fn has_few(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<bool>>;

    /// The next matching documents of a collection in the order of their ids, with the log's ends at that moment; by an
    /// index if they are `few`. `None` if there is no such project.
    fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        few: bool,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>>;
}

/// Reads the database.
pub struct StoredStreams {
    /// The database.
    pub db: Db,
    /// Its collections.
    pub catalogs: Catalogs,
}

impl StreamReader for StoredStreams {
    fn find_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        Box::pin(async move { Ok(self.catalogs.get(project).await?.find(name_or_id).cloned()) })
    }

    fn has_collection(&self, collection: &CollectionId) -> BoxFuture<'_, ReadResult<bool>> {
        let collection = collection.clone();
        Box::pin(self.db.read(Lane::Point, |db| async move { rows::is_there(&db, &collection).await }))
    }

    fn find_end(&self, project: &ProjectId) -> BoxFuture<'_, ReadResult<Option<Cursor>>> {
        let project = project.clone();
        Box::pin(async move {
            let read = move |db| async move { ends::find(&db, &project).await };
            let ends = self.db.read(Lane::Point, read).await?;
            Ok(ends.map(|ends| ends.cursor()))
        })
    }

    fn resume(&self, project: &ProjectId, cursor: Cursor) -> BoxFuture<'_, ReadResult<Resume>> {
        let project = project.clone();
        let read = move |db| async move {
            let Some(ends) = ends::find(&db, &project).await? else {
                return Ok(Resume::Expired(cursor, Gone::OtherHistory));
            };
            Ok(match changes::holds_cursor(&db, &ends, &cursor).await? {
                true => Resume::From(cursor.position),
                false => Resume::Expired(ends.cursor(), Gone::of(&cursor, &ends)),
            })
        };
        Box::pin(self.db.read(Lane::Point, read))
    }

    fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> BoxFuture<'_, ReadResult<Option<LogPage>>> {
        let (project, collection) = (project.clone(), collection.clone());
        let read = move |db| async move {
            changes::read_collection(&db, &project, &collection, after.sequence, LOG_PAGE).await
        };
        Box::pin(self.db.read(Lane::Scan, read))
    }

    fn has_few(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<bool>> {
        let (project, collection) = (project.clone(), collection.clone());
        Box::pin(async move {
            let catalog = self.catalogs.get(&project).await?;
            let read = move |db| async move {
                snapshots::has_few(&db, &collection, &filter, catalog.indexes_of(&collection)).await
            };
            self.db.read(Lane::Scan, read).await
        })
    }

    fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        few: bool,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>> {
        let (project, collection) = (project.clone(), collection.clone());
        Box::pin(async move {
            let catalog = self.catalogs.get(&project).await?;
            let read = move |db| async move {
                let way = if few { Way::ByIndex(catalog.indexes_of(&collection)) } else { Way::ById };
                let wanted = (&collection, &*filter);
                snapshots::read(&db, &project, wanted, way, after.as_ref(), DOCUMENT_PAGE).await
            };
            self.db.read(Lane::Scan, read).await
        })
    }
}
