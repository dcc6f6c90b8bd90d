//! Builds and drops the database's indexes in the background, as the collections declare them.
//!
//! On PostgreSQL an index is built beside the writes, in a session of its own that holds a lock, so only one of several nodes
//! builds. On SQLite the writer builds it between two batches, and writes wait in the queue. The state of an index changes
//! by a mutation, with an entry of the log. A crash leaves the state as it was, and the next start continues.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use super::{
    error::WriteError,
    failures::Failures,
    index_session::WatchedSession,
    mutation::{Mutation, Operation},
    queue::WriterHandle,
};
use crate::{
    query::index_definition::IndexState,
    store::{
        Db, Lane, StoreError,
        collections::{
            backends::Backend,
            indexes::{self, IndexTask},
        },
    },
    supervision::Pulse,
};

/// How often the indexer looks for work without being woken.
const POLL: Duration = Duration::from_secs(60);
/// How long the indexer waits before it retries work that failed or that another node holds.
const RETRY: Duration = Duration::from_secs(2);
/// How long reading all documents of a collection may take on SQLite, where every read has a limit.
const FULL_READ: Duration = Duration::from_secs(3600);

/// How long the indexer may do without a sign of life.
const STILL: Duration = Duration::from_secs(4);

/// Wakes the indexer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct IndexerBell(Arc<Notify>);

impl IndexerBell {
    /// Makes the indexer look for work. Calls while it works count as one.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// The outcome of a round of work.
enum Round {
    Done,
    Unfinished,
}

/// Runs until `stop` becomes true, and gives signs of life. Each step has a deadline of its own, or is watched.
pub async fn run(
    db: Db,
    writer: WriterHandle,
    bell: IndexerBell,
    mut stop: watch::Receiver<bool>,
    pulse: Pulse,
) {
    let work = async {
        // A session of this node that the database may take for alive, and that holds the lock then.
        let mut lost = None;
        let mut failures = Failures::default();
        loop {
            let pause = match do_all(&db, &writer, &mut lost).await {
                Ok(round) => {
                    failures.end("build and drop indexes");
                    match round {
                        Round::Done => POLL,
                        Round::Unfinished => RETRY,
                    }
                }
                Err(err) => {
                    failures.begin("build and drop indexes", &err);
                    RETRY
                }
            };
            // Woken or not, the next round finds what there is to do.
            let _ = tokio::time::timeout(pause, bell.0.notified()).await;
        }
    };
    let until_stop = async {
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    };
    pulse.beat_during(STILL, until_stop).await;
}

async fn do_all(db: &Db, writer: &WriterHandle, lost: &mut Option<Backend>) -> Result<Round, StoreError> {
    let tasks = db.read(Lane::Point, |db| async move { indexes::list_tasks(&db).await }).await?;
    if tasks.is_empty() {
        return Ok(Round::Done);
    }
    if !db.is_postgres() {
        return do_each(tasks, writer, None, db).await;
    }
    // Another node holds the lock and builds. If it dies, the lock becomes free.
    if let Some(backend) = lost {
        let backend = backend.clone();
        db.read(Lane::Point, |db| async move { backend.end(&db).await }).await?;
        *lost = None;
    }
    let Some(session) = WatchedSession::open(db).await? else { return Ok(Round::Unfinished) };
    // Read again: another node may have done the work before this one got the lock.
    let tasks = db.read(Lane::Point, |db| async move { indexes::list_tasks(&db).await }).await;
    let outcome = match tasks {
        Ok(tasks) => do_each(tasks, writer, Some(&session), db).await,
        Err(err) => Err(err),
    };
    *lost = session.close().await;
    outcome
}

async fn do_each(
    tasks: Vec<IndexTask>,
    writer: &WriterHandle,
    session: Option<&WatchedSession>,
    db: &Db,
) -> Result<Round, StoreError> {
    let mut round = Round::Done;
    for task in tasks {
        let task = Arc::new(task);
        match do_one(&task, writer, session, db).await {
            Ok(Round::Done) => {}
            Ok(Round::Unfinished) => round = Round::Unfinished,
            Err(err) if session.is_some_and(WatchedSession::is_lost) => return Err(err),
            Err(err) => {
                // It must not keep the indexes of others from being built.
                let name = task.index.name();
                tracing::warn!(index = %name, "could not build or drop index {name}; will retry: {err}");
                round = Round::Unfinished;
            }
        }
    }
    Ok(round)
}

async fn do_one(
    task: &Arc<IndexTask>,
    writer: &WriterHandle,
    session: Option<&WatchedSession>,
    db: &Db,
) -> Result<Round, StoreError> {
    if task.is_removed {
        carry_out(task, writer, session).await?;
        return Ok(Round::Done);
    }
    let state = build(task, writer, session, db).await?;
    let name = task.index.name();
    match &state {
        IndexState::Failed(why) => tracing::warn!(index = %name, "could not build index {name}: {why}"),
        _ => tracing::info!(index = %name, "built index {name}"),
    }
    let finish = Operation::FinishIndex {
        collection: task.collection.to_string(),
        index: task.index.id.clone(),
        state,
    };
    let project = task.project.clone();
    let mutation = Mutation {
        project,
        caller: None,
        session: None,
        author: None,
        operations: vec![finish],
        idempotency: None,
        seen: None,
    };
    Ok(match writer.submit(mutation).await {
        // With an error at the operation: the collection was removed meanwhile, with its indexes.
        Ok(_) | Err(WriteError::AtOperation { .. }) => Round::Done,
        Err(_) => Round::Unfinished,
    })
}

/// Builds an index and returns its new state.
async fn build(
    task: &Arc<IndexTask>,
    writer: &WriterHandle,
    session: Option<&WatchedSession>,
    db: &Db,
) -> Result<IndexState, StoreError> {
    // Since the index was declared, the writer has rejected longer strings, so no more can appear.
    let too_long = match session {
        Some(session) => {
            session.run(indexes::find_too_long_text(session.session().connection(), task)).await?
        }
        None => {
            let task = task.clone();
            let look = move |db| async move { indexes::find_too_long_text(&db, &task).await };
            db.read_within(FULL_READ, Lane::Index, look).await?
        }
    };
    if let Some(why) = too_long {
        return Ok(IndexState::Failed(why));
    }
    let refusal = match carry_out(task, writer, session).await {
        Ok(()) => return Ok(IndexState::Ready),
        Err(err) if err.is_statement_error() => err,
        Err(err) => return Err(err),
    };
    let doubled = match session {
        _ if !task.index.definition.unique => None,
        Some(session) => {
            session.run(indexes::find_duplicate_values(session.session().connection(), task)).await?
        }
        None => {
            let task = task.clone();
            let look = move |db| async move { indexes::find_duplicate_values(&db, &task).await };
            db.read_within(FULL_READ, Lane::Index, look).await?
        }
    };
    Ok(IndexState::Failed(match doubled {
        Some(why) => why,
        None if refusal.is_unique_violation() => {
            "two documents had equal values while it was built; declare it again to retry".to_owned()
        }
        None => {
            tracing::error!("the database rejects an index: {refusal}");
            "the database rejects it; the log of the server says why".to_owned()
        }
    }))
}

async fn carry_out(
    task: &Arc<IndexTask>,
    writer: &WriterHandle,
    session: Option<&WatchedSession>,
) -> Result<(), StoreError> {
    match session {
        Some(session) => session.carry_out(task).await,
        None => writer.carry_out(task.clone()).await,
    }
}
