//! What the writer does between batches: it deletes what nobody will ask for again.

use std::time::Duration;

use crate::{
    domain::Timestamp,
    store::{
        StoreError,
        collections::rows,
        documents::writes,
        log::{idempotency, retention},
    },
    writer::actor::Writer,
};

/// How often old outcomes are deleted, and removed collections looked for.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How long an outcome is kept under its idempotency key.
const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Documents of a removed collection that one transaction deletes: few, since writes wait for it.
const SWEEP_DOCUMENTS: usize = 200;
/// How often logs that have grown are compared with the retention.
pub(super) const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// Every so many times the ages are looked at too, and the logs that others write.
const THOROUGH: u64 = 60;
/// How long one deletion may take; PostgreSQL ends statements that take 10 s, and this is for a connection that hangs.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(30);

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
        let Some(collection) = rows::find_removed(&mut tx).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        if writes::delete_some(&mut tx, &collection, SWEEP_DOCUMENTS).await? < SWEEP_DOCUMENTS {
            rows::delete(&mut tx, &collection);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Looks for projects whose log is over the retention: with some slack if this writer has written, so that it is not
    /// one deletion for each write, and thoroughly from time to time.
    pub(super) async fn find_due(&mut self) {
        let Some(retention) = self.retention else { return };
        let is_thorough = self.prune_checks.is_multiple_of(THOROUGH);
        self.prune_checks += 1;
        if !std::mem::take(&mut self.has_written) && !is_thorough {
            return;
        }
        let find = async {
            let mut tx = self.db.begin_write().await?;
            let due = if is_thorough {
                let oldest = retention.oldest(Timestamp::now());
                retention::list_due(&mut tx, &retention, Some(oldest)).await?
            } else {
                retention::list_due(&mut tx, &retention.with_slack(), None).await?
            };
            tx.rollback().await?;
            Ok(due)
        };
        match in_time(find).await {
            Ok(due) => self.due = due,
            Err(err) => {
                tracing::warn!("the logs could not be compared with the retention, later again: {err}")
            }
        }
    }

    /// Deletes some entries of a log that is over the retention.
    pub(super) async fn prune(&mut self) {
        let (Some(retention), Some(project)) = (self.retention, self.due.last()) else { return };
        let prune = async {
            let mut tx = self.db.begin_write().await?;
            let oldest = retention.oldest(Timestamp::now());
            let has_more = retention::prune(&mut tx, project, &retention, oldest).await?;
            tx.commit().await?;
            Ok(has_more)
        };
        match in_time(prune).await {
            Ok(true) => {}
            Ok(false) => {
                self.due.pop();
            }
            Err(err) => {
                self.due.clear();
                tracing::warn!("old entries of a log could not be deleted, later again: {err}");
            }
        }
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

/// Given up, the transaction takes its connection with it.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PRUNE_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
}

/// Outcomes that are older count no more.
pub(super) fn oldest_outcome() -> Timestamp {
    Timestamp(Timestamp::now().0 - IDEMPOTENCY_AGE.as_millis() as i64)
}
