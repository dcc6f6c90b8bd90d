//! The writer's work between batches: deletes documents of removed collections, old log entries and old outcomes.
//!
//! Each job is one short transaction, since writes wait for it. A job that fails is tried again later.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    domain::{ProjectId, Timestamp},
    store::{
        Db, StoreError,
        collections::rows,
        documents::writes,
        log::{
            idempotency,
            retention::{self, Retention},
        },
    },
};

/// How often old outcomes are deleted, and removed collections are searched for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// How long an outcome is kept under its idempotency key.
const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Documents of a removed collection that one transaction deletes.
const SWEEP_DOCUMENTS: usize = 200;
/// How often logs that have grown are compared with the retention.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// Every so many comparisons the ages are compared too, and also the logs that only other nodes write.
const THOROUGH: u64 = 60;
/// How long one job on the log may take. PostgreSQL ends a statement after 10 s; this bound is for a connection that hangs.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(30);

/// The work that is left, and the times to look for more.
pub(super) struct Maintenance {
    db: Db,
    retention: Option<Retention>,
    sweep: Interval,
    prune: Interval,
    /// Whether there may be documents of removed collections.
    has_removed: bool,
    /// Whether a log has grown since it was last compared with the retention.
    has_grown: bool,
    comparisons: u64,
    /// Projects whose log exceeded the retention when it was last compared.
    due: Vec<ProjectId>,
}

/// One piece of maintenance.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Delete some documents of a removed collection.
    SweepRemoved,
    /// Delete some entries of a log that exceeds the retention.
    Prune,
    /// Search for logs that exceed the retention.
    FindDue,
    /// Delete outcomes that are too old to count.
    SweepOutcomes,
}

impl Maintenance {
    pub(super) fn new(db: Db, retention: Option<Retention>) -> Self {
        let every = |period| {
            let mut interval = interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self {
            db,
            retention,
            sweep: every(SWEEP_INTERVAL),
            prune: every(PRUNE_INTERVAL),
            // An earlier run may have stopped before all were deleted.
            has_removed: true,
            has_grown: false,
            comparisons: 0,
            due: Vec::new(),
        }
    }

    /// Notes that a collection was removed, so that its documents are deleted soon.
    pub(super) fn note_removed_collection(&mut self) {
        self.has_removed = true;
    }

    /// Notes that a log has grown, so that it is compared with the retention soon.
    pub(super) fn note_grown_log(&mut self) {
        self.has_grown = true;
    }

    /// Waits for the next job. Cancelling it loses nothing.
    pub(super) async fn next_job(&mut self) -> Job {
        // Unbiased, so that no kind of job waits for ever.
        tokio::select! {
            () = std::future::ready(()), if self.has_removed => Job::SweepRemoved,
            () = std::future::ready(()), if !self.due.is_empty() => Job::Prune,
            _ = self.prune.tick(), if self.due.is_empty() => Job::FindDue,
            _ = self.sweep.tick() => Job::SweepOutcomes,
        }
    }

    /// Does one job. A failure is logged, and the job comes again.
    pub(super) async fn run(&mut self, job: Job) {
        match job {
            Job::SweepRemoved => self.sweep_removed().await,
            Job::Prune => self.prune_some().await,
            Job::FindDue => self.find_due().await,
            Job::SweepOutcomes => {
                self.sweep_outcomes().await;
                self.has_removed = true;
            }
        }
    }

    async fn sweep_removed(&mut self) {
        match self.try_sweep_removed().await {
            Ok(has_more) => self.has_removed = has_more,
            Err(err) => {
                self.has_removed = false;
                tracing::warn!("could not delete documents of removed collections; will retry: {err}");
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

    /// Searches for projects whose log exceeds the retention.
    ///
    /// After writes of this node it allows some slack, so that not every write is followed by a deletion. From time to time it
    /// compares thoroughly, without slack and by age.
    async fn find_due(&mut self) {
        let Some(retention) = self.retention else { return };
        let is_thorough = self.comparisons.is_multiple_of(THOROUGH);
        self.comparisons += 1;
        if !std::mem::take(&mut self.has_grown) && !is_thorough {
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
                tracing::warn!("could not compare the change logs with the retention; will retry: {err}")
            }
        }
    }

    async fn prune_some(&mut self) {
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
                tracing::warn!("could not delete old entries of a change log; will retry: {err}");
            }
        }
    }

    async fn sweep_outcomes(&self) {
        let sweep = async {
            let mut tx = self.db.begin_write().await?;
            idempotency::delete_old(&mut tx, oldest_outcome());
            tx.commit().await
        };
        if let Err(err) = sweep.await {
            tracing::warn!("could not delete old idempotency keys; will retry: {err}");
        }
    }
}

/// Ends work that takes too long. Its transaction is dropped and takes its connection with it.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(PRUNE_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
}

/// The time before which an outcome no longer counts.
pub(super) fn oldest_outcome() -> Timestamp {
    Timestamp(Timestamp::now().0 - IDEMPOTENCY_AGE.as_millis() as i64)
}
