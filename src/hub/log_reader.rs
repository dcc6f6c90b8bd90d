//! The two traits that the relay needs of the rest of the server: one reads the log, the other hears of control entries.

use std::{sync::Arc, time::Instant};

use futures_util::future::BoxFuture;

use crate::domain::{Change, Control, KeyStates, LogEnds, Position, ProjectId};

/// A part of a log.
pub struct LogPart {
    /// Entries after the position that was asked for, without gap.
    pub changes: Vec<Arc<Change>>,
    /// The entries after that position are partly pruned, so there would be a gap.
    pub is_pruned: bool,
    /// The log has another entry at that position, or none: it lost commits, and may have used their sequences again.
    pub is_other: bool,
}

/// The log could not be read. The message is for the server's own log.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct LogError {
    pub message: String,
    /// Whether time may mend it, as when the database is away.
    pub may_pass: bool,
}

/// Reads the change log for the relay. `app` hands the implementation in.
pub trait LogReader: Send + Sync + 'static {
    /// Reads the ends of every project's log.
    fn log_ends(&self) -> BoxFuture<'_, Result<Vec<LogEnds>, LogError>>;
    /// Reads the next entries of a project's log; none at its end.
    fn read_after(&self, project: ProjectId, after: Position) -> BoxFuture<'_, Result<LogPart, LogError>>;
    /// Lists the revoked keys of a project, and those that were changed.
    fn key_states(&self, project: ProjectId) -> BoxFuture<'_, Result<KeyStates, LogError>>;
}

/// Hears of each control entry before the hub does. `app` hands the implementation in.
pub trait ControlObserver: Send + Sync + 'static {
    /// Called once for each, in order.
    fn observe(&self, project: &ProjectId, position: Position, control: &Control);
    /// Called where entries are missing, so that any control entry may be among them. Gets the sequence of the log's last
    /// control entry, and every key that was revoked or changed.
    fn observe_gap(&self, project: &ProjectId, control: u64, keys: &KeyStates);
    /// Called when every entry has been observed that any log had at this time.
    fn confirm(&self, at: Instant);
}
