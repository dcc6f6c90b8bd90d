//! Exports all documents that match, page by page at the reader's pace.

use std::sync::Arc;

use super::{
    documents::Documents,
    error::ServiceError,
    lookup::{View, get_collection, view},
    populate::Relations,
    scans::Scan,
};
use crate::{
    auth::{Action, Authenticator, Principal, permission},
    domain::{Collection, Document},
    query::{
        Filter,
        page::{Page, Place, Sort},
        populate::Populate,
    },
    store::{
        documents::{exports, list::Listing},
        log::changes::PageSize,
    },
};

/// How much is read at once.
const PAGE: PageSize = PageSize { entries: 1000, bytes: 4 * 1024 * 1024 };
/// How much is read at once with `populate`: the joined documents come on top of it.
const POPULATED_PAGE: PageSize = PageSize { entries: 100, bytes: 1024 * 1024 };
/// The memory that a page waits for: its documents and their text.
const PAGE_MEMORY: usize = 6 * 1024 * 1024;
/// A page that finds no room in memory is read again with so many times fewer documents.
const SHRINK: usize = 4;
/// How many documents are searched for the names of their fields at once.
const SEARCHED: u64 = 10_000;
/// The most columns of a CSV file.
const MAX_COLUMNS: usize = 1000;

/// The use case of exports. Cheap to clone.
#[derive(Clone)]
pub struct Exports {
    documents: Documents,
    authenticator: Authenticator,
}

/// The documents to export, their order, and the documents that are joined to them.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub filter: Filter,
    pub sort: Sort,
    pub populate: Populate,
}

/// An export in progress. Between two pages it holds neither a turn to read nor a database connection.
pub struct Export {
    pub collection: Arc<Collection>,
    documents: Documents,
    authenticator: Authenticator,
    principal: Arc<Principal>,
    wanted: Wanted,
    after: Option<Place>,
    /// The documents of the next page.
    entries: usize,
}

/// A page of an export.
pub struct ExportPage {
    /// The documents, each with its joined documents. None are left after an empty page.
    pub documents: Vec<(Document, Relations)>,
    /// Holds the turn to read, and the memory of the documents and of their text.
    pub scan: Scan,
}

impl Exports {
    pub fn new(documents: Documents, authenticator: Authenticator) -> Self {
        Self { documents, authenticator }
    }

    /// Begins an export.
    ///
    /// # Errors
    /// [`ServiceError::UnknownCollection`].
    pub async fn begin(
        &self,
        principal: Arc<Principal>,
        collection: &str,
        wanted: Wanted,
    ) -> Result<Export, ServiceError> {
        permission::check(&principal, Action::ReadDocuments)?;
        let sources = (&self.documents.db, &self.documents.catalogs);
        let view = view(sources, &principal, collection, wanted.filter.clone()).await?;
        view.sort(wanted.sort.clone())?;
        let collection = view.collection;
        let (documents, authenticator) = (self.documents.clone(), self.authenticator.clone());
        let entries = size_of(&wanted).entries;
        Ok(Export { collection, documents, authenticator, principal, wanted, after: None, entries })
    }
}

fn size_of(wanted: &Wanted) -> PageSize {
    if wanted.populate.is_empty() { PAGE } else { POPULATED_PAGE }
}

impl Export {
    /// Reads the next documents, each with its joined documents, in a turn of its own. A page that finds no room in memory is
    /// read again with fewer documents.
    ///
    /// # Errors
    /// [`ServiceError::UnknownCollection`] if the collection was removed meanwhile; [`ServiceError::Auth`] if the key was revoked or
    /// the session has ended; [`ServiceError::Busy`] if the turn or the
    /// memory doesn't come in time; [`ServiceError::TooLarge`] if one document joins too many.
    pub async fn next_page(&mut self) -> Result<ExportPage, ServiceError> {
        self.check().await?;
        loop {
            match self.read_page().await {
                Err((read, ServiceError::TooLarge(_) | ServiceError::Busy(_))) if read > 1 => {
                    self.entries = (read / SHRINK).max(1);
                }
                Err((_, err)) => return Err(err),
                Ok(page) => {
                    self.entries = size_of(&self.wanted).entries.min(self.entries * SHRINK);
                    match page.documents.last() {
                        Some((last, _)) => {
                            self.after = Some(self.wanted.sort.place_of(last));
                            // A later page may lack a field that an earlier one has, and the answer is under way.
                            self.wanted.populate.accept_all();
                        }
                        // A removed collection seems to end early, because its documents are being deleted.
                        None => self.check().await?,
                    }
                    return Ok(page);
                }
            }
        }
    }

    /// Reads the next page once. An error comes with the number of documents that were read.
    async fn read_page(&self) -> Result<ExportPage, (usize, ServiceError)> {
        let scan = self.documents.scans.begin_large(&self.principal, PAGE_MEMORY).await;
        let scan = scan.map_err(|err| (0, err))?;
        let catalog = self.documents.catalogs.get(&self.principal.project).await;
        let catalog = catalog.map_err(|err| (0, err.into()))?;
        let (id, bytes) = (self.collection.id.clone(), size_of(&self.wanted).bytes);
        let view = self.view().await.map_err(|err| (0, err))?;
        let sort = view.sort(self.wanted.sort.clone()).map_err(|err| (0, err.into()))?;
        let View { filter, mask, .. } = view;
        let page = Page { sort, limit: self.entries as u64, offset: 0, after: self.after.clone() };
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&id);
            let listing = Listing { collection: &id, indexes, filter: &filter, page: &page };
            exports::read(&db, listing, bytes).await
        };
        let page = scan.read(read).await.map_err(|err| (0, err.into()))?;
        let page: Vec<_> = page.into_iter().map(|document| mask.strip(document)).collect();
        let count = page.len();
        let failed = |err| (count, err);
        let text: usize =
            page.iter().map(|document| document.data.weight() + document.data.text().len()).sum();
        scan.count(text).map_err(failed)?;
        let (populate, read) = (&self.wanted.populate, (&self.collection, &*page));
        let populated =
            self.documents.populate(&self.principal, read, populate, &scan).await.map_err(failed)?;
        scan.count(populated.text_bytes).map_err(failed)?;
        let documents = page.into_iter().zip(populated.relations).collect();
        Ok(ExportPage { documents, scan })
    }

    /// Returns the names of the top-level fields of all documents that match, in alphabetical order.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`] if there are more than 1000.
    pub async fn field_names(&self) -> Result<Vec<String>, ServiceError> {
        let mut all = std::collections::BTreeSet::new();
        let mut after = None;
        loop {
            let (id, View { filter, mask, .. }) = (self.collection.id.clone(), self.view().await?);
            let read = move |db| async move {
                let documents = (&filter, &*mask);
                exports::field_names(&db, &id, documents, after.as_ref(), SEARCHED, MAX_COLUMNS).await
            };
            let found = self.documents.scans.begin(&self.principal).await?.read(read).await?;
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

    /// Returns the documents that are wanted, as the caller may read them now: rights may change between two pages.
    async fn view(&self) -> Result<View, ServiceError> {
        let sources = (&self.documents.db, &self.documents.catalogs);
        view(sources, &self.principal, self.collection.id.as_str(), self.wanted.filter.clone()).await
    }

    /// Checks that the collection still exists, and that the caller's key and session are still good.
    async fn check(&self) -> Result<(), ServiceError> {
        self.authenticator.recheck(&self.principal).await?;
        let (catalogs, project) = (&self.documents.catalogs, &self.principal.project);
        get_collection(catalogs, project, self.collection.id.as_str()).await.map(|_| ())
    }
}
