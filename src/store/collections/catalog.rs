//! A cache of each project's collections and indexes, which is as fresh as the log.

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

/// The collections and indexes of a project, at one control sequence.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The sequence of a control entry up to which this is complete. It may contain later changes.
    pub control: u64,
    by_name: HashMap<CollectionName, Arc<Collection>>,
    by_id: HashMap<CollectionId, Arc<Collection>>,
    indexes: HashMap<CollectionId, Vec<Arc<Index>>>,
}

impl Catalog {
    /// Makes a catalog of rows that were read after `control`.
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

    /// Reads the catalog in a transaction that has locked the project's log end.
    ///
    /// # Errors
    /// A database failure.
    pub async fn read_locked(tx: &mut WriteTx, project: &ProjectId, control: u64) -> Result<Self> {
        let collections = rows::list_locked(tx, project).await?;
        Ok(Self::new(control, collections, indexes::list_locked(tx, project).await?))
    }

    /// Finds a collection by its name or its id.
    pub fn find(&self, name_or_id: &str) -> Option<&Arc<Collection>> {
        match self.by_id.get(&CollectionId::from_stored(name_or_id)) {
            Some(collection) => Some(collection),
            None => self.by_name.get(&CollectionName::from_stored(name_or_id)),
        }
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
        self.indexes.insert(id.clone(), indexes);
    }

    /// Adds a collection, or replaces the one with its id.
    pub fn insert(&mut self, collection: Arc<Collection>) {
        self.take(&collection.id);
        self.by_name.insert(collection.name.clone(), collection.clone());
        self.by_id.insert(collection.id.clone(), collection);
    }

    /// Removes a collection and its indexes.
    pub fn remove(&mut self, id: &CollectionId) {
        self.take(id);
        self.indexes.remove(id);
    }

    fn take(&mut self, id: &CollectionId) {
        if let Some(collection) = self.by_id.remove(id) {
            self.by_name.remove(&collection.name);
        }
    }

    /// Lists all collections by name.
    pub fn list(&self) -> Vec<Arc<Collection>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[derive(Default)]
struct Cached {
    /// The control sequence that a catalog must have.
    required: u64,
    catalog: Option<Arc<Catalog>>,
}

/// The cache of all projects' catalogs. Cheap to clone.
#[derive(Clone)]
pub struct Catalogs {
    db: Db,
    cached_by_project: Arc<Mutex<HashMap<ProjectId, Cached>>>,
}

impl Catalogs {
    /// Makes an empty cache. A project's catalog is read on first use.
    pub fn new(db: Db) -> Self {
        Self { db, cached_by_project: Arc::default() }
    }

    /// Returns a project's catalog. It contains the effect of every control entry that this process knows of.
    ///
    /// # Errors
    /// A database failure, if it has to be read.
    pub async fn get(&self, project: &ProjectId) -> Result<Arc<Catalog>> {
        if let Some(catalog) = self.cached(project) {
            return Ok(catalog);
        }
        let id = project.clone();
        let read = move |db| async move {
            // The sequence is read first, so the rows may be newer than it but never older.
            let control = ends::find(&db, &id).await?.map_or(0, |ends| ends.control);
            let collections = rows::list(&db, &id).await?;
            Ok(Catalog::new(control, collections, indexes::list(&db, &id).await?))
        };
        let catalog = Arc::new(self.db.read(Lane::Point, read).await?);
        self.put(project, &catalog);
        Ok(catalog)
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
        let newest =
            cached.catalog.as_ref().map_or(cached.required, |catalog| catalog.control.max(cached.required));
        if catalog.control >= newest {
            cached.catalog = Some(catalog.clone());
        }
    }

    /// Drops a catalog that is older than the control entry at `sequence`.
    pub fn require(&self, project: &ProjectId, sequence: u64) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached_by_project.entry(project.clone()).or_default();
        cached.required = cached.required.max(sequence);
        if cached.catalog.as_ref().is_some_and(|catalog| catalog.control < cached.required) {
            cached.catalog = None;
        }
    }

    /// Drops the catalog, and sets the sequence of the log's last control entry. The log may have gone back to an older copy.
    pub fn restart(&self, project: &ProjectId, sequence: u64) {
        let mut cached_by_project = self.cached_by_project.lock().unwrap_or_else(PoisonError::into_inner);
        cached_by_project.insert(project.clone(), Cached { required: sequence, catalog: None });
    }
}
