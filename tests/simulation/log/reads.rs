//! The model as live streams and the relay read it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use coir::{
    auth::{Principal, permission::Readable, rights::ReadRights},
    domain::{
        Change, Collection, CollectionId, CollectionName, Document, DocumentId, Entry, HeldKey, KeyEnd,
        KeyStates, LogEnds, Position, ProjectId, SessionId, Timestamp, cursor::Cursor,
    },
    hub::relay::{LogError, LogPart, LogReader},
    live::{
        Gone, Resume,
        reads::{AccessPath, AsOf, LogEnd, ReadResult, StreamReader},
    },
    query::Filter,
    store::{documents::snapshots::DocumentPage, log::changes::LogPage},
};

use super::{COLLECTIONS, LATE, Log, collection_id};

impl LogReader for Log {
    fn log_ends(&self) -> BoxFuture<'_, Result<Vec<LogEnds>, LogError>> {
        let read = self.read(|state, _| vec![state.log_ends()]);
        Box::pin(async move { read.await.map_err(|message| LogError { message, may_pass: true }) })
    }

    fn read_after(&self, _: ProjectId, after: Position) -> BoxFuture<'_, Result<LogPart, LogError>> {
        let read = self.read(move |state, faults| LogPart {
            changes: state
                .entries
                .iter()
                .skip(state.place_after(after.sequence))
                .take(faults.page)
                .cloned()
                .collect(),
            is_pruned: state.first.sequence > after.sequence,
            is_other: state.first.sequence <= after.sequence
                && state.position_at(after.sequence) != Some(after),
        });
        Box::pin(async move { read.await.map_err(|message| LogError { message, may_pass: true }) })
    }

    fn key_states(&self, _: ProjectId) -> BoxFuture<'_, Result<KeyStates, LogError>> {
        let read = self.read(|_, _| KeyStates::default());
        Box::pin(async move { read.await.map_err(|message| LogError { message, may_pass: true }) })
    }
}

impl StreamReader for Log {
    fn find_collection<'a>(
        &'a self,
        _: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        let is_meant = |name: &&str| **name == *name_or_id || collection_id(name).as_str() == name_or_id;
        let names = COLLECTIONS.iter().chain([&LATE]);
        let found = names.filter(|name| self.has_collection(name)).find(|name| is_meant(name)).map(|name| {
            Arc::new(Collection {
                id: collection_id(name),
                name: CollectionName::from_stored(name),
                created_at: Timestamp(0),
                schema: None,
            })
        });
        Box::pin(async move { Ok(found) })
    }

    fn find_known_collection<'a>(
        &'a self,
        project: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        self.find_collection(project, name_or_id)
    }

    fn read_rights<'a>(
        &'a self,
        _principal: &'a Principal,
        _collection: &'a Collection,
        _as_of: AsOf,
    ) -> BoxFuture<'a, ReadResult<ReadRights>> {
        Box::pin(async {
            let (readable, mask) = (Readable::Everything, Arc::default());
            Ok(ReadRights { readable, mask, watched: Vec::new(), control: 0 })
        })
    }

    /// Nobody is notified, so that those who wait find out by looking.
    fn collection_changes(&self) -> watch::Receiver<()> {
        watch::channel(()).1
    }

    fn has_collection(&self, _: &CollectionId) -> BoxFuture<'_, ReadResult<bool>> {
        self.ask(|_, _| true)
    }

    fn find_key_end(&self, _: &HeldKey) -> BoxFuture<'_, ReadResult<Option<KeyEnd>>> {
        self.ask(|_, _| None)
    }

    fn has_session(&self, _: &SessionId) -> BoxFuture<'_, ReadResult<bool>> {
        self.ask(|_, _| true)
    }

    fn knows_key_end(&self, _: &ProjectId, _: &HeldKey, _: u64) -> Option<Option<KeyEnd>> {
        Some(None)
    }

    fn find_end(&self, _: &ProjectId) -> BoxFuture<'_, ReadResult<Option<LogEnd>>> {
        self.ask(|state, _| Some(LogEnd { cursor: state.cursor(), control: state.control.sequence }))
    }

    fn resume(&self, _: &ProjectId, cursor: Cursor) -> BoxFuture<'_, ReadResult<Resume>> {
        self.ask(move |state, _| match state.holds(&cursor) {
            true => Resume::From(cursor.position),
            false => Resume::Expired(state.cursor(), Gone::Replaced),
        })
    }

    fn read_log(
        &self,
        _: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> BoxFuture<'_, ReadResult<Option<LogPage>>> {
        let wanted = collection.clone();
        self.ask(move |state, faults| {
            let is_wanted = |change: &&Arc<Change>| match &change.entry {
                Entry::Document { collection, .. } | Entry::Unreadable { collection } => {
                    *collection == wanted
                }
                Entry::Control(_) => true,
            };
            let begin = state.position_at(after.sequence);
            let after = state.entries.iter().skip(state.place_after(after.sequence));
            let entries: Vec<_> = after.filter(is_wanted).take(faults.page).cloned().collect();
            let is_last = entries.len() < faults.page;
            Some(LogPage { ends: state.log_ends(), entries, is_last, begin })
        })
    }

    fn choose_path(
        &self,
        _: &ProjectId,
        _: &CollectionId,
        _: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<AccessPath>> {
        self.ask(|state, _| match state.last().sequence.is_multiple_of(2) {
            true => AccessPath::ByIndex,
            false => AccessPath::ById,
        })
    }

    fn read_documents(
        &self,
        _: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        path: AccessPath,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>> {
        let wanted = collection.clone();
        self.ask(move |state, faults| {
            let is_next = |(collection, id): &(CollectionId, DocumentId)| {
                *collection == wanted && after.as_ref().is_none_or(|after| after < id)
            };
            // Like the database, it looks at a page of documents, of which some match. An index gives only those that match.
            let is_looked_at = |document: &Document| path == AccessPath::ById || filter.matches(document);
            let rest =
                state.documents.iter().filter(|(key, document)| is_next(key) && is_looked_at(document));
            let mut rest = rest.peekable();
            let looked_at: Vec<_> = rest.by_ref().take(faults.page).collect();
            let covers = rest.peek().and_then(|_| looked_at.last()).map(|((_, id), _)| id.clone());
            let matching = looked_at.into_iter().filter(|(_, document)| filter.matches(document));
            let documents = matching.map(|(_, document)| Document::clone(document)).collect();
            Some(DocumentPage { ends: state.log_ends(), documents, covers })
        })
    }
}
