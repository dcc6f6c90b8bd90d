//! A project's most recent changes, by which a subscription that is a little behind goes live without reading the log.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{Change, Position};

/// A subscription that is further behind reads the log, even where the recent would reach.
const MAX_REPLAY: u64 = 256;

/// The last changes, in order and without gap; the last of them is the log's last.
#[derive(Default)]
pub(super) struct RecentChanges {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
}

impl RecentChanges {
    /// Adds the next change, and forgets the oldest while there are too many, or they weigh more than `max_bytes`.
    pub(super) fn push(&mut self, change: Arc<Change>, max_bytes: usize) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        while self.bytes > max_bytes || self.changes.len() as u64 > MAX_REPLAY {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.weight();
        }
    }

    /// The changes after `position` up to the `last`; `None` if the recent doesn't reach back there, or that would be too
    /// many, or the position is ahead: then the log knows whether the hub is late, or the log was put back.
    pub(super) fn after(&self, position: Position, last: Position) -> Option<Vec<Arc<Change>>> {
        let behind = last.sequence.checked_sub(position.sequence)?;
        if behind == 0 && position != last {
            return None;
        }
        let held = self.changes.len() as u64;
        if behind > MAX_REPLAY || behind > held {
            return None;
        }
        Some(self.changes.iter().skip((held - behind) as usize).cloned().collect())
    }

    /// Forgets all: what comes next doesn't follow on it.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
