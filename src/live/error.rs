//! Why a subscription can't be served.

use crate::{
    auth::Forbidden,
    domain::KeyEnd,
    hub::{TooManyBytes, filter_index},
    store::StoreError,
};

/// Why a subscription can't be served. `api` says it with a code on each transport.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The key of the one who asks is not good any more, which the relay may not have heard of yet.
    #[error("the key is not good any more")]
    KeyEnded(KeyEnd),
    /// The session of the user who asks has ended, which the relay may not have heard of yet.
    #[error("the session has ended")]
    SessionEnded,
    #[error("collection does not exist")]
    UnknownCollection,
    /// The collection was removed while the subscription was live.
    #[error(
        "the collection was removed, and the subscription has ended; subscribe again to wait for a new one"
    )]
    Removed,
    #[error("a connection has at most {limit} subscriptions")]
    TooManySubscriptions { limit: usize },
    /// The hub would have to ask too many filters of the collection, or of the principal's key, about each document
    /// (`hub::filter_index`).
    #[error(
        "the filters of this collection's subscriptions take too much work for each document: {} terms, and {} for one key, besides those that a value selects; end some of them, or add a term that few other filters have, with `eq`, `in`, `array_contains`, `contains` or a comparison",
        filter_index::MAX_COST,
        filter_index::MAX_COST_OF_KEY
    )]
    TooManyFilters,
    #[error(
        "the live subscriptions take too much memory: {} bytes for all, of which those of one key may take three times what they leave free; end some of them, or use shorter lists and texts in their filters",
        .0.limit
    )]
    TooManyBytes(TooManyBytes),
    #[error(
        "the filters of this connection take more than {limit} bytes of memory; use shorter lists and texts, or another connection"
    )]
    TooManyBytesOfConnection { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TooManyBytes> for LiveError {
    fn from(limit: TooManyBytes) -> Self {
        Self::TooManyBytes(limit)
    }
}
