//! The writer's loop: takes a batch, commits it in one transaction, publishes it, and answers each caller.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use super::{
    apply::{bisect, write_in_bulk},
    batch::Batch,
    clock::Clock,
    cost::{CostLog, Costs, measure},
    error::WriteError,
    maintenance::Maintenance,
    mutation::Operation,
    queue::{self, Queue, WriterHandle},
    request::{IndexRequest, Kind, Request},
    rest::Rest,
    state::{Answers, BATCH, BATCH_BYTES, BATCH_COST, BATCH_OPERATIONS, Writer, WriterConfig},
    turns::Turns,
};
use crate::{
    auth::{KeyRing, Sessions},
    domain::{Change, Entry, ProjectId, cursor::Cursor},
    hub::relay::{Commit, RelayHandle},
    store::{
        Db, StoreError,
        collections::{
            catalog::Catalogs,
            indexes::{self, IndexTask},
        },
        log::ends,
    },
    supervision::Supervisor,
};

/// How long a batch may take. PostgreSQL ends a statement after 10 s; this bound is for a connection that hangs.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);

/// How long an index may take to build on SQLite, where writes wait for it.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How often the writer gives a sign of life while it has nothing to do.
const TICK: Duration = Duration::from_secs(1);
/// How long the writer may do without a sign of life while it has nothing to do.
const IDLE: Duration = Duration::from_secs(3);
/// The same while it works: applying the mutations of a batch takes its thread for a part of that.
const BUSY: Duration = Duration::from_secs(4);
/// How long a look at a database that has failed may take. Writes wait for it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// For how long writes that wait are still committed once the server stops. After that they are refused, so that the process ends
/// in time however many there are.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// After so many batches without an empty queue, what is due beside the writes comes between.
const CROWDED: u64 = 4;

/// Starts the writer on the calling runtime.
///
/// Without a relay nothing is published: a command beside the server leaves that to the server's relay, which reads the log.
/// The returned task ends when every handle is dropped and the queue is empty.
pub fn start(
    db: Db,
    (catalogs, keys, sessions): (Catalogs, KeyRing, Sessions),
    relay: Option<RelayHandle>,
    config: WriterConfig,
    supervisor: &Supervisor,
) -> (WriterHandle, JoinHandle<()>) {
    let (handle, queue, health) = queue::create();
    let writer = Writer {
        maintenance: Maintenance::new(db.clone(), config.retention),
        db,
        catalogs,
        keys,
        sessions,
        config,
        relay,
        turns: Turns::default(),
        rest: Rest::new(supervisor.clone()),
        supervisor: supervisor.clone(),
        cost_log: CostLog::default(),
        clock: Clock::new(health.clone()),
        health,
        pulse: supervisor.pulse("writer"),
    };
    (handle, tokio::spawn(supervisor.watch("writer", writer.run(queue))))
}

/// How the mutations of a batch are written.
#[derive(Clone, Copy)]
enum Mode {
    /// With a few statements for all of them.
    Bulk,
    /// In parts under savepoints, so that a mutation which the database rejects fails alone.
    Bisect,
}

/// Why a batch as a whole failed.
enum BatchError {
    /// Before the commit: nothing happened.
    Statement(StoreError),
    /// At the commit: the batch may have happened.
    Commit(StoreError),
}

impl From<StoreError> for BatchError {
    fn from(err: StoreError) -> Self {
        Self::Statement(err)
    }
}

impl Writer {
    async fn run(mut self, mut queue: Queue) {
        // Batches since the queue was last empty.
        let mut crowded = 0;
        // For the pulse, and for a look whether a database that failed is well again.
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pulse.expect_within(IDLE);
            if self.supervisor.stopping_for().is_some_and(|time| time > STOP_PATIENCE) {
                self.refuse_waiting(&mut queue);
            }
            if self.turns.are_dear() && !self.rest.is_over() {
                tokio::select! {
                    request = queue.requests.recv() => match request {
                        Some(request) => self.turns.push(request),
                        None => self.rest.end(),
                    },
                    () = self.rest.wait() => {}
                }
                if self.turns.are_dear() {
                    continue;
                }
            } else if !self.turns.is_empty() {
                crowded += 1;
                if crowded % CROWDED == 0 {
                    self.work_between(&mut queue).await;
                }
            } else {
                crowded = 0;
                // Unbiased: writes that never pause must not delay maintenance for ever.
                tokio::select! {
                    request = queue.requests.recv() => match request {
                        Some(request) => self.turns.push(request),
                        None => return,
                    },
                    _ = tick.tick() => {
                        self.probe_after_failure().await;
                        self.look_at_clock().await;
                        continue;
                    }
                    Some(IndexRequest { task, reply }) = queue.index_tasks.recv() => {
                        // The indexer may be gone; it asks again at its next start.
                        let _ = reply.send(self.pulse.beat_during(BUSY, self.carry_out(&task)).await);
                        continue;
                    }
                    job = self.maintenance.next_job() => {
                        self.pulse.beat_during(BUSY, self.maintenance.run(job, &mut self.clock)).await;
                        continue;
                    }
                }
            }
            let batch = self.take_batch(&mut queue.requests);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
    }

