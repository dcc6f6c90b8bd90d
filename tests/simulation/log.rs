//! A model of the database: the change log and the documents, behind the two traits through which live streams read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;

use coir::{
    domain::{
        Change, CollectionId, Control, Data, Document, DocumentId, Entry, LogEnds, Position, ProjectId,
        Timestamp,
        cursor::{Cursor, Epoch},
    },
    live::reads::ReadResult,
    query::Filter,
    store::StoreError,
};

mod reads;

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

pub fn collection_id(name: &str) -> CollectionId {
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
    pub fn append_control(&self, control: Control) -> Arc<Change> {
        self.state().append(Entry::Control(control))
    }

    /// Makes the last entry one that can't be read, as if a newer version had written it.
    pub fn garble_last(&self) -> Arc<Change> {
        let mut state = self.state();
        let last = state.entries.back_mut().unwrap();
        let Entry::Document { collection, .. } = &last.entry else { panic!("only documents have images") };
        let entry = Entry::Unreadable { collection: collection.clone() };
        *last = Arc::new(Change { project: project(), position: last.position, entry });
        last.clone()
    }

    /// Returns the documents of a collection.
    pub fn all(&self, wanted: &CollectionId) -> Vec<Arc<Document>> {
        let state = self.state();
        let all = state.documents.iter().filter(|((collection, _), _)| collection == wanted);
        all.map(|(_, document)| document.clone()).collect()
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
        let all = self.all(&collection_id(collection)).into_iter();
        let matching = all.filter(|document| filter.matches(document));
        matching.map(|document| (document.id.to_string(), document.data.text().to_owned())).collect()
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
            let answer = log.between_delays(|faults| look(&log.state(), faults)).await;
            answer.map_err(|_| "a read that fails".to_owned())
        })
    }

    /// Looks at something between two delays, and may fail.
    pub async fn between_delays<T>(&self, look: impl FnOnce(Faults) -> T) -> ReadResult<T> {
        let faults = self.faults();
        tokio::time::sleep(faults.before).await;
        let answer = look(faults);
        tokio::time::sleep(faults.after).await;
        if faults.fails { Err(StoreError::no_answer()) } else { Ok(answer) }
    }

    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State, Faults) -> T + Send + 'static,
    ) -> BoxFuture<'static, ReadResult<T>> {
        let read = self.read(look);
        Box::pin(async move { read.await.map_err(|_| StoreError::no_answer()) })
    }
}
