//! Exports all documents that match, page by page at the reader's pace.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{documents::Documents, error::ServiceError, lookup::get_collection, populate::Relations};
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

/// The permits for exports. Each export in progress holds a page in memory.
const MAX_EXPORTS: usize = 32;
/// The permits that an export with `populate` takes, because joined documents make its pages larger.
const POPULATED_COST: u32 = 8;
/// How much is read at once.
const PAGE: PageSize = PageSize { entries: 1000, bytes: 4 * 1024 * 1024 };
/// How much is read at once with `populate`: the joined documents come on top of it.
const POPULATED_PAGE: PageSize = PageSize { entries: 100, bytes: 1024 * 1024 };
/// How many documents are searched for the names of their fields at once.
const SEARCHED: u64 = 10_000;
/// The most columns of a CSV file.
const MAX_COLUMNS: usize = 1000;

/// The use case of exports. Cheap to clone.
#[derive(Clone)]
pub struct Exports {
    documents: Documents,
    permits: Arc<Semaphore>,
}

/// The documents to export, their order, and the documents that are joined to them.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub filter: Filter,
    pub sort: Sort,
    pub populate: Populate,
}

/// An export in progress. Holds its permits until it is dropped, and no database connection between two pages.
pub struct Export {
    pub collection: Arc<Collection>,
    documents: Documents,
    principal: Arc<Principal>,
    wanted: Wanted,
    after: Option<Place>,
    _permit: OwnedSemaphorePermit,
}

impl Exports {
    pub fn new(documents: Documents) -> Self {
        Self { documents, permits: Arc::new(Semaphore::new(MAX_EXPORTS)) }
    }

    /// Begins an export.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] if too few permits are free.
    pub async fn begin(
        &self,
        principal: Arc<Principal>,
        collection: &str,
        wanted: Wanted,
    ) -> Result<Export, ServiceError> {
        permission::check(&principal, Action::ReadDocuments)?;
        let collection = get_collection(&self.documents.catalogs, &principal, collection).await?;
        let cost = if wanted.populate.is_empty() { 1 } else { POPULATED_COST };
        let permit = self.permits.clone().try_acquire_many_owned(cost);
        let permit = permit.map_err(|_| ServiceError::Busy("too many exports are in progress; try again"))?;
        Ok(Export {
            collection,
            documents: self.documents.clone(),
            principal,
            wanted,
            after: None,
            _permit: permit,
        })
    }
}

impl Export {
    /// Reads the next documents, each with its joined documents. An empty page is the end.
    ///
    /// # Errors
    /// [`ServiceError::UnknownCollection`] if the collection was removed meanwhile.
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
            // A removed collection seems to end early, because its documents are being deleted.
            self.check().await?;
        }
        Ok(page.into_iter().zip(relations).collect())
    }

    /// Returns the names of the top-level fields of all documents that match, in alphabetical order.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`] if there are more than 1000.
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
                    "these documents have more than 1000 different fields; name the ones that you want with `select`",
                ));
            }
            match found.last {
                Some(last) => after = Some(last),
                None => return Ok(all.into_iter().collect()),
            }
        }
    }

    /// Checks that the collection still exists.
    async fn check(&self) -> Result<(), ServiceError> {
        get_collection(&self.documents.catalogs, &self.principal, self.collection.id.as_str())
            .await
            .map(|_| ())
    }
}