    /// Answers all mutations that wait, because the server stops. None of them has begun.
    fn refuse_waiting(&mut self, queue: &mut Queue) {
        let mut count = 0;
        while let Ok(request) = queue.requests.try_recv() {
            self.turns.push(request);
        }
        for kind in [Kind::Cheap, Kind::Dear] {
            while let Some(request) = self.turns.pop(kind) {
                self.answer(request, Err(WriteError::Stopping));
                count += 1;
            }
        }
        if count > 0 {
            tracing::warn!("{count} writes were still waiting when the server stopped; they were refused");
        }
    }

    /// Does what is due beside the writes, without waiting for anything that is not.
    async fn work_between(&mut self, queue: &mut Queue) {
        if let Ok(IndexRequest { task, reply }) = queue.index_tasks.try_recv() {
            // As above: the indexer may be gone.
            let _ = reply.send(self.pulse.beat_during(BUSY, self.carry_out(&task)).await);
        }
        if let Some(job) = self.maintenance.next_job().now_or_never() {
            self.pulse.beat_during(BUSY, self.maintenance.run(job, &mut self.clock)).await;
        }
    }

    /// Builds or drops an index on SQLite. The abandoned transaction takes its connection with it.
    async fn carry_out(&self, task: &IndexTask) -> Result<(), StoreError> {
        let work = async {
            let mut tx = self.db.begin_write().await?;
            match indexes::carry_out_sqlite(&mut tx, task).await {
                Ok(()) => tx.commit().await,
                Err(err) => {
                    self.abandon(tx).await;
                    Err(err)
                }
            }
        };
        tokio::time::timeout(INDEX_TIMEOUT, work).await.unwrap_or_else(|_| Err(StoreError::no_answer()))
    }

    /// Takes what is due, up to the bounds of a batch, but at least one request.
    fn take_batch(&mut self, queue: &mut mpsc::Receiver<Request>) -> Vec<Request> {
        while let Ok(request) = queue.try_recv() {
            self.turns.push(request);
        }
        let mut batch: Vec<Request> = Vec::new();
        // While dear mutations rest, cheap ones go before them.
        let kind = if self.rest.is_over() { self.turns.first() } else { Some(Kind::Cheap) };
        let Some(kind) = kind else { return batch };
        let (mut bytes, mut operations, mut cost) = (0, 0, Duration::ZERO);
        while batch.len() < BATCH {
            let Some(request) = self.turns.pop(kind) else { break };
            operations += request.mutation.operations.len();
            bytes += request.bytes;
            cost += request.turn.cost();
            let is_alone = request.mutation.is_alone();
            let is_over = bytes > BATCH_BYTES || operations > BATCH_OPERATIONS || cost > BATCH_COST;
            if !batch.is_empty() && (is_alone || is_over) {
                self.turns.put_back(request);
                break;
            }
            self.turns.begin(request.turn);
            batch.push(request);
            if is_alone {
                break;
            }
        }
        batch
    }

    /// Commits nothing of importance, if the last batch failed, so that readiness need not wait for a write to find out that the
    /// database is well again.
    async fn probe_after_failure(&mut self) {
        if !self.health.is_failing() {
            return;
        }
        let probe = async {
            let mut tx = self.db.begin_write().await?;
            ends::touch(&mut tx);
            tx.commit().await
        };
        let probe = tokio::time::timeout(PROBE_TIMEOUT, probe);
        match self.pulse.beat_during(BUSY, probe).await {
            Ok(Ok(())) => self.health.note_success(),
            Ok(Err(err)) => self.health.note_failure(&err, 0),
            // What is known already says more.
            Err(_) => {}
        }
    }

