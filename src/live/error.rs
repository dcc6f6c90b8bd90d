//! Why a subscription can't be served.

use crate::{auth::Forbidden, store::StoreError};

/// Why a subscription can't be served. `api` says it with a code on each transport.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The principal may not watch this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The collection does not exist, or was removed.
    #[error("collection does not exist")]
    UnknownCollection,
    /// The connection has as many subscriptions as it may have.
    #[error("a connection has at most {limit} subscriptions")]
    TooManySubscriptions {
        /// How many it may have.
        limit: usize,
    },
    /// The hub would have to ask too many filters about every document.
    #[error("this collection has too many different filters without an equality")]
    TooManyFilters,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
