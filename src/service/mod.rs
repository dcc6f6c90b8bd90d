//! Use cases: what a request means, as a query or as a mutation. Checks permission first, and knows nothing of HTTP.
//!
//! Reading order: [`documents`], [`batches`], [`queries`], [`populate`], [`exports`], [`collections`], [`schemas`],
//! [`streams`], [`stream_reader`], `shared_reads`, `identical_reads`, [`lease`](Lease), [`setup`].

pub mod batches;
pub mod collections;
pub mod documents;
pub mod exports;
pub mod keys;
pub mod populate;
pub mod queries;
pub mod schemas;

use std::sync::Arc;

use crate::{
    auth::{Forbidden, Principal},
    domain::Collection,
    store::{StoreError, collections::catalog::Catalogs},
    writer::WriteError,
};

pub use collections::Collections;
pub use documents::{Documents, ListTurns};
pub use exports::Exports;

/// Why a use case came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The principal may not do this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No such collection.
    #[error("collection does not exist")]
    UnknownCollection,
    /// No such document.
    #[error("document does not exist")]
    UnknownDocument,
    /// Documents that are there don't fit the schema that shall be set.
    #[error("{} documents don't fit the schema; it was not set", .0.count)]
    Unfit(schemas::UnfitDocuments),
    /// It took the database too long. These fields are those of the index that would help, if one would.
    #[error("the query takes too long")]
    TooCostly(Vec<String>),
    /// The mutation did not happen.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The answer would take more memory than it may; a sentence that says what to do.
    #[error("{0}")]
    TooLarge(&'static str),
    /// Too many do the same at this moment; a sentence.
    #[error("{0}")]
    Busy(&'static str),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServiceError {
    /// What the error of a query is, for which an index of these fields would help.
    pub fn of_query(err: StoreError, helpful: Vec<String>) -> Self {
        if err.is_timeout() { Self::TooCostly(helpful) } else { Self::Store(err) }
    }
}

/// Finds a collection by what stands in a path.
async fn find_collection(
    catalogs: &Catalogs,
    principal: &Principal,
    name_or_id: &str,
) -> Result<Arc<Collection>, ServiceError> {
    let catalog = catalogs.get(&principal.project).await?;
    catalog.find(name_or_id).cloned().ok_or(ServiceError::UnknownCollection)
}
