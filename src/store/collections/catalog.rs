//! A cache of each project's collections, indexes, rules and settings, which is as fresh as the log.

use std::{
    collections::HashMap,
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
};

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use tokio::sync::watch;

use crate::{
    domain::{Collection, CollectionId, CollectionName, Position, ProjectId, ProjectSettings},
    query::{
        index_definition::Index,
        rule::{RuleSet, default_rules_of_users},
    },
    store::{
        Db, Lane, Result, StoreError, WriteTx,
        access::projects,
        collections::{indexes, last_controls::LastControls, rows},
        log::ends,
    },
};

/// The collections, indexes, rules and settings of a project, at one control sequence.
///
/// The maps are persistent: a copy shares all that is not changed, so a change costs the same whatever the number of
/// collections.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The position of a control entry up to which this is complete. It may contain later changes.
    pub control: Position,
    /// In order, for lists.
    by_name: RedBlackTreeMapSync<CollectionName, Arc<Collection>>,
    by_id: HashTrieMapSync<CollectionId, Arc<Collection>>,
    /// Collections without indexes have no entry.
    indexes: HashTrieMapSync<CollectionId, Vec<Arc<Index>>>,
    /// Collections without rules have no entry.
    rules: HashTrieMapSync<CollectionId, Arc<RuleSet>>,
    settings: Arc<ProjectSettings>,
}

impl Catalog {
    /// Makes a catalog of rows that were read after `control`.
    pub fn new(
        control: Position,
        collections: Vec<rows::Ruled>,
        indexes: Vec<(CollectionId, Index)>,
        settings: ProjectSettings,
    ) -> Self {
        let mut catalog = Self { control, settings: Arc::new(settings), ..Self::default() };
        for (collection, rules) in collections {
            catalog.set_rules(&collection, rules.map(Arc::new));
            catalog.insert(Arc::new(collection));
        }
        let mut by_collection: HashMap<_, Vec<_>> = HashMap::new();
        for (collection, index) in indexes {
            by_collection.entry(collection).or_default().push(Arc::new(index));
        }
        for (collection, indexes) in by_collection {
            catalog.set_indexes(&collection, indexes);
        }
        catalog
    }

    /// Reads the catalog in a transaction that has locked the project's log end.
    ///
    /// # Errors
    /// A database failure.
    pub async fn read_locked(tx: &mut WriteTx, project: &ProjectId, control: Position) -> Result<Self> {
        let collections = rows::list_locked(tx, project).await?;
        let indexes = indexes::list_locked(tx, project).await?;
        let settings = projects::find_settings_locked(tx, project).await?;
        Ok(Self::new(control, collections, indexes, settings))
    }

    /// Returns the settings of the project.
    pub fn settings(&self) -> &Arc<ProjectSettings> {
        &self.settings
    }

    /// Replaces the settings of the project.
    pub fn set_settings(&mut self, settings: Arc<ProjectSettings>) {
        self.settings = settings;
    }

    /// Finds a collection by its name or its id.
    pub fn find(&self, name_or_id: &str) -> Option<&Arc<Collection>> {
        match self.by_id.get(&CollectionId::from_stored(name_or_id)) {
            Some(collection) => Some(collection),
            None => self.by_name.get(&CollectionName::from_stored(name_or_id)),
        }
    }

    /// Counts the collections, without built-in ones.
    pub fn count(&self) -> usize {
        let built_in = self.by_name.range(CollectionName::from_stored("_")..CollectionName::from_stored("`"));
        self.by_id.size() - built_in.count()
    }

    /// Returns the indexes that a collection declares.
    pub fn indexes_of(&self, id: &CollectionId) -> &[Arc<Index>] {
        self.indexes.get(id).map_or(&[], Vec::as_slice)
    }

