//! The commands that wait for a project's task. Whoever hands one over never waits.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    bounds::Bounds,
    joining::{Joining, SubscriptionId},
};
use crate::domain::{Change, CollectionId, Position, cursor::Epoch};

/// Subscriptions that may wait for the answer to their request to join. The next one reads the log and asks again.
const MAX_JOINS: usize = 65_536;

/// Changes that may wait for a task that rests, and their bytes, before they wake it. It has little to do with them, and waking a
/// thread costs more than that.
const REST_CHANGES: usize = 512;
const REST_BYTES: usize = 256 * 1024;
/// The same bytes for the tasks of all projects together.
const ALL_REST_BYTES: usize = 16 * 1024 * 1024;

/// A request to a project's task.
pub(super) enum Command {
    Join(Box<Joining>),
    Leave(SubscriptionId, CollectionId),
    /// The log ends here. The changes up to here come from the log.
    SetLogEnd {
        epoch: Epoch,
        last: Position,
    },
    Publish(Published),
}

/// The next changes of a log, in order and without gap.
pub(super) struct Published {
    pub(super) changes: Vec<Arc<Change>>,
    /// When they were handed over; `None` if that was while the task rested.
    pub(super) at: Option<Instant>,
    bytes: usize,
}

/// The commands that wait for one project's task, in order.
///
/// Changes are bounded by [`Bounds`]. Beyond a bound, all that wait are dropped, and one [`Command::SetLogEnd`] takes their
/// place. Joins are bounded by their number. A leave always finds room, since there is at most one for each join.
pub(super) struct Backlog {
    bounds: Bounds,
    waiting: Mutex<Waiting>,
    /// Rung to wake the task.
    bell: Notify,
    /// Whether the changes before the next [`Command::SetLogEnd`] are dropped, also those that the task has taken already.
    is_skipping: AtomicBool,
    /// Bytes of the changes that wait for the tasks of all projects.
    all_bytes: Arc<AtomicUsize>,
}

struct Waiting {
    commands: VecDeque<Command>,
    changes: usize,
    bytes: usize,
    joins: usize,
    task: Task,
    /// When the task last took a step, or the first command came that waits for it; `None` while none does, and while it rests.
    moved_at: Option<Instant>,
    /// Where the log ends, as far as it was handed over.
    end: (Epoch, Position),
    is_closed: bool,
}

/// The state of a project's task.
#[derive(Clone, Copy, PartialEq)]
enum Task {
    /// It looks for the next command before it sleeps.
    Awake,
    /// Any command wakes it.
    Asleep,
    /// As asleep, but changes wake it only when many wait.
    Resting,
}

impl Backlog {
    /// Makes an empty one for a log that ends at `end`.
    pub(super) fn new(end: (Epoch, Position), bounds: Bounds, all_bytes: Arc<AtomicUsize>) -> Self {
        Self {
            bounds,
            waiting: Mutex::new(Waiting {
                commands: VecDeque::new(),
                changes: 0,
                bytes: 0,
                joins: 0,
                task: Task::Awake,
                moved_at: None,
                end,
                is_closed: false,
            }),
            bell: Notify::new(),
            is_skipping: AtomicBool::new(false),
            all_bytes,
        }
    }

    /// Hands over the next changes of the log. Returns false if the task is too far behind. Then they are dropped with those
    /// that wait.
    pub(super) fn publish(&self, changes: Vec<Arc<Change>>) -> bool {
        let Some(last) = changes.last().map(|change| change.position) else { return true };
        let bytes: usize = changes.iter().map(|change| change.weight()).sum();
        let mut waiting = self.lock();
        waiting.end.1 = last;
        let is_beyond = waiting.changes > 0
            && (waiting.changes + changes.len() > self.bounds.changes
                || waiting.bytes + bytes > self.bounds.bytes
                || (waiting.bytes + bytes > self.bounds.share
                    && self.all_bytes.load(Ordering::Relaxed) + bytes > self.bounds.all_bytes));
        if is_beyond {
            self.skip(waiting);
            return false;
        }
        waiting.changes += changes.len();
        waiting.bytes += bytes;
        let all_bytes = self.all_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting.task == Task::Resting
            && waiting.changes <= REST_CHANGES
            && waiting.bytes <= REST_BYTES
            && all_bytes <= ALL_REST_BYTES
        {
            waiting.commands.push_back(Command::Publish(Published { changes, at: None, bytes }));
        } else {
            let at = Some(Instant::now());
            self.push(waiting, Command::Publish(Published { changes, at, bytes }));
        }
        true
    }

