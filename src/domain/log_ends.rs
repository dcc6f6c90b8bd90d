//! Where a project's change log begins and ends.

use super::{
    Position, ProjectId,
    cursor::{Cursor, Epoch},
};

/// The ends of a project's change log, as one read saw them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// The project whose log this is.
    pub project: ProjectId,
    /// The history that the log belongs to.
    pub epoch: Epoch,
    /// The first position from which the log can be read. Entries up to and including it are pruned, so the first
    /// retained entry has the next sequence.
    pub first: Position,
    /// The position of the last entry.
    pub last: Position,
    /// The position of the last control entry. Caches of collections and keys stay valid while it is unchanged.
    pub control: Position,
}

impl LogEnds {
    /// Returns the cursor of a client that has seen the whole log.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, position: self.last }
    }
}