    /// Returns the indexes of all collections.
    pub fn indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values().flatten()
    }

    /// Replaces the indexes of a collection.
    pub fn set_indexes(&mut self, id: &CollectionId, indexes: Vec<Arc<Index>>) {
        if indexes.is_empty() {
            self.indexes.remove_mut(id);
        } else {
            self.indexes.insert_mut(id.clone(), indexes);
        }
    }

    /// Returns the rules of a collection, if it has any. Users always have.
    pub fn rules_of(&self, id: &CollectionId) -> Option<&Arc<RuleSet>> {
        let are_users = || self.by_id.get(id).is_some_and(|collection| collection.name.is_users());
        self.rules.get(id).or_else(|| are_users().then(default_rules_of_users))
    }

    /// Whether rules of a collection were set.
    pub fn has_own_rules(&self, id: &CollectionId) -> bool {
        self.rules.contains_key(id)
    }

    /// Returns the collections whose rules ask this one, by its name or its id.
    pub fn asking(&self, name: &CollectionName, id: &str) -> Vec<&Arc<Collection>> {
        let asks =
            |rules: &RuleSet| rules.related_collections().any(|asked| asked == name.as_str() || asked == id);
        let asking = self.rules.iter().filter(|(_, rules)| asks(rules));
        asking.filter_map(|(collection, _)| self.by_id.get(collection)).collect()
    }

    /// Replaces the rules of a collection.
    pub fn set_rules(&mut self, collection: &Collection, rules: Option<Arc<RuleSet>>) {
        let id = &collection.id;
        match rules {
            Some(rules) if collection.name.is_users() => {
                self.rules.insert_mut(id.clone(), Arc::new((*rules).clone().completed_of_users()));
            }
            Some(rules) => self.rules.insert_mut(id.clone(), rules),
            None => {
                self.rules.remove_mut(id);
            }
        }
    }

    /// Adds a collection, or replaces the one with its id.
    pub fn insert(&mut self, collection: Arc<Collection>) {
        self.take(&collection.id);
        self.by_name.insert_mut(collection.name.clone(), collection.clone());
        self.by_id.insert_mut(collection.id.clone(), collection);
    }

    /// Removes a collection with its indexes and rules.
    pub fn remove(&mut self, id: &CollectionId) {
        self.take(id);
        self.indexes.remove_mut(id);
        self.rules.remove_mut(id);
    }

    fn take(&mut self, id: &CollectionId) {
        if let Some(collection) = self.by_id.get(id) {
            let name = collection.name.clone();
            self.by_name.remove_mut(&name);
            self.by_id.remove_mut(id);
        }
    }

    /// Lists the collections by name, without built-in ones, beginning after the name `after`.
    pub fn list(&self, after: Option<&CollectionName>) -> impl Iterator<Item = &Arc<Collection>> {
        self.list_all(after).filter(|collection| !collection.name.is_built_in())
    }

    /// The same with built-in collections.
    pub fn list_all(&self, after: Option<&CollectionName>) -> impl Iterator<Item = &Arc<Collection>> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name.range((begin, Bound::Unbounded)).map(|(_, collection)| collection)
    }
}

#[derive(Default)]
struct Cached {
    /// The control sequence that a catalog must have.
    required: u64,
    catalog: Option<Arc<Catalog>>,
    reading: Option<Reading>,
}

/// A read of a catalog that is in progress. Everyone who asks meanwhile waits for it.
#[derive(Clone)]
struct Reading {
    /// [`Cached::required`] when it began, so that the result has the effect of that entry.
    required: u64,
    /// `None` until it ends.
    outcome: watch::Receiver<Option<Result<Arc<Catalog>>>>,
}

/// The cache of all projects' catalogs. Cheap to clone.
#[derive(Clone)]
pub struct Catalogs {
    db: Db,
    cached_by_project: Arc<Mutex<HashMap<ProjectId, Cached>>>,
    last_controls: LastControls,
    /// Notified after each change of the cache.
    changed: watch::Sender<()>,
}

impl Catalogs {
    /// Makes an empty cache. A project's catalog is read on first use.
    pub fn new(db: Db) -> Self {
        Self {
            last_controls: LastControls::new(db.clone()),
            db,
            cached_by_project: Arc::default(),
            changed: watch::Sender::default(),
        }
    }

    /// Finds a collection by its name or its id. One that this process has not heard of is looked for in the database, because
    /// another node may have created it a moment ago.
    ///
    /// # Errors
    /// A database failure.
    pub async fn find(&self, project: &ProjectId, name_or_id: &str) -> Result<Option<Arc<Collection>>> {
        if let Some(found) = self.get(project).await?.find(name_or_id) {
            return Ok(Some(found.clone()));
        }
        Ok(self.get_latest(project).await?.find(name_or_id).cloned())
    }

    /// Returns a project's catalog as it is in the database, with what other nodes changed a moment ago. It costs a read of the
    /// log's end, which those who ask at the same time share. The catalog is read only if it has changed.
    ///
    /// # Errors
    /// A database failure.
    pub async fn get_latest(&self, project: &ProjectId) -> Result<Arc<Catalog>> {
        let control = self.last_controls.find(project).await?;
        // It may be newer than the read. After a log went back it is older, which the relay finds out.
        self.get_at(project, control.sequence).await
    }

    /// Returns a project's catalog with the effect of the control entry at `sequence`, which the log has.
    ///
    /// # Errors
    /// A database failure, if it has to be read.
    pub async fn get_at(&self, project: &ProjectId, sequence: u64) -> Result<Arc<Catalog>> {
        let known = self.get(project).await?;
        if known.control.sequence >= sequence {
            return Ok(known);
        }
        self.require(project, sequence);
        self.get(project).await
    }

