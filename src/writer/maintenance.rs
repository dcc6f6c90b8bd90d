//! The writer's work between batches: deletes documents of removed collections, old log entries, old outcomes, and what has expired.
//!
//! Each job is one short transaction with a few rows, since writes wait for it. As long as there is more, the same job comes
//! again, and batches come between. A job that fails is tried again later.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::{
    clock::Clock,
    expired::{Expiring, delete_expired},
    failures::Failures,
    portion::Portion,
    removed::{Emptying, Swept, sweep_removed},
};
use crate::{
    domain::{ProjectId, Timestamp},
    store::{
        Db, StoreError, Trouble,
        log::{
            idempotency,
            retention::{self, Compared, Retention},
        },
    },
};

/// How often old outcomes, removed collections and expired rows are searched for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// When removed collections are looked at again that another node was emptying. It may have died.
const BUSY_INTERVAL: Duration = Duration::from_secs(5);
/// How long an outcome is kept under its idempotency key.
const IDEMPOTENCY_AGE: Duration = Duration::from_secs(24 * 3600);
/// Outcomes that are so far ahead of the clock were stored by a wrong one.
const FROM_THE_FUTURE: Duration = Duration::from_secs(3600);
/// How often logs that have grown are compared with the retention.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// Every so many comparisons the ages are compared too, and also the logs that only other nodes write.
const THOROUGH: u64 = 60;
/// After so many failed prunings in a row, the rest waits for the next comparison.
const MAX_FAILED_PRUNES: u32 = 3;
/// How long one job may take before it is given up, because every write waits for it.
const JOB_TIMEOUT: Duration = Duration::from_secs(5);

