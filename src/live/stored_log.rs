//! The change log as the relay of the hub reads it, from a database.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use futures_util::future::BoxFuture;

use crate::{
    domain::{KeyStates, LogEnds, Position, ProjectId},
    hub::relay::{LogError, LogPart, LogReader},
    store::{
        Db, Lane, StoreError,
        access::keys,
        log::{
            changes::{self, PageSize},
            ends,
        },
    },
};

/// How much is read at once.
const PAGE: PageSize = PageSize { entries: 512, bytes: 4 * 1024 * 1024 };

/// Reads the log of a database.
pub struct StoredLog {
    db: Db,
    /// The projects of which the ends could not be read last time. Each is logged once.
    unreadable: Mutex<HashSet<ProjectId>>,
}

impl StoredLog {
    pub fn new(db: Db) -> Self {
        Self { db, unreadable: Mutex::default() }
    }

    fn report(&self, unreadable: Vec<(ProjectId, StoreError)>) {
        let mut before = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        for (project, err) in unreadable.iter().filter(|(project, _)| !before.contains(project)) {
            tracing::error!(
                %project,
                "the end of the change log of project {project} can't be read, so its live streams get no events: {err}"
            );
        }
        *before = unreadable.into_iter().map(|(project, _)| project).collect();
    }
}

impl LogReader for StoredLog {
    fn log_ends(&self) -> BoxFuture<'_, Result<Vec<LogEnds>, LogError>> {
        Box::pin(async {
            let listed = self.db.read(Lane::Relay, |db| async move { ends::list(&db).await }).await?;
            self.report(listed.unreadable);
            Ok(listed.ends)
        })
    }

    fn read_after(&self, project: ProjectId, after: Position) -> BoxFuture<'_, Result<LogPart, LogError>> {
        Box::pin(async move {
            let read =
                move |db| async move { changes::read_project(&db, &project, after.sequence, PAGE).await };
            let page = self.db.read(Lane::Relay, read).await?;
            Ok(match page {
                None => LogPart { changes: Vec::new(), is_pruned: false, is_other: false },
                Some(page) => {
                    let is_pruned = page.ends.first.sequence > after.sequence;
                    let is_other = !is_pruned && page.begin != Some(after);
                    LogPart { is_pruned, is_other, changes: page.entries }
                }
            })
        })
    }

    fn key_states(&self, project: ProjectId) -> BoxFuture<'_, Result<KeyStates, LogError>> {
        Box::pin(async move {
            let read = move |db| async move { keys::list(&db, &project).await };
            Ok(keys::states_of(self.db.read(Lane::Relay, read).await?))
        })
    }
}

impl From<StoreError> for LogError {
    fn from(err: StoreError) -> Self {
        Self { message: err.to_string(), may_pass: err.may_pass() }
    }
}
