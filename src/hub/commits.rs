//! The channel from the writer to the relay. The writer never waits for it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::polls::Polls;
use crate::domain::Change;

/// Changes that may wait for the relay. One batch may always wait.
const MAX_CHANGES: usize = 8192;
/// Bytes of these, by [`Change::weight`].
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Hands commits to the relay. Cheap to clone.
#[derive(Clone)]
pub struct RelayHandle {
    sender: mpsc::UnboundedSender<Commit>,
    load: Arc<Load>,
    polls: Arc<Polls>,
}

/// The relay's end of the channel.
pub(super) struct Commits {
    receiver: mpsc::UnboundedReceiver<Commit>,
    load: Arc<Load>,
}

/// A message to the relay.
pub(super) enum News {
    /// The next changes of one project that this process has committed.
    Changes(Vec<Arc<Change>>),
    /// There may be changes that were not handed over.
    CheckLogEnds,
}

struct Commit {
    changes: Vec<Arc<Change>>,
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
    /// Hands over committed changes of one project, in order and without gap. If too much waits, they are dropped, and the
    /// relay reads them from the log.
    pub fn publish(&self, changes: Vec<Arc<Change>>) {
        let bytes = changes.iter().map(|change| change.weight()).sum();
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
        self.send(Commit { changes, bytes });
    }

    /// Has the relay read the ends of all logs now, because the outcome of a commit is unknown.
    pub fn check_log_ends(&self) {
        self.send(Commit { changes: Vec::new(), bytes: 0 });
    }

    /// Waits until the relay has read the ends of all logs anew, which takes up to two polls. What it found has gone to the hub
    /// then, also that a log went back.
    pub async fn next_poll(&self) {
        self.polls.next().await;
    }

    fn send(&self, commit: Commit) {
        // The channel is closed only while the process is ending.
        let _ = self.sender.send(commit);
    }
}

impl Commits {
    /// Waits for news; `None` when every handle was dropped. Can be dropped at any await.
    pub(super) async fn next(&mut self) -> Option<News> {
        let Commit { changes, bytes } = self.receiver.recv().await?;
        self.load.changes.fetch_sub(changes.len(), Ordering::Relaxed);
        self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(if changes.is_empty() { News::CheckLogEnds } else { News::Changes(changes) })
    }

    /// Whether commits were dropped since the last call.
    pub(super) fn have_dropped(&self) -> bool {
        self.load.has_dropped.swap(false, Ordering::Relaxed)
    }
}
