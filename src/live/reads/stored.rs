//! The reads of live streams, from a database.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    auth::{KeyRing, Principal, Rights, Sessions, principal::keyless, rights::ReadRights},
    domain::{
        Collection, CollectionId, DocumentId, HeldKey, KeyEnd, KeyStates, Position, ProjectId, SessionId,
        Timestamp, cursor::Cursor,
    },
    live::{
        reads::reader::{AsOf, LogEnd, ReadResult, StreamReader},
        resume::{Gone, Resume},
    },
    query::Filter,
    store::{
        Db, Lane,
        access::{keys, sessions},
        collections::{catalog::Catalogs, rows},
        documents::snapshots::{self, AccessPath, DocumentPage, SnapshotQuery},
        log::{
            changes::{self, LogPage, PageSize},
            ends,
        },
    },
};

/// How much of the log is read at once. A peer's queue has room for about as much.
const LOG_PAGE: PageSize = PageSize { entries: 128, bytes: 256 * 1024 };
/// How many documents are read at once for a snapshot.
const DOCUMENT_PAGE: PageSize = PageSize { entries: 128, bytes: 128 * 1024 };

/// Reads a database.
pub struct StoredStreams {
    /// The database.
    pub db: Db,
    /// The collections of each project.
    pub catalogs: Catalogs,
    /// The keys that this process knows.
    pub keys: KeyRing,
    /// The sessions that this process knows.
    pub sessions: Sessions,
}

impl StreamReader for StoredStreams {
    /// One connection stays free for the short reads: where the log ends, and whether a cursor can be resumed from.
    fn max_reads(&self) -> usize {
        self.db.connections(Lane::Stream) - 1
    }

    fn find_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        Box::pin(self.catalogs.find(project, name_or_id))
    }

    fn find_known_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        Box::pin(async move { Ok(self.catalogs.get(project).await?.find(name_or_id).cloned()) })
    }

    fn read_rights<'a>(
        &'a self,
        principal: &'a Principal,
        collection: &'a Collection,
        as_of: AsOf,
    ) -> BoxFuture<'a, ReadResult<ReadRights>> {
        Box::pin(async move {
            let (catalogs, project) = (&self.catalogs, &principal.project);
            let catalog = match as_of {
                // No rules bind a server.
                _ if principal.is_server() => catalogs.get(project).await?,
                AsOf::Now => catalogs.get_latest(project).await?,
                AsOf::Control(sequence) => catalogs.get_at(project, sequence).await?,
                AsOf::Heard => catalogs.get(project).await?,
            };
            Rights::new(&self.db, Lane::Stream, catalog, principal).read_rights(collection).await
        })
    }

    fn collection_changes(&self) -> watch::Receiver<()> {
        self.catalogs.changes()
    }

    fn has_collection(&self, collection: &CollectionId) -> BoxFuture<'_, ReadResult<bool>> {
        let collection = collection.clone();
        Box::pin(self.db.read(Lane::Stream, |db| async move { rows::is_there(&db, &collection).await }))
    }

    fn find_key_end(&self, held: &HeldKey) -> BoxFuture<'_, ReadResult<Option<KeyEnd>>> {
        let (held, key) = (held.clone(), held.id.clone());
        Box::pin(async move {
            // A user without a key has none that could end.
            if key == keyless() {
                return Ok(None);
            }
            let found = self.db.read(Lane::Stream, |db| async move { keys::find(&db, &key).await }).await?;
            let states = match found {
                None => KeyStates { revoked: vec![held.id.clone()], changed: Vec::new() },
                Some(found) => keys::states_of(vec![found]),
            };
            self.keys.note_states(&states);
            Ok(self.keys.find_end(&held))
        })
    }

    fn knows_key_end(&self, project: &ProjectId, held: &HeldKey, control: u64) -> Option<Option<KeyEnd>> {
        (self.keys.heard_of(project) >= control).then(|| self.keys.find_end(held))
    }

    fn note_key_state(&self, states: &KeyStates) {
        self.keys.note_states(states);
    }

    fn has_session(&self, session: &SessionId) -> BoxFuture<'_, ReadResult<bool>> {
        let session = session.clone();
        let read = |db| async move { sessions::find(&db, &session).await };
        Box::pin(async move {
            let found = self.db.read(Lane::Stream, read).await?;
            Ok(found.is_some_and(|session| session.expires_at > Timestamp::now()))
        })
    }

    fn note_session_ended(&self, session: &SessionId) {
        self.sessions.forget(std::slice::from_ref(session));
    }

    fn find_end(&self, project: &ProjectId) -> BoxFuture<'_, ReadResult<Option<LogEnd>>> {
        let project = project.clone();
        Box::pin(async move {
            let read = move |db| async move { ends::find(&db, &project).await };
            let ends = self.db.read(Lane::Stream, read).await?;
            Ok(ends.map(|ends| LogEnd { cursor: ends.cursor(), control: ends.control.sequence }))
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
        Box::pin(self.db.read(Lane::Stream, read))
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
        Box::pin(self.db.read(Lane::Stream, read))
    }

    fn choose_path(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<AccessPath>> {
        let (project, collection) = (project.clone(), collection.clone());
        Box::pin(async move {
            let catalog = self.catalogs.get(&project).await?;
            let read = move |db| async move {
                snapshots::choose_path(&db, &collection, &filter, catalog.indexes_of(&collection)).await
            };
            self.db.read(Lane::Stream, read).await
        })
    }

    fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        path: AccessPath,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>> {
        let (project, collection) = (project.clone(), collection.clone());
        Box::pin(async move {
            let catalog = self.catalogs.get(&project).await?;
            let read = move |db| async move {
                let query = SnapshotQuery {
                    project: &project,
                    collection: &collection,
                    filter: &filter,
                    indexes: catalog.indexes_of(&collection),
                    path,
                    after: after.as_ref(),
                    size: DOCUMENT_PAGE,
                };
                snapshots::read(&db, query).await
            };
            self.db.read(Lane::Stream, read).await
        })
    }
}
