//! Everything that live streams read of the database, as a trait, so that the simulation can put a model in its place.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    auth::{Principal, rights::ReadRights},
    domain::{
        Collection, CollectionId, DocumentId, HeldKey, KeyEnd, KeyStates, Position, ProjectId, SessionId,
        cursor::Cursor,
    },
    live::resume::Resume,
    query::Filter,
    store::{
        StoreError,
        documents::snapshots::{AccessPath, DocumentPage},
        log::changes::LogPage,
    },
};

/// The outcome of a read.
pub type ReadResult<T> = Result<T, StoreError>;

/// The end of a project's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    pub cursor: Cursor,
    /// The sequence of the last control entry.
    pub control: u64,
}

/// Which rules are asked for. The documents that they ask are always those of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Those that the database has now.
    Now,
    /// Those of the control entry with this sequence, or later ones. The log has this entry.
    Control(u64),
    /// Those that this process has heard of.
    Heard,
}

/// Reads the database for live streams. `app` hands the implementation in. Every future can be dropped at any await.
pub trait StreamReader: Send + Sync + 'static {
    /// Returns how many pages may be read at the same time.
    fn max_reads(&self) -> usize {
        4
    }

    /// Finds a collection by its name or id.
    fn find_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>>;

    /// Finds a collection by its name or id among those that this process has heard of.
    fn find_known_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>>;

    /// Returns what a principal may read of a collection.
    fn read_rights<'a>(
        &'a self,
        principal: &'a Principal,
        collection: &'a Collection,
        as_of: AsOf,
    ) -> BoxFuture<'a, ReadResult<ReadRights>>;

    /// Returns a receiver that is notified after each change of what this process has heard of collections.
    fn collection_changes(&self) -> watch::Receiver<()>;

    /// Returns whether a collection still exists, where the log can't tell any more.
    fn has_collection(&self, collection: &CollectionId) -> BoxFuture<'_, ReadResult<bool>>;

    /// Returns why a key is not good any more for those who have it so, where the relay may not have heard of it yet. It is refused
    /// from then on.
    fn find_key_end(&self, key: &HeldKey) -> BoxFuture<'_, ReadResult<Option<KeyEnd>>>;

    /// Returns the same, if this process has heard of the log's control entries up to the sequence `control`. The database is not
    /// asked.
    fn knows_key_end(&self, _project: &ProjectId, _key: &HeldKey, _control: u64) -> Option<Option<KeyEnd>> {
        None
    }

    /// Notes what has happened to keys, where a stream hears of it before the relay does. Requests are refused by it then.
    fn note_key_state(&self, _states: &KeyStates) {}

    /// Returns whether a session of a user goes on, where the relay may not have heard of its end yet.
    fn has_session(&self, session: &SessionId) -> BoxFuture<'_, ReadResult<bool>>;

    /// Notes that a session has ended, where a stream hears of it before the relay does. Requests of it are refused then.
    fn note_session_ended(&self, _session: &SessionId) {}

    /// Finds the end of a project's log. `None` if there is no such project.
    fn find_end(&self, project: &ProjectId) -> BoxFuture<'_, ReadResult<Option<LogEnd>>>;

    /// Returns whether a stream can go on from a cursor.
    fn resume(&self, project: &ProjectId, cursor: Cursor) -> BoxFuture<'_, ReadResult<Resume>>;

    /// Reads the next changes of a collection, and control entries of its project, after `after`, with the log's ends at that
    /// moment. `None` if there is no such project.
    fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> BoxFuture<'_, ReadResult<Option<LogPage>>>;

    /// Chooses how the documents that match are best found.
    fn choose_path(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<AccessPath>>;

    /// Reads the next matching documents of a collection in the order of their ids, with the log's ends at that moment.
    /// `None` if there is no such project.
    fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        path: AccessPath,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>>;
}