    /// Returns a receiver that is notified after each change of the cache.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until a project's catalog is as it should be.
    ///
    /// # Errors
    /// A database failure.
    pub async fn wait_until(&self, project: &ProjectId, is_good: impl Fn(&Catalog) -> bool) -> Result<()> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if is_good(&*self.get(project).await?) {
                return Ok(());
            }
            // The sender is in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Returns a project's catalog. It contains the effect of every control entry that this process knows of. At any time at
    /// most one read of a project's catalog is in progress, and one read answers everyone who waits.
    ///
    /// # Errors
    /// A database failure, if it has to be read.
    pub async fn get(&self, project: &ProjectId) -> Result<Arc<Catalog>> {
        loop {
            let (mut reading, is_outdated) = match self.find_reading(project) {
                Ok(catalog) => return Ok(catalog),
                Err(found) => found,
            };
            // The task that reads sends an outcome unless the runtime stops.
            let outcome = match reading.outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => return Err(StoreError::no_answer()),
            };
            if let Some(outcome) = outcome.filter(|_| !is_outdated) {
                return outcome;
            }
        }
    }

    /// Returns the catalog if it is fresh. Otherwise returns the read to wait for, which begins now if there is none, and
    /// whether that read began before an entry whose effect is needed.
    fn find_reading(&self, project: &ProjectId) -> std::result::Result<Arc<Catalog>, (Reading, bool)> {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.entry(project.clone()).or_default();
        if let Some(catalog) = &cached.catalog {
            return Ok(catalog.clone());
        }
        // A reading without a sender ended in a panic.
        if let Some(reading) = &cached.reading
            && reading.outcome.has_changed().is_ok()
        {
            return Err((reading.clone(), reading.required != cached.required));
        }
        let (sender, outcome) = watch::channel(None);
        let reading = Reading { required: cached.required, outcome };
        cached.reading = Some(reading.clone());
        let (catalogs, project) = (self.clone(), project.clone());
        // A task of its own, so that everyone else is served if the first to ask goes away.
        tokio::spawn(async move {
            let outcome = catalogs.read(&project).await.map(Arc::new);
            if let Ok(catalog) = &outcome {
                catalogs.put(&project, catalog);
            }
            catalogs.end_reading(&project);
            sender.send_replace(Some(outcome));
        });
        Err((reading, false))
    }

    fn end_reading(&self, project: &ProjectId) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached_by_project.get_mut(project) {
            cached.reading = None;
        }
    }

    async fn read(&self, project: &ProjectId) -> Result<Catalog> {
        let id = project.clone();
        let read = move |db| async move {
            // The position is read first, so the rows may be newer than it but never older.
            let control = ends::find(&db, &id).await?.map_or_else(Position::default, |ends| ends.control);
            let collections = rows::list(&db, &id).await?;
            let indexes = indexes::list(&db, &id).await?;
            Ok(Catalog::new(control, collections, indexes, projects::find_settings(&db, &id).await?))
        };
        self.db.read(Lane::Point, read).await
    }

    /// Returns the catalog if it is in memory and fresh.
    pub fn cached(&self, project: &ProjectId) -> Option<Arc<Catalog>> {
        let cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        cached_by_project.get(project)?.catalog.clone()
    }

    /// Stores a catalog, if it is fresh and not older than the stored one.
    pub fn put(&self, project: &ProjectId, catalog: &Arc<Catalog>) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.entry(project.clone()).or_default();
        let newest = cached
            .catalog
            .as_ref()
            .map_or(cached.required, |catalog| catalog.control.sequence.max(cached.required));
        if catalog.control.sequence >= newest {
            cached.catalog = Some(catalog.clone());
            self.changed.send_replace(());
        }
    }

    /// Drops a catalog that is older than the control entry at `sequence`.
    pub fn require(&self, project: &ProjectId, sequence: u64) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.entry(project.clone()).or_default();
        cached.required = cached.required.max(sequence);
        if cached.catalog.as_ref().is_some_and(|catalog| catalog.control.sequence < cached.required) {
            cached.catalog = None;
            self.changed.send_replace(());
        }
    }

    /// Notes a control entry that is about neither collections nor indexes. Must be called in the order of the log, as
    /// [`Catalogs::require`] is for all other entries.
    ///
    /// A cached catalog is at least as new as the last entry that was required. The entries since then are all of this kind, so
    /// the catalog is complete up to this one as it is.
    pub fn pass(&self, project: &ProjectId, control: Position) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.get_mut(project).and_then(|cached| cached.catalog.as_mut());
        if let Some(catalog) = cached.filter(|catalog| catalog.control.sequence < control.sequence) {
            Arc::make_mut(catalog).control = control;
        }
    }

    /// Drops the catalog, and sets the sequence of the log's last control entry. The log may have gone back to an older copy.
    pub fn restart(&self, project: &ProjectId, sequence: u64) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.entry(project.clone()).or_default();
        (cached.required, cached.catalog) = (sequence, None);
        if let Some(reading) = &mut cached.reading {
            // It may have begun before the log went back, so nobody takes its outcome for the present.
            reading.required = u64::MAX;
        }
        self.changed.send_replace(());
    }
}
