//! The database of the simulation of rights: the log, rules, users, memberships, keys and sessions, and their history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use coir::{
    auth::{Principal, Rights, facts::Facts, rights::ReadRights},
    domain::{
        Change, Collection, CollectionId, CollectionName, Control, Data, Document, DocumentId, DocumentKey,
        Entry, HeldKey, KeyEnd, KeyId, KeyStates, LogEnds, Position, ProjectId, ProjectSettings, SessionId,
        Timestamp, cursor::Cursor,
    },
    hub::relay::{ControlObserver, LogError, LogPart, LogReader},
    live::{
        Resume,
        reads::{AccessPath, AsOf, LogEnd, ReadResult, StreamReader},
    },
    query::{
        Filter,
        rule::{RuleSet, SetQuery},
    },
    store::{
        StoreError, collections::catalog::Catalog, documents::snapshots::DocumentPage, log::changes::LogPage,
    },
};

use super::rules::{Name, Past, Post, Profile, Rule};
use crate::log::{Log, collection_id};

pub const POSTS: &str = "posts";
const MEMBERS: &str = "members";
const ACCOUNTS: &str = "_users";
/// A collection that doesn't exist at first, although a rule asks it.
const BLOCKED: &str = "blocked";

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub log: Log,
    state: Arc<Mutex<State>>,
}

struct State {
    /// By the control entries after which they were read.
    catalogs: Vec<(u64, Arc<Catalog>)>,
    /// The last control entry that the server has heard of.
    heard: u64,
    keys: BTreeMap<String, u64>,
    sessions: BTreeMap<String, u64>,
    record: Record,
    next_number: u64,
    dice: u64,
}

/// What has happened, by sequence.
#[derive(Clone, Debug)]
pub struct Record {
    /// What rights depend on, as of each sequence from 0 on.
    pub past: Vec<Past>,
    /// The changes of posts.
    pub steps: BTreeMap<u64, Step>,
    pub has_pruned: bool,
}

/// A change of a post.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub before: Option<Post>,
    pub after: Option<Post>,
}

fn collection(name: &str) -> Collection {
    let name_of = CollectionName::from_stored(name);
    Collection { id: collection_id(name), name: name_of, created_at: Timestamp(0), schema: None }
}

fn post_of(document: &Document) -> Post {
    let fields = document.data.fields();
    let text = |name: &str| fields[name].as_str().unwrap().to_owned();
    Post {
        owner: text("owner"),
        team: text("team"),
        is_public: fields["public"] == true,
        number: fields["number"].as_u64().unwrap(),
    }
}

