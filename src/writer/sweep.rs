//! What the writer does between batches: it deletes what nobody will ask for again.

use std::time::Duration;

use super::actor::Writer;
use crate::{
    domain::Timestamp,
    store::{StoreError, collections, documents, idempotency},
};

/// How often old outcomes are deleted, and removed collections looked for.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How long an outcome is kept under its idempotency key.
const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Documents of a removed collection that one transaction deletes: few, since writes wait for it.
const SWEEP_DOCUMENTS: usize = 200;

impl Writer {
    /// Deletes some documents of removed collections, and remembers whether there are more.
    pub(super) async fn sweep_removed(&mut self) {
        match self.try_sweep_removed().await {
            Ok(more) => self.has_removed = more,
            Err(err) => {
                self.has_removed = false;
                tracing::warn!("documents of removed collections could not be deleted, later again: {err}");
            }
        }
    }

    async fn try_sweep_removed(&self) -> Result<bool, StoreError> {
        let mut tx = self.db.begin_write().await?;
        let Some(collection) = collections::find_removed(&mut tx).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        if documents::delete_some(&mut tx, &collection, SWEEP_DOCUMENTS).await? < SWEEP_DOCUMENTS {
            collections::delete(&mut tx, &collection);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Forgets outcomes that are too old to count.
    pub(super) async fn sweep_idempotency(&self) {
        let sweep = async {
            let mut tx = self.db.begin_write().await?;
            idempotency::delete_old(&mut tx, oldest_outcome());
            tx.commit().await
        };
        if let Err(err) = sweep.await {
            tracing::warn!("old idempotency keys could not be deleted, later again: {err}");
        }
    }
}

/// Outcomes that are older count no more.
pub(super) fn oldest_outcome() -> Timestamp {
    Timestamp(Timestamp::now().0 - IDEMPOTENCY_AGE.as_millis() as i64)
}
