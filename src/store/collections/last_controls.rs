//! Reads the position of a project's last control entry, one statement for all who ask at the same time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    domain::{Position, ProjectId},
    store::{Db, Lane, Result, StoreError, log::ends},
};

/// The reads of all projects. At any time at most one of each project is in progress, however many ask. Cheap to clone.
#[derive(Clone)]
pub(super) struct LastControls {
    db: Db,
    projects: Arc<Mutex<HashMap<ProjectId, Arc<Reads>>>>,
}

/// The reads of one project.
#[derive(Default)]
struct Reads {
    begun: AtomicU64,
    /// The number of the last read, and its outcome. Locked while a read is in progress.
    last: tokio::sync::Mutex<Option<(u64, Result<Position>)>>,
}

impl LastControls {
    pub(super) fn new(db: Db) -> Self {
        Self { db, projects: Arc::default() }
    }

    /// Returns the position of a project's last control entry, as it was after this was called; that before all entries if there
    /// is none.
    ///
    /// # Errors
    /// A database failure.
    pub(super) async fn find(&self, project: &ProjectId) -> Result<Position> {
        let reads = {
            let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
            projects.entry(project.clone()).or_default().clone()
        };
        let begun = reads.begun.load(Ordering::Acquire);
        // In a task of its own: a caller that is not polled for a while, or is dropped, must not hold up the others.
        let read = tokio::spawn(self.clone().read(project.clone(), reads, begun));
        read.await.unwrap_or_else(|_| Err(StoreError::no_answer()))
    }

    async fn read(self, project: ProjectId, reads: Arc<Reads>, begun: u64) -> Result<Position> {
        let mut last = reads.last.lock().await;
        // One that has begun since knows of everything that the caller may know of.
        if let Some((number, outcome)) = &*last
            && *number > begun
        {
            return outcome.clone();
        }
        let number = reads.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let read = |db| async move {
            Ok(ends::find(&db, &project).await?.map_or_else(Position::default, |ends| ends.control))
        };
        let outcome = self.db.read(Lane::Point, read).await;
        *last = Some((number, outcome.clone()));
        outcome
    }
}
