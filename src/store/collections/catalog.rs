//! The collections of each project in memory, as fresh as the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    domain::{Collection, CollectionId, CollectionName, ProjectId},
    query::index_definition::Index,
    store::{
        Db, Lane, Result, WriteTx,
        collections::{indexes, rows},
        log::ends,
    },
};

/// A project's collections at one control sequence.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Sequence of the last control entry that is contained (later ones may be).
    pub control: u64,
    by_name: HashMap<CollectionName, Arc<Collection>>,
    by_id: HashMap<CollectionId, Arc<Collection>>,
    indexes: HashMap<CollectionId, Vec<Arc<Index>>>,
}

impl Catalog {
    /// Collections, and their indexes, that were read after `control` was.
    pub fn new(control: u64, collections: Vec<Collection>, indexes: Vec<(CollectionId, Index)>) -> Self {
        let mut catalog = Self { control, ..Self::default() };
        for collection in collections {
            catalog.insert(Arc::new(collection));
        }
        for (collection, index) in indexes {
            catalog.indexes.entry(collection).or_default().push(Arc::new(index));
        }
        catalog
    }

    /// Reads it in a transaction that has the project's log end locked.
    ///
    /// # Errors
    /// The database's own.
    pub async fn read_locked(tx: &mut WriteTx, project: &ProjectId, control: u64) -> Result<Self> {
        let collections = rows::list_locked(tx, project).await?;
        Ok(Self::new(control, collections, indexes::list_locked(tx, project).await?))
    }

    /// Finds a collection by what stands in a path: its name or its id.
    pub fn find(&self, name_or_id: &str) -> Option<&Arc<Collection>> {
        match self.by_id.get(&CollectionId::from_stored(name_or_id)) {
            Some(collection) => Some(collection),
            None => self.by_name.get(&CollectionName::from_stored(name_or_id)),
        }
    }

    /// The indexes that a collection declares.
    pub fn indexes_of(&self, id: &CollectionId) -> &[Arc<Index>] {
        self.indexes.get(id).map_or(&[], Vec::as_slice)
    }

    /// All indexes.
    pub fn indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values().flatten()
    }

    /// Has a collection declare these indexes and no others.
    pub fn set_indexes(&mut self, id: &CollectionId, indexes: Vec<Arc<Index>>) {
        self.indexes.insert(id.clone(), indexes);
    }

    /// Adds a collection, or puts it in the place of the one with its id.
    pub fn insert(&mut self, collection: Arc<Collection>) {
        self.take(&collection.id);
        self.by_name.insert(collection.name.clone(), collection.clone());
        self.by_id.insert(collection.id.clone(), collection);
    }

    /// Takes a collection away, and its indexes.
    pub fn remove(&mut self, id: &CollectionId) {
        self.take(id);
        self.indexes.remove(id);
    }

    fn take(&mut self, id: &CollectionId) {
        if let Some(collection) = self.by_id.remove(id) {
            self.by_name.remove(&collection.name);
        }
    }

    /// All collections, by name.
    pub fn list(&self) -> Vec<Arc<Collection>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[derive(Default)]
struct Slot {
    /// The least control sequence that counts.
    required: u64,
    catalog: Option<Arc<Catalog>>,
}

/// The catalogs of all projects. Cheap to clone.
#[derive(Clone)]
pub struct Catalogs {
    db: Db,
    slots: Arc<Mutex<HashMap<ProjectId, Slot>>>,
}

impl Catalogs {
    /// Starts empty; a project's catalog is read when it is first asked for.
    pub fn new(db: Db) -> Self {
        Self { db, slots: Arc::default() }
    }

    /// A project's catalog, which contains every control entry that this process has heard of.
    ///
    /// # Errors
    /// The database's own, if it has to be read.
    pub async fn get(&self, project: &ProjectId) -> Result<Arc<Catalog>> {
        if let Some(catalog) = self.cached(project) {
            return Ok(catalog);
        }
        let id = project.clone();
        let read = move |db| async move {
            // The sequence first: what is read after it may be newer, never older.
            let control = ends::find(&db, &id).await?.map_or(0, |ends| ends.control);
            let collections = rows::list(&db, &id).await?;
            Ok(Catalog::new(control, collections, indexes::list(&db, &id).await?))
        };
        let catalog = Arc::new(self.db.read(Lane::Point, read).await?);
        self.put(project, &catalog);
        Ok(catalog)
    }

    /// The catalog if it is in memory and fresh.
    pub fn cached(&self, project: &ProjectId) -> Option<Arc<Catalog>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(project)?.catalog.clone()
    }

    /// Offers a catalog; it is kept if it is fresh and newer than the one that is there.
    pub fn put(&self, project: &ProjectId, catalog: &Arc<Catalog>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(project.clone()).or_default();
        let newest = slot.catalog.as_ref().map_or(slot.required, |cached| cached.control.max(slot.required));
        if catalog.control >= newest {
            slot.catalog = Some(catalog.clone());
        }
    }

    /// Says that the log has a control entry at `sequence`: an older catalog counts no more.
    pub fn require(&self, project: &ProjectId, sequence: u64) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(project.clone()).or_default();
        slot.required = slot.required.max(sequence);
        if slot.catalog.as_ref().is_some_and(|catalog| catalog.control < slot.required) {
            slot.catalog = None;
        }
    }

    /// Says that the log's last control entry is at `sequence`, whatever was heard before: what is in memory counts no more.
    pub fn restart(&self, project: &ProjectId, sequence: u64) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.insert(project.clone(), Slot { required: sequence, catalog: None });
    }
}
