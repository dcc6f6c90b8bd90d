//! A model of the database: the change log and the documents, behind the two traits through which live streams read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use coir::{
    auth::{Principal, permission::Readable, rights::ReadRights},
    domain::{
        Change, Collection, CollectionId, CollectionName, Control, Data, Document, DocumentId, Entry,
        HeldKey, KeyEnd, KeyStates, LogEnds, Position, ProjectId, SessionId, Timestamp,
        cursor::{Cursor, Epoch},
    },
    hub::relay::{LogError, LogPart, LogReader},
    live::{
        Gone, Resume,
        reads::{AccessPath, AsOf, LogEnd, ReadResult, StreamReader},
    },
    query::Filter,
    store::{StoreError, documents::snapshots::DocumentPage, log::changes::LogPage},
};

pub const PROJECT: &str = "project";
pub const COLLECTIONS: [&str; 2] = ["posts", "notes"];
/// A collection that doesn't exist at first.
pub const LATE: &str = "late";

/// The faults of one read.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// How long the read waits before it looks at the model, and then before it answers.
    pub before: Duration,
    pub after: Duration,
    /// Whether the read fails.
    pub fails: bool,
    /// How many entries or documents a page has at most.
    pub page: usize,
}

/// The model. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    state: Arc<Mutex<State>>,
    /// Behind a lock because the traits require it; the simulation has one thread.
    dice: Arc<Mutex<u64>>,
}

struct State {
    epoch: Epoch,
    first: Position,
    entries: VecDeque<Arc<Change>>,
    documents: BTreeMap<(CollectionId, DocumentId), Arc<Document>>,
    control: Position,
    /// The writer's wall clock, in milliseconds.
    now: i64,
    is_calm: bool,
    has_late: bool,
}

impl State {
    fn last(&self) -> Position {
        self.entries.back().map_or(self.first, |change| change.position)
    }

    fn log_ends(&self) -> LogEnds {
        LogEnds {
            project: project(),
            epoch: self.epoch,
            first: self.first,
            last: self.last(),
            control: self.control,
        }
    }

    fn cursor(&self) -> Cursor {
        self.log_ends().cursor()
    }

    fn holds(&self, cursor: &Cursor) -> bool {
        cursor.epoch == self.epoch && self.position_at(cursor.position.sequence) == Some(cursor.position)
    }

    /// Returns the position with a sequence, if the log reaches there.
    fn position_at(&self, sequence: u64) -> Option<Position> {
        if sequence == self.first.sequence {
            return Some(self.first);
        }
        let place = sequence.checked_sub(self.first.sequence + 1)?;
        self.entries.get(place as usize).map(|change| change.position)
    }

    /// Returns the index in `entries` of the first entry after a sequence.
    fn place_after(&self, sequence: u64) -> usize {
        (sequence.saturating_sub(self.first.sequence) as usize).min(self.entries.len())
    }

    fn append(&mut self, entry: Entry) -> Arc<Change> {
        let position = Position { sequence: self.last().sequence + 1, at: Timestamp(self.now) };
        if matches!(entry, Entry::Control(_)) {
            self.control = position;
        }
        let change = Arc::new(Change { project: project(), position, entry });
        self.entries.push_back(change.clone());
        change
    }
}

pub fn project() -> ProjectId {
    ProjectId::from_stored(PROJECT)
}

fn collection_id(name: &str) -> CollectionId {
    CollectionId::from_stored(&format!("id-of-{name}"))
}

/// Adds to a document how often it was written, so that a client notices a missed write.
fn numbered(mut data: serde_json::Value, before: Option<&Arc<Document>>) -> serde_json::Value {
    data["written"] = before.map_or(1, |before| before.version + 1).into();
    data
}

