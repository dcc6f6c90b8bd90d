//! How a project's task shares its thread while it searches for those whom a change concerns.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    backlog::Backlog,
    fan_out::{FanOut, Targets},
    joining::SubscriptionId,
};
use crate::domain::ProjectId;

/// How long the task works before it lets others run.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// What a change is to the subscriptions of a project.
#[derive(Default)]
pub(super) struct Found {
    pub(super) events: Vec<(Bytes, Targets)>,
    /// The subscriptions whose rights may be others after it.
    pub(super) doubted: Vec<SubscriptionId>,
}

/// The time that the searches for one change take.
pub(super) struct Pace {
    /// When the task began to work without letting others run.
    pub(super) begun: Instant,
    /// When the first search began.
    pub(super) started: Instant,
}

impl Pace {
    /// Searches to the end. `None` if that takes longer than `limit`, or the changes of the backlog are skipped meanwhile.
    pub(super) async fn search(
        &mut self,
        fan_out: &mut FanOut<'_, '_>,
        (project, backlog, limit): (&ProjectId, &Backlog, Duration),
    ) -> Option<()> {
        while !fan_out.step() {
            if backlog.is_skipping() {
                return None;
            }
            if self.started.elapsed() > limit {
                tracing::warn!(%project, "a change of project {project} takes too long to match; its subscriptions go back to the log");
                backlog.skip_waiting();
                return None;
            }
            if self.begun.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                self.begun = Instant::now();
            }
        }
        Some(())
    }
}
