//! For how long a connection is served by the token of its user.

use std::time::Duration;

use tokio::time::Instant;

use crate::{auth::Principal, domain::Timestamp};

/// How long the subscriptions of a connection are paused after the token of its user has expired. After that it ends.
const PAUSE: Duration = Duration::from_secs(10);

/// For how long a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// Nobody is signed in, so no token expires.
    Unlimited,
    /// The token expires then.
    Until(Instant),
    /// The token has expired, and until then another one is waited for.
    Paused(Instant),
}

impl Validity {
    pub(super) fn of(principal: &Principal) -> Self {
        let Some(user) = &principal.user else { return Self::Unlimited };
        let left = user.expires_at.0.saturating_sub(Timestamp::now().0);
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
        // A time beyond what the clock can count does not come.
        Instant::now().checked_add(left).map_or(Self::Unlimited, Self::Until)
    }

    pub(super) fn paused() -> Self {
        Self::Paused(Instant::now() + PAUSE)
    }

    pub(super) fn is_paused(self) -> bool {
        matches!(self, Self::Paused(_))
    }
}
