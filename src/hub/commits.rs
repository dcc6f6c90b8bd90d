//! The channel from the writer to the relay. The writer never waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::polls::Polls;
use crate::domain::{
    Change, Position,
    cursor::{Cursor, Epoch},
};

/// Changes that may wait for the relay. One batch may always wait.
const MAX_CHANGES: usize = 8192;
/// Bytes of these, by [`Change::weight`].
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Hands commits to the relay. Cheap to clone.
#[derive(Clone)]
pub struct RelayHandle {
    sender: mpsc::UnboundedSender<Message>,
    load: Arc<Load>,
    polls: Arc<Polls>,
}

/// The relay's end of the channel.
pub(super) struct Commits {
    receiver: mpsc::UnboundedReceiver<Message>,
    load: Arc<Load>,
}

/// A message to the relay.
pub(super) enum News {
    /// The next changes of one project that this process has committed.
    Committed(Commit),
    /// There may be changes that were not handed over.
    CheckLogEnds,
}

/// Changes of one project that this process has committed, in order and without gap.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Where the log ended before them.
    pub after: Cursor,
    pub changes: Vec<Arc<Change>>,
}

/// How a commit follows on what was published.
pub(super) enum Follows {
    /// These changes are next.
    Next(Vec<Arc<Change>>),
    /// All of it was published.
    Published,
    /// Others come first.
    Later,
    /// It is of another history: the database has lost commits.
    Not,
}

impl Commit {
    /// Returns the position of its last change, if it has any.
    pub(super) fn last(&self) -> Option<Position> {
        self.changes.last().map(|change| change.position)
    }

    /// Returns the sum of [`Change::weight`].
    pub(super) fn weight(&self) -> usize {
        self.changes.iter().map(|change| change.weight()).sum()
    }

    /// Compares it with what was published.
    pub(super) fn follow(&self, epoch: Epoch, published: Position) -> Follows {
        if self.after.epoch != epoch {
            return Follows::Not;
        }
        let begin = self.after.position;
        if begin.sequence > published.sequence {
            return Follows::Later;
        }
        // The entry at the place that was published, as this commit has it.
        let place = (published.sequence - begin.sequence) as usize;
        let own = match place.checked_sub(1) {
            None => Some(begin),
            Some(place) => self.changes.get(place).map(|change| change.position),
        };
        match own {
            None => Follows::Published,
            Some(own) if own != published => Follows::Not,
            Some(_) if place == self.changes.len() => Follows::Published,
            Some(_) => Follows::Next(self.changes[place..].to_vec()),
        }
    }
}

/// A message in the channel.
struct Message {
    /// `None` has the relay read the ends of all logs.
    commit: Option<Commit>,
    /// [`Commit::weight`].
    bytes: usize,
}

/// The messages that wait for the relay.
#[derive(Default)]
struct Load {
    changes: AtomicUsize,
    bytes: AtomicUsize,
    /// Whether commits were dropped since the relay looked.
    has_dropped: AtomicBool,
}

/// Makes the channel.
pub(super) fn channel(polls: Arc<Polls>) -> (RelayHandle, Commits) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let load = Arc::new(Load::default());
    (RelayHandle { sender, load: load.clone(), polls }, Commits { receiver, load })
}

impl RelayHandle {
    /// Hands over committed changes. If too much waits, they are dropped, and the relay reads them from the log.
    pub fn publish(&self, commit: Commit) {
        let (changes, bytes) = (&commit.changes, commit.weight());
        let (waiting, waiting_bytes) = (&self.load.changes, &self.load.bytes);
        let count = waiting.load(Ordering::Relaxed);
        if count > 0
            && (count + changes.len() > MAX_CHANGES
                || waiting_bytes.load(Ordering::Relaxed) + bytes > MAX_BYTES)
        {
            self.load.has_dropped.store(true, Ordering::Relaxed);
            return;
        }
        waiting.fetch_add(changes.len(), Ordering::Relaxed);
        waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(Message { commit: Some(commit), bytes });
    }

    /// Has the relay read the ends of all logs now, because the outcome of a commit is unknown.
    pub fn check_log_ends(&self) {
        self.send(Message { commit: None, bytes: 0 });
    }

    /// Waits until the relay has read the ends of all logs anew, which takes up to two polls. What it found has gone to the hub
    /// then, also that a log went back.
    pub async fn next_poll(&self) {
        self.polls.next().await;
    }

    /// Returns how long ago the relay last read the ends of all logs; `None` before the first time.
    pub fn since_last_poll(&self) -> Option<Duration> {
        self.polls.since_success()
    }

    fn send(&self, message: Message) {
        // The channel is closed only while the process is ending.
        let _ = self.sender.send(message);
    }
}

impl Commits {
    /// Waits for news; `None` when every handle was dropped. Can be dropped at any await.
    pub(super) async fn next(&mut self) -> Option<News> {
        let message = self.receiver.recv().await?;
        Some(self.take_off(message))
    }

    /// Returns the next news that wait already.
    pub(super) fn try_next(&mut self) -> Option<News> {
        let message = self.receiver.try_recv().ok()?;
        Some(self.take_off(message))
    }

    fn take_off(&self, Message { commit, bytes }: Message) -> News {
        let Some(commit) = commit else { return News::CheckLogEnds };
        self.load.changes.fetch_sub(commit.changes.len(), Ordering::Relaxed);
        self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
        News::Committed(commit)
    }

    /// Whether commits were dropped since the last call.
    pub(super) fn have_dropped(&self) -> bool {
        self.load.has_dropped.swap(false, Ordering::Relaxed)
    }
}
