//! The logs that the relay reads because it has missed entries, and the commits that it holds meanwhile.

use std::{collections::VecDeque, sync::Arc};

use super::commits::{Commit, Follows};
use crate::domain::{Change, LogEnds, Position, ProjectId, cursor::Epoch};

/// Changes of one project that are held while its log is read.
const MAX_HELD: usize = 2048;
/// Bytes of these, by [`Change::weight`]. One batch may always be held.
const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;

/// A project whose log is read up to the commits that this process hands over.
pub(super) struct LogBehind {
    pub(super) project: ProjectId,
    pub(super) goal: Goal,
    held: VecDeque<Commit>,
    held_changes: usize,
    held_bytes: usize,
}

/// How the relay comes to the end of a log.
pub(super) enum Goal {
    /// It reads the entries up to this position.
    Read(Position),
    /// Entries are missing, so the log's ends must be read first.
    FindEnds,
    /// A control entry is next that this version does not understand. The revoked keys are read, and it goes on after the
    /// entry, up to this position.
    Pass { unknown: Arc<Change>, until: Position },
    /// It goes on from the log's end, without the entries before it.
    Skip(LogEnds),
}

impl LogBehind {
    pub(super) fn new(project: ProjectId, goal: Goal) -> Self {
        Self { project, goal, held: VecDeque::new(), held_changes: 0, held_bytes: 0 }
    }

    /// Notes that the log is at least this long.
    pub(super) fn extend(&mut self, last: Position) {
        if let Goal::Read(until) | Goal::Pass { until, .. } = &mut self.goal
            && until.sequence < last.sequence
        {
            *until = last;
        }
    }

    /// Holds a commit, so that the log need not be read up to it. If it is too much, what is held is dropped, and read from
    /// the log.
    pub(super) fn hold(&mut self, commit: Commit) {
        let Some(last) = commit.last() else { return };
        self.extend(last);
        let (changes, bytes) = (commit.changes.len(), commit.weight());
        if self.held_changes + changes > MAX_HELD || self.held_bytes + bytes > MAX_HELD_BYTES {
            self.held.clear();
            (self.held_changes, self.held_bytes) = (0, 0);
        }
        self.held_changes += changes;
        self.held_bytes += bytes;
        self.held.push_back(commit);
    }

    /// Returns the next held changes that follow on `published`. Those that were published already are dropped, and those of a
    /// history that is lost.
    pub(super) fn take_after(&mut self, epoch: Epoch, published: Position) -> Option<Vec<Arc<Change>>> {
        loop {
            let follows = self.held.front()?.follow(epoch, published);
            if matches!(follows, Follows::Later) {
                return None;
            }
            let commit = self.held.pop_front()?;
            self.held_changes -= commit.changes.len();
            self.held_bytes -= commit.weight();
            if let Follows::Next(changes) = follows {
                return Some(changes);
            }
        }
    }

    /// Whether nothing is left to read after `published`.
    pub(super) fn is_done(&self, published: Position) -> bool {
        matches!(self.goal, Goal::Read(until) if until.sequence <= published.sequence)
    }
}
