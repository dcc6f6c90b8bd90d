//! What stands in the queue.

use crate::{domain::Mail, shares::FairPermit};

/// A mail in the queue. It holds its place until it is delivered.
pub(super) struct Queued {
    pub(super) mail: Mail,
    pub(super) place: FairPermit,
}
