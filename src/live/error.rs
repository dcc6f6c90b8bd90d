//! Why a subscription can't be served.

use crate::{auth::Forbidden, store::StoreError};

/// Why a subscription can't be served. `api` says it with a code on each transport.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The collection does not exist, or was removed.
    #[error("collection does not exist")]
    UnknownCollection,
    #[error("a connection has at most {limit} subscriptions")]
    TooManySubscriptions { limit: usize },
    /// The collection has too many filters that the hub can't find by a value (`hub::filter_index`), and would have to ask
    /// about every document.
    #[error(
        "this collection has too many different filters without `eq`, `in`, `array_contains` or a comparison; add such a term"
    )]
    TooManyFilters,
    #[error(transparent)]
    Store(#[from] StoreError),
}
