//! Builds and drops the database's own indexes in the background, after what collections declare.
//!
//! On PostgreSQL that happens beside the writes, in a session of its own; of several nodes one does it. On SQLite there is one
//! writer, so an index is a turn of it, and writes wait in the queue. How far an index is becomes known as everything else
//! does: by a mutation, with an entry of the log. A crash leaves the row as it was, and the next start goes on from there.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use super::{
    WriterHandle,
    mutation::{Mutation, Operation, WriteError},
};
use crate::{
    query::index_definition::IndexState,
    store::{
        Db, Lane, StoreError,
        collections::indexes::{self, IndexSession, IndexTask},
    },
};

/// How often it looks for work if nobody calls it.
const POLL: Duration = Duration::from_secs(60);
/// When it tries again what could not be done, or is another node's.
const RETRY: Duration = Duration::from_secs(2);
/// How long a look at all documents of a collection may take on SQLite, which has no session without a limit.
const LOOK: Duration = Duration::from_secs(3600);

/// Calls the indexer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct IndexerBell(Arc<Notify>);

impl IndexerBell {
    /// Has it look for work. Calls that come while it works are one.
    pub fn ring(&self) {
        self.0.notify_one();
    }
}

/// What became of the work.
enum Round {
    /// There is none left.
    Done,
    /// Some is left for later.
    Unfinished,
}

/// Works until `stop` says so.
pub async fn run(db: Db, writer: WriterHandle, bell: IndexerBell, mut stop: watch::Receiver<bool>) {
    let work = async {
        loop {
            let pause = match do_all(&db, &writer).await {
                Ok(Round::Done) => POLL,
                Ok(Round::Unfinished) => RETRY,
                Err(err) => {
                    tracing::warn!("indexes could not be built or dropped, soon again: {err}");
                    RETRY
                }
            };
            // Whether it is called or not: what it finds, it does.
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
    // Another node does it; should it die, its lock is free.
    let Some(session) = IndexSession::open(db).await? else { return Ok(Round::Unfinished) };
    // Read again: what was to be done before the lock was had may be done.
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
            IndexState::Failed(why) => tracing::warn!(index = %name, "index {name} can't be built: {why}"),
            _ => tracing::info!(index = %name, "index {name} is built"),
        }
        let finish = Operation::FinishIndex {
            collection: task.collection.to_string(),
            index: task.index.id.clone(),
            state,
        };
        let project = task.project.clone();
        let mutation = Mutation { project, operations: vec![finish], idempotency: None };
        match writer.submit(mutation).await {
            Ok(_) => {}
            // The collection was removed meanwhile, and its indexes with it.
            Err(WriteError::AtOperation { .. }) => {}
            Err(_) => round = Round::Unfinished,
        }
    }
    Ok(round)
}

/// Builds an index and returns what it came to.
async fn build(
    task: &Arc<IndexTask>,
    writer: &WriterHandle,
    session: Option<&IndexSession>,
    db: &Db,
) -> Result<IndexState, StoreError> {
    // Since it was declared, no longer string can have been written: what is there now is all there is.
    let too_long = match session {
        Some(session) => indexes::find_too_long_text(session.connection(), task).await?,
        None => {
            let task = task.clone();
            let look = move |db| async move { indexes::find_too_long_text(&db, &task).await };
            db.read_within(LOOK, Lane::Scan, look).await?
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
        Some(session) => indexes::find_doubled_values(session.connection(), task).await?,
        None => {
            let task = task.clone();
            let look = move |db| async move { indexes::find_doubled_values(&db, &task).await };
            db.read_within(LOOK, Lane::Scan, look).await?
        }
    };
    Ok(IndexState::Failed(match doubled {
        Some(why) => why,
        None if refusal.is_unique_violation() => {
            "documents were alike while it was built; declare it again to try again".to_owned()
        }
        None => {
            tracing::error!("the database refuses an index: {refusal}");
            "the database refuses it; the server's log says why".to_owned()
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