/// The work that is left, and the times to look for more.
pub(super) struct Maintenance {
    db: Db,
    retention: Option<Retention>,
    sweep: Interval,
    prune: Interval,
    /// Whether there may be documents of removed collections.
    has_removed: bool,
    /// When to look again for documents that another node was deleting; `None` if there are none.
    busy_until: Option<Instant>,
    /// The removed collection that is being emptied.
    emptying: Option<Emptying>,
    /// Outcomes from this time on may be too old; `None` if there are none.
    old_outcomes: Option<Timestamp>,
    /// The kinds of rows of which some may have expired.
    expired: Vec<Expiring>,
    /// Projects whose log has grown since it was last compared with the retention.
    grown: HashSet<ProjectId>,
    comparisons: u64,
    /// The last project of a thorough comparison that is not at its end.
    compared: Option<ProjectId>,
    /// Projects whose log exceeded the retention when it was last compared.
    due: Vec<ProjectId>,
    /// The last prunings that failed, one after the other.
    failed_prunes: u32,
    failures: Failures,
    documents: Portion,
    outcomes: Portion,
    rows: Portion,
    entries: Portion,
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
    /// Delete some outcomes that are too old to count.
    SweepOutcomes,
    /// Delete some rows that have expired.
    SweepExpired,
    /// It is time to look for old outcomes, removed collections and expired rows.
    Look,
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
            busy_until: None,
            emptying: None,
            old_outcomes: None,
            expired: Vec::new(),
            grown: HashSet::new(),
            comparisons: 0,
            compared: None,
            due: Vec::new(),
            failed_prunes: 0,
            failures: Failures::default(),
            documents: Portion::default(),
            outcomes: Portion::default(),
            rows: Portion::default(),
            entries: Portion::default(),
        }
    }

    /// Notes that a collection was removed, so that its documents are deleted soon.
    pub(super) fn note_removed_collection(&mut self) {
        self.has_removed = true;
    }

    /// Notes that a log has grown, so that it is compared with the retention soon.
    pub(super) fn note_grown_log(&mut self, project: &ProjectId) {
        if !self.grown.contains(project) {
            self.grown.insert(project.clone());
        }
    }

    /// Waits for the next job. Cancelling it loses nothing.
    pub(super) async fn next_job(&mut self) -> Job {
        // Unbiased, so that no kind of job waits for ever.
        tokio::select! {
            () = std::future::ready(()), if self.has_removed => Job::SweepRemoved,
            () = sleep_until(self.busy_until.unwrap_or_else(Instant::now)), if self.busy_until.is_some() => {
                Job::SweepRemoved
            }
            () = std::future::ready(()), if !self.due.is_empty() => Job::Prune,
            () = std::future::ready(()), if self.compared.is_some() && self.due.is_empty() => Job::FindDue,
            () = std::future::ready(()), if self.old_outcomes.is_some() => Job::SweepOutcomes,
            () = std::future::ready(()), if !self.expired.is_empty() => Job::SweepExpired,
            _ = self.prune.tick(), if self.compared.is_none() && self.due.is_empty() => Job::FindDue,
            _ = self.sweep.tick() => Job::Look,
        }
    }

    /// Does one job. A failure is logged, and the job comes again.
    pub(super) async fn run(&mut self, job: Job, clock: &mut Clock) {
        match job {
            Job::SweepRemoved => self.sweep_removed().await,
            Job::Prune => self.prune_some(clock).await,
            Job::FindDue => self.find_due(clock).await,
            Job::SweepOutcomes => self.sweep_outcomes(clock).await,
            Job::SweepExpired => self.sweep_expired(clock).await,
            Job::Look => {
                (self.has_removed, self.old_outcomes) = (true, Some(Timestamp(i64::MIN)));
                self.expired = Expiring::ALL.to_vec();
            }
        }
    }

    async fn sweep_removed(&mut self) {
        let begun = Instant::now();
        (self.has_removed, self.busy_until) = (true, None);
        match in_time(sweep_removed(&self.db, self.emptying.take(), self.documents.rows())).await {
            Ok(Swept::Some(emptying)) => {
                self.emptying = Some(emptying);
                self.documents.adapt(begun.elapsed());
            }
            Ok(Swept::Collection) => {}
            Ok(Swept::Nothing) => self.has_removed = false,
            Ok(Swept::Busy) => (self.has_removed, self.busy_until) = (false, Some(begun + BUSY_INTERVAL)),
            Err(err) => {
                (self.has_removed, self.busy_until) = (false, Some(begun + BUSY_INTERVAL));
                return self.failures.begin("delete documents of removed collections", &err);
            }
        }
        self.failures.end("delete documents of removed collections");
    }

    /// Searches for projects whose log exceeds the retention.
    ///
    /// After writes of this node it allows some slack, so that not every write is followed by a deletion. From time to time it
    /// compares all projects thoroughly, without slack and by age, a part of them at a time.
    async fn find_due(&mut self, clock: &mut Clock) {
        let Some(retention) = self.retention else { return };
        let after = self.compared.take();
        let is_thorough = after.is_some() || self.comparisons.is_multiple_of(THOROUGH);
        if after.is_none() {
            self.comparisons += 1;
        }
        let grown = std::mem::take(&mut self.grown);
        if grown.is_empty() && !is_thorough {
            return;
        }
        let find = async {
            let mut tx = self.db.begin_write().await?;
            let compared = if is_thorough {
                let oldest = oldest_entry(&retention, clock.look_for_ages(&mut tx).await?);
                retention::compare_next(&mut tx, &retention, oldest, after.as_ref()).await?
            } else {
                let due = retention::find_due(&mut tx, &retention.with_slack(), grown.iter()).await?;
                Compared { due, last: None }
            };
            tx.rollback().await?;
            Ok(compared)
        };
        match in_time(find).await {
            Ok(Compared { due, last }) => {
                (self.due, self.compared) = (due, last);
                self.failures.end("compare the change logs with the retention");
            }
            Err(err) => self.failures.begin("compare the change logs with the retention", &err),
        }
        if is_thorough {
            // The comparison with slack of those that it did not reach is still to be done.
            self.grown = grown;
        }
    }

    async fn prune_some(&mut self, clock: &mut Clock) {
        let (Some(retention), Some(project)) = (self.retention, self.due.last()) else { return };
        let begun = Instant::now();
        let limit = self.entries.rows();
        let prune = async {
            let mut tx = self.db.begin_write().await?;
            let oldest = oldest_entry(&retention, clock.look_for_ages(&mut tx).await?);
            let has_more = retention::prune(&mut tx, project, &retention, oldest, limit).await?;
            tx.commit().await?;
            Ok(has_more)
        };
        match in_time(prune).await {
            Ok(has_more) => {
                self.failed_prunes = 0;
                if has_more {
                    self.entries.adapt(begun.elapsed());
                } else {
                    self.due.pop();
                }
            }
            Err(err) => {
                tracing::warn!(%project, "could not delete old entries of the change log of project {project}; will retry: {err}");
                self.due.pop();
                // What is wrong with one log must not keep those of others from being pruned.
                if err.trouble() != Trouble::Failing {
                    self.failed_prunes += 1;
                }
                if self.failed_prunes >= MAX_FAILED_PRUNES {
                    self.failed_prunes = 0;
                    self.due.clear();
                }
            }
        }
    }

    async fn sweep_outcomes(&mut self, clock: &mut Clock) {
        let Some(from) = self.old_outcomes.take() else { return };
        let begun = Instant::now();
        let limit = self.outcomes.rows();
        let sweep = async {
            let mut tx = self.db.begin_write().await?;
            let Some(now) = clock.look_for_ages(&mut tx).await? else {
                tx.rollback().await?;
                return Ok(None);
            };
            let latest = Timestamp(now.0 + FROM_THE_FUTURE.as_millis() as i64);
            let last = if idempotency::correct_times(&mut tx, now, latest, limit).await? {
                Some(from)
            } else {
                idempotency::delete_old(&mut tx, from, oldest_outcome(now), limit).await?
            };
            tx.commit().await?;
            Ok(last)
        };
        match in_time(sweep).await {
            Ok(last) => {
                self.failures.end("delete old idempotency keys");
                self.old_outcomes = last;
                self.outcomes.adapt(begun.elapsed());
            }
            Err(err) => self.failures.begin("delete old idempotency keys", &err),
        }
    }

    async fn sweep_expired(&mut self, clock: &mut Clock) {
        let Some(kind) = self.expired.pop() else { return };
        let begun = Instant::now();
        match in_time(delete_expired(&self.db, clock, kind, self.rows.rows())).await {
            Ok(has_more) => {
                self.failures.end("delete expired sessions, codes and mails");
                if has_more {
                    self.expired.push(kind);
                    self.rows.adapt(begun.elapsed());
                }
            }
            Err(err) => self.failures.begin("delete expired sessions, codes and mails", &err),
        }
    }
}

/// Ends work that takes too long. Its transaction is dropped and takes its connection with it.
async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(JOB_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
}

/// The time before which an outcome no longer counts.
pub(super) fn oldest_outcome(now: Timestamp) -> Timestamp {
    Timestamp(now.0 - IDEMPOTENCY_AGE.as_millis() as i64)
}

/// The time before which entries are too old; before all of them if the clock can't tell.
fn oldest_entry(retention: &Retention, now: Option<Timestamp>) -> Timestamp {
    now.map_or(Timestamp(i64::MIN), |now| retention.oldest(now))
}