    /// Looks at the clock if that is due, so that readiness need not wait for a write to find out that it has jumped, or is right
    /// again.
    async fn look_at_clock(&mut self) {
        if self.health.is_failing() || !self.clock.is_look_due(self.db.is_postgres()) {
            return;
        }
        let look = async {
            let mut tx = self.db.begin_write().await?;
            // What it finds is in the clock.
            let _ = self.clock.look(&mut tx).await?;
            tx.rollback().await
        };
        let look = tokio::time::timeout(PROBE_TIMEOUT, look);
        match self.pulse.beat_during(BUSY, look).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => tracing::debug!("could not look at the clock; will retry: {err}"),
            Err(_) => tracing::debug!("could not look at the clock in time; will retry"),
        }
    }

    async fn commit(&mut self, mut batch: Vec<Request>) {
        self.health.begin();
        let (kind, begun) =
            (batch.first().map(|request| request.turn.kind).unwrap_or_default(), Instant::now());
        let mut outcome = self.try_batch_in_time(&mut batch, Mode::Bulk).await;
        if let Err(BatchError::Statement(err)) = &outcome
            && err.is_session_error()
        {
            if !self.health.is_failing() {
                tracing::warn!(
                    mutations = batch.len(),
                    "a batch is written again on a new connection: {err}"
                );
            }
            outcome = self.try_batch_in_time(&mut batch, Mode::Bulk).await;
        }
        let outcome = match outcome {
            // One mutation makes the statement of all fail. It is searched for, still with one commit.
            Err(BatchError::Statement(err)) if err.is_statement_error() => {
                self.try_batch_in_time(&mut batch, Mode::Bisect).await
            }
            outcome => outcome,
        };
        let answers = outcome.unwrap_or_else(|err| {
            let (BatchError::Statement(cause) | BatchError::Commit(cause)) = &err;
            let trouble = self.db.find_trouble(cause);
            self.health.note_failure(cause, batch.len());
            vec![Err(WriteError::Unavailable(trouble)); batch.len()]
        });
        self.health.end();
        self.rest.note(kind, begun.elapsed());
        for (request, answer) in batch.into_iter().zip(answers) {
            self.answer(request, answer);
        }
    }

    /// Tries a batch, and gives up on a database that hangs. The abandoned transaction takes its connection with it, and
    /// whether it committed is unknown.
    async fn try_batch_in_time(
        &mut self,
        batch: &mut Vec<Request>,
        mode: Mode,
    ) -> Result<Answers, BatchError> {
        let mut costs = Costs::default();
        let pulse = self.pulse.clone();
        let work = pulse.beat_during(BUSY, measure(self.try_batch(batch, mode, &mut costs)));
        let Ok((outcome, busy)) = tokio::time::timeout(BATCH_TIMEOUT, work).await else {
            if let Some(relay) = &self.relay {
                relay.check_log_ends();
            }
            return Err(BatchError::Commit(StoreError::no_answer()));
        };
        self.cost_log.note(batch, &costs, busy);
        for (place, request) in batch.iter().enumerate() {
            self.turns.note_cost(request.turn, costs.of(place));
        }
        outcome
    }

    /// Commits a batch in one transaction and publishes its changes. Requests whose documents exceed the bound are taken out
    /// of `batch` and wait for the next one.
    async fn try_batch(
        &mut self,
        batch: &mut Vec<Request>,
        mode: Mode,
        costs: &mut Costs,
    ) -> Result<Answers, BatchError> {
        let (mut tx, base) = self.begin(batch).await?;
        let ends: HashMap<_, _> =
            base.log_ends.values().map(|ends| (ends.project.clone(), ends.cursor())).collect();
        let mut work = Batch::new(base);
        let written = match mode {
            Mode::Bulk => write_in_bulk(&mut tx, &mut work, batch, costs).await,
            Mode::Bisect => bisect(&mut tx, &mut work, batch, costs).await,
        };
        let (answers, changes) = match written {
            Ok(written) => written,
            Err(err) => {
                self.abandon(tx).await;
                return Err(err.into());
            }
        };
        // Requests beyond the bounds of a batch were not applied.
        self.defer_from(batch, answers.len());
        if let Err(err) = tx.settle().await {
            self.abandon(tx).await;
            return Err(err.into());
        }
        if let Err(err) = tx.commit().await {
            if err.is_statement_error() {
                return Err(BatchError::Statement(err));
            }
            // The commit may have happened. The log knows, and what did commit must be published.
            if let Some(relay) = &self.relay {
                relay.check_log_ends();
            }
            return Err(BatchError::Commit(err));
        }
        self.health.note_success();
        for (project, catalog) in work.into_catalogs() {
            self.catalogs.put(&project, &catalog);
        }
        self.note_for_maintenance(batch, &changes);
        self.refuse_ended(&changes);
        self.publish(changes, ends);
        Ok(answers)
    }

    fn note_for_maintenance(&mut self, batch: &[Request], changes: &[Arc<Change>]) {
        let removes = |operation: &Operation| matches!(operation, Operation::RemoveCollection { .. });
        if batch.iter().any(|request| request.mutation.operations.iter().any(removes)) {
            self.maintenance.note_removed_collection();
        }
        let mut last = None;
        for change in changes {
            if last != Some(&change.project) {
                self.maintenance.note_grown_log(&change.project);
                last = Some(&change.project);
            }
        }
    }

    /// Refuses keys and sessions whose end was just committed. Other nodes hear of it from the log, and so would this process, but
    /// only after the caller has the answer.
    fn refuse_ended(&self, changes: &[Arc<Change>]) {
        for change in changes {
            if let Entry::Control(control) = &change.entry {
                if let Some(key) = control.revoked_key() {
                    self.keys.forget(&key);
                }
                self.sessions.forget(&control.ended_sessions());
            }
        }
    }

    /// Hands changes to the relay. `ends` is where the logs ended before them.
    fn publish(&self, changes: Vec<Arc<Change>>, mut ends: HashMap<ProjectId, Cursor>) {
        let Some(relay) = &self.relay else { return };
        let mut by_project: HashMap<ProjectId, Vec<Arc<Change>>> = HashMap::new();
        for change in changes {
            by_project.entry(change.project.clone()).or_default().push(change);
        }
        for (project, changes) in by_project {
            // A batch changes only the logs whose ends it has locked.
            if let Some(after) = ends.remove(&project) {
                relay.publish(Commit { after, changes });
            }
        }
    }
}
