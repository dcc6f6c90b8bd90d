//! Lists of documents, and how the database carries them out.

use std::sync::Arc;

use super::{
    documents::Documents,
    error::ServiceError,
    lookup::View,
    scans::{NO_ROOM, Scan},
};
use crate::{
    auth::{Access, Action, Principal, Rights, permission},
    domain::{Collection, Document},
    query::{Filter, Mask, page::Page, planner::helpful_fields},
    store::{
        Lane,
        documents::{
            explain::{Explanation, explain_list},
            list::{self, Cut, ListQuery, Listed, Listing},
        },
    },
};

/// The most that the documents of one list may take, in bytes of memory.
const MAX_LIST_BYTES: usize = 32 * 1024 * 1024;

/// One page of a list.
pub struct DocumentList {
    pub collection: Arc<Collection>,
    pub listed: Listed,
    /// The right to read what belongs to the page, and the memory of what was read.
    pub scan: Scan,
}

impl DocumentList {
    fn strip(&mut self, mask: &Mask) {
        if !mask.is_empty() {
            let whole = std::mem::take(&mut self.listed.documents);
            self.listed.documents = whole.into_iter().map(|document| mask.strip(document)).collect();
        }
    }
}

impl Documents {
    /// Lists the documents that match. A page that would take too much memory ends early, and says so in
    /// [`cut`](Listed::cut).
    ///
    /// # Errors
    /// [`ServiceError::Busy`] if the principal's turn doesn't come in time or no document finds room in memory, and [`ServiceError::TooCostly`] if the database takes too long.
    pub async fn list(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<DocumentList, ServiceError> {
        let (mut list, mask) = self.list_whole(principal, collection, filter, page).await?;
        list.strip(&mask);
        Ok(list)
    }

    /// Does the same, and returns what the principal may do with each of the documents. Rules are asked of the documents as they are,
    /// also about fields that the principal doesn't see.
    ///
    /// # Errors
    /// As [`Documents::list`].
    pub async fn list_with_access(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<(DocumentList, Vec<Access>), ServiceError> {
        let (mut list, mask) = self.list_whole(principal, collection, filter, page).await?;
        let access = self.access(principal, &list.collection, &list.listed.documents).await?;
        list.strip(&mask);
        Ok((list, access))
    }

    /// Lists whole documents, and returns the mask through which the principal sees them.
    async fn list_whole(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<(DocumentList, Arc<Mask>), ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let helpful = helpful_fields(&filter, Some(&page.sort));
        let view = self.view(principal, collection, filter).await?;
        let page = view.page(page)?;
        let View { collection, filter, mask } = view;
        let catalog = self.catalogs.get(&principal.project).await?;
        let (project, id) = (principal.project.clone(), collection.id.clone());
        let scan = self.scans.begin(principal).await?;
        let room = scan.room();
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&id);
            let listing = Listing { collection: &id, indexes, filter: &filter, page: &page };
            let query = ListQuery { project: &project, listing, max_bytes: MAX_LIST_BYTES };
            list::list(&db, query, |bytes| room.count(bytes)).await
        };
        let listed = scan.read(read).await.map_err(|err| ServiceError::of_query(err, helpful))?;
        let listed = listed.ok_or(ServiceError::UnknownCollection)?;
        if listed.cut == Some(Cut::NoRoom) && listed.documents.is_empty() {
            return Err(NO_ROOM);
        }
        Ok((DocumentList { collection, listed, scan }, mask))
    }

    /// Returns what the principal may do with each of these whole documents, which they may read.
    pub(super) async fn access(
        &self,
        principal: &Principal,
        collection: &Collection,
        documents: &[Document],
    ) -> Result<Vec<Access>, ServiceError> {
        let catalog = self.catalogs.get(&principal.project).await?;
        let rights = Rights::new(&self.db, Lane::Scan, catalog, principal);
        let rights = rights.write_rights(collection).await?;
        Ok(documents.iter().map(|document| rights.of(document)).collect())
    }

    /// Explains how the database reads a list, whose page must not have more documents than a list may have. PostgreSQL runs the
    /// list for it, so an explanation takes as long as the list and has the same bounds.
    ///
    /// # Errors
    /// As [`Documents::list`].
    pub async fn explain(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<Explanation, ServiceError> {
        permission::check(principal, Action::ExplainQuery)?;
        let helpful = helpful_fields(&filter, Some(&page.sort));
        let view = self.view(principal, collection, filter).await?;
        let page = view.page(page)?;
        let View { collection, filter, .. } = view;
        let catalog = self.catalogs.get(&principal.project).await?;
        let scan = self.scans.begin(principal).await?;
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&collection.id);
            let listing = Listing { collection: &collection.id, indexes, filter: &filter, page: &page };
            explain_list(&db, listing).await
        };
        let outcome = scan.read(read).await;
        outcome.map_err(|err| ServiceError::of_query(err, helpful))
    }
}