impl World {
    pub fn new(seed: u64, rule: Rule) -> Self {
        let log = Log::new(seed);
        let first = [POSTS, MEMBERS, ACCOUNTS].map(|name| (collection(name), None));
        let catalog = Catalog::new(Position::default(), first.into(), Vec::new(), ProjectSettings::default());
        let past = Past {
            rule: Rule::Unruled,
            users: BTreeMap::new(),
            members: BTreeSet::new(),
            blocked: BTreeSet::new(),
        };
        let record = Record { past: vec![past], steps: BTreeMap::new(), has_pruned: false };
        let state = State {
            catalogs: vec![(0, Arc::new(catalog))],
            heard: 0,
            keys: BTreeMap::new(),
            sessions: BTreeMap::new(),
            record,
            next_number: 1,
            dice: seed,
        };
        let world = Self { log, state: Arc::new(Mutex::new(state)) };
        world.set_rule(rule);
        world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Returns what has happened so far.
    pub fn record(&self) -> Record {
        self.state().record.clone()
    }

    /// Returns the sequence of the entry that ended a key or a session, if one did.
    pub fn ended_at(&self, key: &str, session: Option<&str>) -> Option<u64> {
        let state = self.state();
        let session = session.and_then(|session| state.sessions.get(session));
        state.keys.get(key).or(session).copied()
    }

    /// Returns the sequence of the last control entry that the server has heard of.
    pub fn heard(&self) -> u64 {
        self.state().heard
    }

    fn note(&self, change: &Arc<Change>, alter: impl FnOnce(&mut Past)) {
        let mut state = self.state();
        let mut past = state.record.past.last().unwrap().clone();
        alter(&mut past);
        assert_eq!(state.record.past.len() as u64, change.position.sequence);
        state.record.past.push(past);
    }

    fn control(&self, control: Control, alter: impl FnOnce(&mut Past)) -> Arc<Change> {
        let change = self.log.append_control(control);
        self.note(&change, alter);
        change
    }

    fn alter_catalog(&self, sequence: u64, alter: impl FnOnce(&mut Catalog)) {
        let mut state = self.state();
        let mut catalog = Catalog::clone(&state.catalogs.last().unwrap().1);
        catalog.control = Position { sequence, at: Timestamp(0) };
        alter(&mut catalog);
        state.catalogs.push((sequence, Arc::new(catalog)));
    }

    pub fn set_rule(&self, rule: Rule) -> Vec<Arc<Change>> {
        let id = collection_id(POSTS);
        let control = Control::RulesChanged { collection: id.to_string() };
        let change = self.control(control, |past| past.rule = rule);
        let rules = rule.source().map(|source| Arc::new(RuleSet::parse(source).unwrap()));
        self.alter_catalog(change.position.sequence, |catalog| {
            let posts = catalog.find(id.as_str()).unwrap().clone();
            catalog.set_rules(&posts, rules);
        });
        vec![change]
    }

    /// Writes a post, or deletes it.
    pub fn write_post(&self, id: &str, data: Option<(Name, Name, bool)>) -> Vec<Arc<Change>> {
        let number = {
            let mut state = self.state();
            state.next_number += 1;
            state.next_number
        };
        let data = data.map(|(owner, team, is_public)| {
            json!({ "owner": owner, "team": team, "public": is_public, "number": number })
        });
        let Some(change) = self.log.write(POSTS, id, data) else { return Vec::new() };
        let Entry::Document { before, after, .. } = &change.entry else { unreachable!() };
        let image = |image: &Option<Arc<Document>>| image.as_deref().map(post_of);
        let step = Step { id: id.to_owned(), before: image(before), after: image(after) };
        self.note(&change, |_| {});
        self.state().record.steps.insert(change.position.sequence, step);
        vec![change]
    }

    /// Writes the document of a user, or deletes it.
    pub fn write_user(&self, user: Name, profile: Option<Profile>) -> Vec<Arc<Change>> {
        let data = profile.as_ref().map(|profile| {
            let roles: &[&str] = if profile.is_moderator { &["editor", "moderator"] } else { &["editor"] };
            json!({ "email": format!("{user}@example.com"), "roles": roles, "profile": { "team": profile.team } })
        });
        let Some(change) = self.log.write(ACCOUNTS, user, data) else { return Vec::new() };
        self.note(&change, |past| {
            match profile {
                Some(profile) => past.users.insert(user, profile),
                None => past.users.remove(user),
            };
        });
        vec![change]
    }

    pub fn write_member(&self, user: Name, team: Name, is_member: bool) -> Vec<Arc<Change>> {
        let data = is_member.then(|| json!({ "user": user, "team": team }));
        let Some(change) = self.log.write(MEMBERS, &format!("{user}-{team}"), data) else {
            return Vec::new();
        };
        self.note(&change, |past| {
            match is_member {
                true => past.members.insert((user, team)),
                false => past.members.remove(&(user, team)),
            };
        });
        vec![change]
    }

    /// Blocks somebody, or doesn't any longer. The first one creates the collection.
    pub fn write_blocked(&self, by: Name, whom: Name, is_blocked: bool) -> Vec<Arc<Change>> {
        let mut changes = Vec::new();
        if self.state().catalogs.last().unwrap().1.find(BLOCKED).is_none() {
            let id = collection_id(BLOCKED);
            let (collection_, name) = (id.to_string(), BLOCKED.to_owned());
            let change = self.control(Control::CollectionCreated { collection: collection_, name }, |_| {});
            let created = Arc::new(collection(BLOCKED));
            self.alter_catalog(change.position.sequence, |catalog| catalog.insert(created));
            changes.push(change);
        }
        let data = is_blocked.then(|| json!({ "by": by, "whom": whom }));
        if let Some(change) = self.log.write(BLOCKED, &format!("{by}-{whom}"), data) {
            self.note(&change, |past| {
                match is_blocked {
                    true => past.blocked.insert((by, whom)),
                    false => past.blocked.remove(&(by, whom)),
                };
            });
            changes.push(change);
        }
        changes
    }

    pub fn revoke_key(&self, key: &str) -> Vec<Arc<Change>> {
        let change = self.control(Control::KeyRevoked { key: key.to_owned() }, |_| {});
        self.state().keys.entry(key.to_owned()).or_insert(change.position.sequence);
        vec![change]
    }

    pub fn end_session(&self, session: &str) -> Vec<Arc<Change>> {
        let change = self.control(Control::SessionsEnded { sessions: vec![session.to_owned()] }, |_| {});
        self.state().sessions.entry(session.to_owned()).or_insert(change.position.sequence);
        vec![change]
    }

    pub fn prune(&self, until: u64) -> bool {
        let has_pruned = self.log.prune(until);
        self.state().record.has_pruned |= has_pruned;
        has_pruned
    }

    /// Returns the catalog with the effect of a control entry, or a newer one.
    fn catalog(&self, as_of: AsOf) -> Arc<Catalog> {
        let mut state = self.state();
        let required = match as_of {
            AsOf::Now => u64::MAX,
            AsOf::Control(sequence) => sequence.max(state.heard),
            AsOf::Heard => state.heard,
        };
        state.dice =
            state.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let is_latest = (state.dice >> 33).is_multiple_of(3);
        let last = &state.catalogs.last().unwrap().1;
        let found = state.catalogs.iter().rev().find(|(control, _)| *control <= required);
        if is_latest { last.clone() } else { found.map_or(last, |(_, catalog)| catalog).clone() }
    }
}

/// What the server hears of control entries: the catalogs that it has in memory are as new as these.
impl ControlObserver for World {
    fn observe(&self, _: &ProjectId, position: Position, _: &Control) {
        self.observe_gap(&crate::log::project(), position.sequence, &KeyStates::default());
    }

