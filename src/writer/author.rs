//! Who writes, as far as rules ask.

use std::sync::Arc;

use crate::{
    auth::Principal,
    domain::DocumentId,
    query::rule::{Params, Sets},
};

/// A caller whom rules bind.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// `None` for a caller without a user.
    pub user: Option<DocumentId>,
    /// The sets of other collections that rules ask for, and the sequence of the log up to which they are true.
    pub sets: Arc<Sets>,
    pub sets_at: u64,
    /// The parameters of the request.
    pub params: Params,
}

impl Author {
    /// Returns the author of what a principal writes. `None` for a server that acts for itself, whom no rules bind.
    pub fn of(principal: &Principal) -> Option<Self> {
        let user = principal.user.as_ref().map(|user| user.id.clone());
        let (sets, params) = (Arc::default(), principal.params.clone());
        (!principal.is_server()).then_some(Self { user, sets, sets_at: 0, params })
    }
}