impl Log {
    pub fn new(seed: u64) -> Self {
        let state = State {
            epoch: Epoch(seed | 1),
            first: Position::default(),
            entries: VecDeque::new(),
            documents: BTreeMap::new(),
            control: Position::default(),
            now: 1,
            is_calm: false,
            has_late: false,
        };
        Self { state: Arc::new(Mutex::new(state)), dice: Arc::new(Mutex::new(seed)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Ends all faults.
    pub fn calm(&self) {
        self.state().is_calm = true;
    }

    /// Creates the collection that doesn't exist at first.
    pub fn create_late(&self) {
        self.state().has_late = true;
    }

    pub fn has_collection(&self, name: &str) -> bool {
        name != LATE || self.state().has_late
    }

    pub fn last(&self) -> u64 {
        self.state().last().sequence
    }

    /// Returns where the log ends.
    pub fn end(&self) -> Cursor {
        self.state().cursor()
    }

    /// Advances the writer's clock.
    pub fn tick(&self, millis: i64) {
        self.state().now += millis;
    }

    /// Writes a document, or deletes it; `None` if there is nothing to delete.
    pub fn write(&self, collection: &str, id: &str, data: Option<serde_json::Value>) -> Option<Arc<Change>> {
        let mut state = self.state();
        let key = (collection_id(collection), DocumentId::from_stored(id));
        let before = state.documents.get(&key).cloned();
        let now = Timestamp(state.now);
        let after = data.map(|data| {
            Arc::new(Document {
                id: key.1.clone(),
                data: Data::from_value(numbered(data, before.as_ref())).unwrap(),
                created_at: before.as_ref().map_or(now, |before| before.created_at),
                updated_at: now,
                version: before.as_ref().map_or(1, |before| before.version + 1),
            })
        });
        match &after {
            Some(after) => state.documents.insert(key.clone(), after.clone()),
            None => state.documents.remove(&key),
        };
        if before.is_none() && after.is_none() {
            return None;
        }
        Some(state.append(Entry::Document { collection: key.0, before, after }))
    }

    /// Appends a control entry.
    pub fn write_control(&self) -> Arc<Change> {
        self.state().append(Entry::Control(Control::KeyRevoked { key: "another".to_owned() }))
    }

    /// Returns whether a commit is part of the log, or was before it was pruned.
    pub fn holds(&self, changes: &[Arc<Change>]) -> bool {
        let state = self.state();
        changes.iter().all(|change| {
            let cursor = Cursor { epoch: state.epoch, position: change.position };
            change.position.sequence < state.first.sequence || state.holds(&cursor)
        })
    }

    /// Deletes the oldest entries up to a sequence. Returns whether there were any.
    pub fn prune(&self, until: u64) -> bool {
        let mut state = self.state();
        let first = state.first;
        while state.entries.front().is_some_and(|change| change.position.sequence <= until) {
            state.first = state.entries.pop_front().unwrap().position;
        }
        state.first != first
    }

    /// Undoes the last entries, as if an older copy of the database had been restored. Time goes on.
    pub fn rewind(&self, count: u64) {
        let mut state = self.state();
        for _ in 0..count {
            let Some(change) = state.entries.pop_back() else { break };
            let Entry::Document { collection, before, after } = &change.entry else { continue };
            let id = before.as_ref().or(after.as_ref()).unwrap().id.clone();
            match before {
                Some(before) => state.documents.insert((collection.clone(), id), before.clone()),
                None => state.documents.remove(&(collection.clone(), id)),
            };
        }
        state.now += 10;
    }

    /// Returns the data of the documents that match, as text by id.
    pub fn documents(&self, collection: &str, filter: &Filter) -> BTreeMap<String, String> {
        let state = self.state();
        let wanted = collection_id(collection);
        let matching = state
            .documents
            .iter()
            .filter(|((collection, _), document)| *collection == wanted && filter.matches(document));
        matching.map(|((_, id), document)| (id.to_string(), document.data.text().to_owned())).collect()
    }

    fn faults(&self) -> Faults {
        if self.state().is_calm {
            return Faults { page: 50, ..Faults::default() };
        }
        let mut dice = self.dice.lock().unwrap();
        let mut under = |bound: u64| {
            *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*dice >> 33) % bound
        };
        let mut delay =
            |odds: u64| Duration::from_millis(if under(100) < odds { under(400) } else { under(3) });
        Faults { before: delay(15), after: delay(25), fails: under(100) < 4, page: 1 + under(12) as usize }
    }

    /// Reads the model at one moment between two delays.
    fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, Faults) -> T + Send + 'static,
    ) -> BoxFuture<'static, Result<T, String>> {
        let log = self.clone();
        Box::pin(async move {
            let faults = log.faults();
            tokio::time::sleep(faults.before).await;
            let answer = look(&log.state(), faults);
            tokio::time::sleep(faults.after).await;
            if faults.fails { Err("a read that fails".to_owned()) } else { Ok(answer) }
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, Faults) -> T + Send + 'static,
    ) -> BoxFuture<'static, ReadResult<T>> {
        let read = self.read(look);
        Box::pin(async move { read.await.map_err(|_| StoreError::no_answer()) })
    }
}

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
            Ok(ReadRights {
                readable: Readable::Everything,
                mask: Arc::default(),
                watched: Vec::new(),
                control: 0,
            })
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
        self.ask(|state, _| Some(LogEnd { cursor: state.cursor(), control: 0 }))
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
                Entry::Document { collection, .. } => *collection == wanted,
                Entry::Control(_) | Entry::Unreadable { .. } => true,
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
