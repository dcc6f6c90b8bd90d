//! All documents that match, page by page at the reader's pace.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Documents, ServiceError, find_collection, populate::Relations};
use crate::{
    auth::{Action, Principal, permission},
    domain::{Collection, Document},
    query::{
        Filter,
        page::{Page, Place, Sort},
        populate::Populate,
    },
    store::{
        Lane,
        documents::{exports, list::Listing},
        log::changes::PageSize,
    },
};

/// How many exports may be under way: each holds a page.
const MAX_EXPORTS: usize = 32;
/// One that joins documents counts as so many: its page may be that much larger.
const POPULATED_COST: u32 = 8;
/// What is read at once.
const PAGE: PageSize = PageSize { entries: 1000, bytes: 4 * 1024 * 1024 };
/// Joined documents come on top of a page, so it is a small one.
const POPULATED_PAGE: PageSize = PageSize { entries: 100, bytes: 1024 * 1024 };
/// How many documents are searched for the names of their fields at once.
const SEARCHED: u64 = 10_000;
/// The most columns of a table.
const MAX_COLUMNS: usize = 1000;

/// The use case of exports. Cheap to clone.
#[derive(Clone)]
pub struct Exports {
    documents: Documents,
    slots: Arc<Semaphore>,
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which documents.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// What they are joined with.
    pub populate: Populate,
}

/// An export under way; it ends when it is dropped. Between two pages it holds nothing of the database.
pub struct Export {
    /// Whose documents.
    pub collection: Arc<Collection>,
    documents: Documents,
    principal: Arc<Principal>,
    wanted: Wanted,
    after: Option<Place>,
    _slot: OwnedSemaphorePermit,
}

impl Exports {
    /// Starts with none under way.
    pub fn new(documents: Documents) -> Self {
        Self { documents, slots: Arc::new(Semaphore::new(MAX_EXPORTS)) }
    }

    /// Begins one.
    ///
    /// # Errors
    /// [`ServiceError`], also if too many are under way.
    pub async fn begin(
        &self,
        principal: Arc<Principal>,
        collection: &str,
        wanted: Wanted,
    ) -> Result<Export, ServiceError> {
        permission::check(&principal, Action::ReadDocuments)?;
        let collection = find_collection(&self.documents.catalogs, &principal, collection).await?;
        let cost = if wanted.populate.is_empty() { 1 } else { POPULATED_COST };
        let slot = self.slots.clone().try_acquire_many_owned(cost);
        let slot = slot.map_err(|_| ServiceError::Busy("too many exports are under way; try again"))?;
        Ok(Export {
            collection,
            documents: self.documents.clone(),
            principal,
            wanted,
            after: None,
            _slot: slot,
        })
    }
}

impl Export {
    /// The next documents, with what they are joined with; none at the end.
    ///
    /// # Errors
    /// [`ServiceError`], also if the collection is gone meanwhile.
    pub async fn next_page(&mut self) -> Result<Vec<(Document, Relations)>, ServiceError> {
        self.check().await?;
        let size = if self.wanted.populate.is_empty() { PAGE } else { POPULATED_PAGE };
        let catalog = self.documents.catalogs.get(&self.principal.project).await?;
        let (id, filter) = (self.collection.id.clone(), self.wanted.filter.clone());
        let sort = self.wanted.sort.clone();
        let page = Page { sort, limit: size.entries as u64, offset: 0, after: self.after.clone() };
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&id);
            let listing = Listing { collection: &id, indexes, filter: &filter, page: &page };
            exports::read(&db, listing, size.bytes).await
        };
        let page = self.documents.db.read(Lane::Scan, read).await?;
        let populate = &self.wanted.populate;
        let relations = self.documents.populate(&self.principal, &self.collection, &page, populate).await?;
        if let Some(last) = page.last() {
            self.after = Some(self.wanted.sort.place_of(last));
        } else {
            // What a removed collection still has is no end.
            self.check().await?;
        }
        Ok(page.into_iter().zip(relations).collect())
    }

    /// The top-level fields that the documents have, by name.
    ///
    /// # Errors
    /// [`ServiceError`], also if there are too many.
    pub async fn field_names(&self) -> Result<Vec<String>, ServiceError> {
        let mut all = std::collections::BTreeSet::new();
        let mut after = None;
        loop {
            let (id, filter) = (self.collection.id.clone(), self.wanted.filter.clone());
            let read = move |db| async move {
                exports::field_names(&db, &id, &filter, after.as_ref(), SEARCHED, MAX_COLUMNS).await
            };
            let found = self.documents.db.read(Lane::Scan, read).await?;
            all.extend(found.names);
            if all.len() > MAX_COLUMNS {
                return Err(ServiceError::TooLarge(
                    "these documents have more than 1000 different fields; name those that you want with `select`",
                ));
            }
            match found.last {
                Some(last) => after = Some(last),
                None => return Ok(all.into_iter().collect()),
            }
        }
    }

    /// The collection is still there.
    async fn check(&self) -> Result<(), ServiceError> {
        find_collection(&self.documents.catalogs, &self.principal, self.collection.id.as_str())
            .await
            .map(|_| ())
    }
}
