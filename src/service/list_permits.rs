//! Bounds how many lists are in memory at the same time.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ServiceError;

/// Lists that are in memory at the same time. With the bound of each list, they take at most 512 MiB.
const MAX_LISTS: usize = 16;
/// How long a request waits for a permit.
const WAIT: Duration = Duration::from_secs(10);

/// The permits to hold a list in memory. Cheap to clone.
#[derive(Clone)]
pub struct ListPermits(Arc<Semaphore>);

/// The right to hold one list in memory, until it is dropped.
pub struct ListPermit {
    _permit: OwnedSemaphorePermit,
}

impl Default for ListPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LISTS)))
    }
}

impl ListPermits {
    /// Waits for a permit; requests get theirs in the order of asking.
    pub(super) async fn acquire(&self) -> Result<ListPermit, ServiceError> {
        let permit = tokio::time::timeout(WAIT, self.0.clone().acquire_owned()).await;
        // The semaphore is never closed, so the only error is the timeout.
        let permit = permit.ok().and_then(Result::ok);
        permit
            .map(|permit| ListPermit { _permit: permit })
            .ok_or(ServiceError::Busy("too many lists are being read; try again"))
    }
}