    fn observe_gap(&self, _: &ProjectId, control: u64, _: &KeyStates) {
        let mut state = self.state();
        state.heard = state.heard.max(control);
    }

    fn confirm(&self, _: Instant) {}
}

impl LogReader for World {
    fn log_ends(&self) -> BoxFuture<'_, Result<Vec<LogEnds>, LogError>> {
        self.log.log_ends()
    }

    fn read_after(&self, project: ProjectId, after: Position) -> BoxFuture<'_, Result<LogPart, LogError>> {
        self.log.read_after(project, after)
    }

    fn key_states(&self, _: ProjectId) -> BoxFuture<'_, Result<KeyStates, LogError>> {
        let look = |_| {
            let revoked = self.state().keys.keys().map(|key| KeyId::from_stored(key)).collect();
            KeyStates { revoked, changed: Vec::new() }
        };
        let read = self.log.between_delays(look);
        Box::pin(
            async move { read.await.map_err(|err| LogError { message: err.to_string(), may_pass: true }) },
        )
    }
}

/// Each fact is read at its own moment, and sets come in any order.
impl Facts for World {
    async fn read_set(
        &self,
        collection: &CollectionId,
        query: &SetQuery,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        let look = |_| {
            let documents = self.log.all(collection).into_iter();
            let values = documents.filter(|document| query.filter.matches(document));
            let values = values.filter_map(|document| Some(query.select.value_in(&document)?.into_owned()));
            let distinct: BTreeMap<String, Value> = values.map(|value| (value.to_string(), value)).collect();
            let mut values: Vec<_> = distinct.into_values().collect();
            if self.log.end().position.sequence.is_multiple_of(2) {
                values.reverse();
            }
            Some(values)
        };
        self.log.between_delays(look).await
    }

    async fn read_document(&self, key: &DocumentKey) -> Result<Option<Data>, StoreError> {
        let look = |_| {
            let all = self.log.all(&key.collection);
            all.iter().find(|document| document.id == key.id).map(|document| document.data.clone())
        };
        self.log.between_delays(look).await
    }
}

impl StreamReader for World {
    fn find_collection<'a>(
        &'a self,
        _: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        Box::pin(async move { Ok(self.catalog(AsOf::Now).find(name_or_id).cloned()) })
    }

    fn find_known_collection<'a>(
        &'a self,
        _: &'a ProjectId,
        name_or_id: &'a str,
    ) -> BoxFuture<'a, ReadResult<Option<Arc<Collection>>>> {
        Box::pin(async move { Ok(self.catalog(AsOf::Heard).find(name_or_id).cloned()) })
    }

    fn read_rights<'a>(
        &'a self,
        principal: &'a Principal,
        collection: &'a Collection,
        as_of: AsOf,
    ) -> BoxFuture<'a, ReadResult<ReadRights>> {
        Box::pin(async move {
            let catalog = self.log.between_delays(|_| self.catalog(as_of)).await?;
            Rights::over(self.clone(), catalog, principal).read_rights(collection).await
        })
    }

    fn collection_changes(&self) -> watch::Receiver<()> {
        self.log.collection_changes()
    }

    fn has_collection(&self, id: &CollectionId) -> BoxFuture<'_, ReadResult<bool>> {
        StreamReader::has_collection(&self.log, id)
    }

    fn find_key_end(&self, key: &HeldKey) -> BoxFuture<'_, ReadResult<Option<KeyEnd>>> {
        let key = key.id.to_string();
        let look = move |_| self.state().keys.contains_key(&key).then_some(KeyEnd::Revoked);
        Box::pin(self.log.between_delays(look))
    }

    fn has_session(&self, session: &SessionId) -> BoxFuture<'_, ReadResult<bool>> {
        let session = session.to_string();
        Box::pin(self.log.between_delays(move |_| !self.state().sessions.contains_key(&session)))
    }

    fn find_end(&self, project: &ProjectId) -> BoxFuture<'_, ReadResult<Option<LogEnd>>> {
        self.log.find_end(project)
    }

    fn resume(&self, project: &ProjectId, cursor: Cursor) -> BoxFuture<'_, ReadResult<Resume>> {
        self.log.resume(project, cursor)
    }

    fn read_log(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        after: Position,
    ) -> BoxFuture<'_, ReadResult<Option<LogPage>>> {
        self.log.read_log(project, collection, after)
    }

    fn choose_path(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
    ) -> BoxFuture<'_, ReadResult<AccessPath>> {
        self.log.choose_path(project, collection, filter)
    }

    fn read_documents(
        &self,
        project: &ProjectId,
        collection: &CollectionId,
        filter: Arc<Filter>,
        path: AccessPath,
        after: Option<DocumentId>,
    ) -> BoxFuture<'_, ReadResult<Option<DocumentPage>>> {
        self.log.read_documents(project, collection, filter, path, after)
    }
}
