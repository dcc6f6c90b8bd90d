//! Lists of documents, and how the database carries them out.

use std::sync::Arc;

use super::{documents::Documents, error::ServiceError, list_permits::ListPermit};
use crate::{
    auth::{Action, KeyKind, Principal, permission},
    domain::Collection,
    query::{Filter, page::Page, planner::helpful_fields},
    store::{
        Lane,
        documents::{
            explain::ListPlan,
            list::{self, ListQuery, Listed, Listing},
        },
    },
};

/// The most that the documents of one list may take, in bytes of memory.
const MAX_LIST_BYTES: usize = 32 * 1024 * 1024;

/// One page of a list. Holds a list permit until it is dropped, so drop it as soon as the answer is written.
pub struct DocumentList {
    pub collection: Arc<Collection>,
    pub listed: Listed,
    /// How the database does it, for secret keys.
    pub plan: Option<ListPlan>,
    _permit: ListPermit,
}

impl Documents {
    /// Lists the documents that match. A page that would take too much memory ends early, and says so in
    /// [`is_cut`](Listed::is_cut).
    ///
    /// # Errors
    /// [`ServiceError::Busy`] if no permit becomes free, and [`ServiceError::TooCostly`] if the database takes too long.
    pub async fn list(
        &self,
        principal: &Principal,
        collection: &str,
        filter: Filter,
        page: Page,
    ) -> Result<DocumentList, ServiceError> {
        permission::check(principal, Action::ReadDocuments)?;
        let catalog = self.catalogs.get(&principal.project).await?;
        let collection = catalog.find(collection).cloned().ok_or(ServiceError::UnknownCollection)?;
        let helpful = helpful_fields(&filter, Some(&page.sort));
        let (project, id, plans) = (principal.project.clone(), collection.id.clone(), self.plans.clone());
        let is_told = principal.kind == KeyKind::Secret;
        let permit = self.lists.acquire().await?;
        let read = move |db| async move {
            let indexes = catalog.indexes_of(&id);
            let listing = Listing { collection: &id, indexes, filter: &filter, page: &page };
            let query = ListQuery { project: &project, listing, max_bytes: MAX_LIST_BYTES };
            let listed = list::list(&db, query).await?;
            let plan = match is_told {
                // Without it the answer is as good.
                true => plans.get(&db, query, catalog.control).await.ok(),
                false => None,
            };
            Ok((listed, plan))
        };
        let outcome = self.db.read(Lane::Scan, read).await;
        let (listed, plan) = outcome.map_err(|err| ServiceError::of_query(err, helpful))?;
        let listed = listed.ok_or(ServiceError::UnknownCollection)?;
        Ok(DocumentList { collection, listed, plan, _permit: permit })
    }
}
