//! A project's most recent changes. A subscription that is only a little behind goes live from them, without reading the log.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{Change, Position};

/// A subscription that is further behind reads the log, even where the recent changes would reach.
const MAX_REPLAY: u64 = 256;

/// The last changes of a log, in order and without gap, up to its end.
#[derive(Default)]
pub(super) struct RecentChanges {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
}

impl RecentChanges {
    /// Adds the next change. Drops the oldest ones while there are too many, or they weigh more than `max_bytes`.
    pub(super) fn push(&mut self, change: Arc<Change>, max_bytes: usize) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.bytes > max_bytes || self.changes.len() as u64 > MAX_REPLAY {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    /// Returns the changes after `position` up to `end`, where the log ends. `None` if they don't reach back that far, if they
    /// are too many, or if the position is beyond the end. In the last case only the log knows whether the hub is late, or
    /// the database was restored.
    pub(super) fn after(&self, position: Position, end: Position) -> Option<Vec<Arc<Change>>> {
        let behind = end.sequence.checked_sub(position.sequence)?;
        if behind == 0 && position != end {
            return None;
        }
        let held = self.changes.len() as u64;
        if behind > MAX_REPLAY || behind > held {
            return None;
        }
        Some(self.changes.iter().skip((held - behind) as usize).cloned().collect())
    }

    /// Drops all changes, because the next one doesn't follow on them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