    /// Says where the log ends, without the changes up to there. Those that wait are dropped.
    pub(super) fn set_log_end(&self, epoch: Epoch, last: Position) {
        let mut waiting = self.lock();
        waiting.end = (epoch, last);
        self.skip(waiting);
    }

    /// Drops the changes that wait.
    pub(super) fn skip_waiting(&self) {
        self.skip(self.lock());
    }

    /// Hands over a request to join. Returns false if too many wait. A request to replace a subscription always finds room:
    /// each connection has one at a time.
    pub(super) fn join(&self, joining: Joining) -> bool {
        let mut waiting = self.lock();
        if waiting.joins >= MAX_JOINS && joining.replaces.is_none() {
            return false;
        }
        waiting.joins += 1;
        self.push(waiting, Command::Join(Box::new(joining)));
        true
    }

    pub(super) fn leave(&self, id: SubscriptionId, collection: CollectionId) {
        self.push(self.lock(), Command::Leave(id, collection));
    }

    /// Lets the task end.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.bell.notify_one();
    }

    /// Notes that the task has come a step further with the command at hand.
    pub(super) fn note_step(&self) {
        let mut waiting = self.lock();
        if waiting.moved_at.is_some() {
            waiting.moved_at = Some(Instant::now());
        }
    }

    /// Returns for how long the task has taken no step although commands wait; `None` while none waits.
    pub(super) fn stillness(&self) -> Option<Duration> {
        Some(self.lock().moved_at?.elapsed())
    }

    /// Whether the rest of the changes that the task has taken is to be dropped.
    pub(super) fn is_skipping(&self) -> bool {
        self.is_skipping.load(Ordering::Relaxed)
    }

    /// Waits for the next command; `None` when it was closed. Can be dropped at any await. If the task `may_rest`, changes wake it
    /// only when many wait: it comes back by itself.
    pub(super) async fn next(&self, may_rest: bool) -> Option<Command> {
        loop {
            if let Some(command) = self.try_next(may_rest) {
                return Some(command);
            }
            if self.lock().is_closed {
                return None;
            }
            self.bell.notified().await;
        }
    }

    /// Returns the next command, if one waits. Otherwise the next one rings the bell, as [`Backlog::next`] says.
    pub(super) fn try_next(&self, may_rest: bool) -> Option<Command> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return None;
        }
        let Some(command) = waiting.commands.pop_front() else {
            waiting.task = if may_rest { Task::Resting } else { Task::Asleep };
            return None;
        };
        waiting.moved_at = (!waiting.commands.is_empty()).then(Instant::now);
        match &command {
            Command::Join(_) => waiting.joins -= 1,
            Command::Leave(..) => {}
            Command::SetLogEnd { .. } => self.is_skipping.store(false, Ordering::Relaxed),
            Command::Publish(published) => {
                waiting.changes -= published.changes.len();
                waiting.bytes -= published.bytes;
                self.all_bytes.fetch_sub(published.bytes, Ordering::Relaxed);
            }
        }
        Some(command)
    }

    fn skip(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.commands.retain(|command| matches!(command, Command::Join(_) | Command::Leave(..)));
        self.all_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        (waiting.changes, waiting.bytes) = (0, 0);
        self.is_skipping.store(true, Ordering::Relaxed);
        let (epoch, last) = waiting.end;
        // It goes first. A subscription that knows already that the log went back must not meet the lost changes.
        waiting.commands.push_front(Command::SetLogEnd { epoch, last });
        self.wake(waiting);
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, command: Command) {
        waiting.commands.push_back(command);
        self.wake(waiting);
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        waiting.moved_at.get_or_insert_with(Instant::now);
        let sleeps = std::mem::replace(&mut waiting.task, Task::Awake) != Task::Awake;
        drop(waiting);
        if sleeps {
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let bytes = self.lock().bytes;
        self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_end_that_is_said_again_stays_before_what_came_in_between() {
        let end = (Epoch(1), Position::default());
        let backlog = Backlog::new(end, Bounds::default(), Arc::default());
        backlog.set_log_end(end.0, end.1);
        backlog.leave(SubscriptionId { shard: 0, serial: 1 }, CollectionId::from_stored("posts"));
        backlog.set_log_end(end.0, end.1);
        assert!(matches!(backlog.try_next(false), Some(Command::SetLogEnd { .. })));
        assert!(matches!(backlog.try_next(false), Some(Command::Leave(..))));
        assert!(backlog.try_next(false).is_none());
    }
}
