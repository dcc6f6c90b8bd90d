//! Builds and drops the database's indexes in the background, as the collections declare them.
//!
//! On PostgreSQL an index is built beside the writes, in a session of its own that holds a lock, so only one of several nodes
//! builds. On SQLite the writer builds it between two batches, and writes wait in the queue. The state of an index changes
//! by a mutation, with an entry of the log. A crash leaves the state as it was, and the next start continues.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use super::{
    error::WriteError,
    mutation::{Mutation, Operation},
    queue::WriterHandle,
};
use crate::{
    query::index_definition::IndexState,
    store::{
        Db, Lane, StoreError,
        collections::indexes::{self, IndexSession, IndexTask},
    },
};

/// How often the indexer looks for work without being woken.
const POLL: Duration = Duration::from_secs(60);
/// How long the indexer waits before it retries work that failed or that another node holds.
const RETRY: Duration = Duration::from_secs(2);
/// How long reading all documents of a collection may take on SQLite, where every read has a limit.
const FULL_READ: Duration = Duration::from_secs(3600);

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

/// Runs until `stop` becomes true.
pub async fn run(db: Db, writer: WriterHandle, bell: IndexerBell, mut stop: watch::Receiver<bool>) {
    let work = async {
        loop {
            let pause = match do_all(&db, &writer).await {
                Ok(Round::Done) => POLL,
                Ok(Round::Unfinished) => RETRY,
                Err(err) => {
                    tracing::warn!("could not build or drop indexes; will retry: {err}");
                    RETRY
                }
            };
            // Woken or not, the next round finds what there is to do.
            let _ = tokio::time::timeout(pause, bell.0.notified()).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn do_all(db: &Db, writer: &WriterHandle) -> Result<Round, StoreError> {
    let tasks = db.read(Lane::Point, |db| async move { indexes::list_tasks(&db).await }).await?;
    if tasks.is_empty() {
        return Ok(Round::Done);
    }
    if !db.is_postgres() {
        return do_each(tasks, writer, None, db).await;
    }
    // Another node holds the lock and builds. If it dies, the lock becomes free.
    let Some(session) = IndexSession::open(db).await? else { return Ok(Round::Unfinished) };
    // Read again: another node may have done the work before this one got the lock.
    let tasks = db.read(Lane::Point, |db| async move { indexes::list_tasks(&db).await }).await;
    let outcome = match tasks {
        Ok(tasks) => do_each(tasks, writer, Some(&session), db).await,
        Err(err) => Err(err),
    };
    session.close().await;
    outcome
}

async fn do_each(
    tasks: Vec<IndexTask>,
    writer: &WriterHandle,
    session: Option<&IndexSession>,
    db: &Db,
) -> Result<Round, StoreError> {
    let mut round = Round::Done;
    for task in tasks {
        let task = Arc::new(task);
        if task.is_removed {
            carry_out(&task, writer, session).await?;
            continue;
        }
        let state = build(&task, writer, session, db).await?;
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
        let mutation = Mutation { project, caller: None, operations: vec![finish], idempotency: None };
        match writer.submit(mutation).await {
            Ok(_) => {}
            // The collection was removed meanwhile, with its indexes.
            Err(WriteError::AtOperation { .. }) => {}
            Err(_) => round = Round::Unfinished,
        }
    }
    Ok(round)
}

/// Builds an index and returns its new state.
async fn build(
    task: &Arc<IndexTask>,
    writer: &WriterHandle,
    session: Option<&IndexSession>,
    db: &Db,
) -> Result<IndexState, StoreError> {
    // Since the index was declared, the writer has rejected longer strings, so no more can appear.
    let too_long = match session {
        Some(session) => indexes::find_too_long_text(session.connection(), task).await?,
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
        Some(session) => indexes::find_duplicate_values(session.connection(), task).await?,
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
    session: Option<&IndexSession>,
) -> Result<(), StoreError> {
    match session {
        Some(session) => session.carry_out(task).await,
        None => writer.carry_out(task.clone()).await,
    }
}
