//! How far the hub may be behind the log before it gives up what waits.

use std::time::Duration;

/// How far a project's task may be behind before the changes that wait for it are dropped. Its subscriptions then read them
/// from the log. So neither writers nor the memory depend on how long matching takes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes that may wait for one project's task. One batch may always wait.
    pub changes: usize,
    /// Bytes of these, by [`Change::weight`](crate::domain::Change::weight).
    pub bytes: usize,
    /// Bytes that may wait for the tasks of all projects. Beyond it, each project may still use [`Bounds::share`].
    pub all_bytes: usize,
    /// Bytes that may wait for one project's task whatever waits for the others.
    pub share: usize,
    /// How long a change may wait. Subscriptions that join wait behind the changes, so this also bounds their wait.
    pub delay: Duration,
    /// Changes that the relay reads from a log for the hub. Where a log is further ahead, the hub is only told its end.
    pub unread: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            changes: 4096,
            bytes: 8 * 1024 * 1024,
            all_bytes: 32 * 1024 * 1024,
            share: 256 * 1024,
            delay: Duration::from_secs(1),
            unread: 16_384,
        }
    }
}
