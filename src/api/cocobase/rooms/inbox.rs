//! The bounded queue of what others say to one person.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// The most frames that wait for one person.
const MAX_FRAMES: usize = 256;
/// The most bytes that wait for one person.
const MAX_BYTES: usize = 1024 * 1024;

/// The bytes that may wait in all queues of the process. A queue may have an eighth of what is left of them: the fuller they
/// are, the sooner those are cut off who take least.
const MAX_ALL_BYTES: usize = 64 * 1024 * 1024;
/// A queue may have this part of what the others leave.
const SHARE: usize = 8;
/// The bytes that are kept for clients in whose queue nothing waits.
const FOR_THE_QUICK: usize = 16 * 1024 * 1024;

/// The bytes that wait in all queues of the process.
#[derive(Clone, Default)]
pub struct AllWaiting(Arc<AtomicUsize>);

/// The bytes that wait in one queue, which are also counted for all.
struct Waiting {
    own: AtomicUsize,
    all: AllWaiting,
}

impl Waiting {
    /// Counts bytes. Returns whether they fit.
    fn add(&self, bytes: usize) -> bool {
        let own = self.own.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let share = MAX_ALL_BYTES.saturating_sub(all) / SHARE;
        own + bytes <= MAX_BYTES.min(share)
            || (own == 0 && bytes <= MAX_BYTES && all <= MAX_ALL_BYTES + FOR_THE_QUICK)
    }

    fn subtract(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::Relaxed);
        self.all.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.0.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
    }
}

/// The end of the queue that a socket reads.
pub struct Inbox {
    /// Frames that can be written as they are.
    pub frames: mpsc::Receiver<Bytes>,
    /// Resolves once the person was too slow. Nothing more comes then.
    pub cut: oneshot::Receiver<()>,
    waiting: Arc<Waiting>,
}

/// The end of the queue that others fill.
pub struct InboxSender {
    frames: mpsc::Sender<Bytes>,
    cut: Option<oneshot::Sender<()>>,
    waiting: Arc<Waiting>,
}

impl Inbox {
    /// Makes both ends of an empty queue, whose bytes are counted in `all`.
    pub fn new(all: &AllWaiting) -> (Self, InboxSender) {
        let (sender, frames) = mpsc::channel(MAX_FRAMES);
        let (cutting, cut) = oneshot::channel();
        let waiting = Arc::new(Waiting { own: AtomicUsize::new(0), all: all.clone() });
        let sender = InboxSender { frames: sender, cut: Some(cutting), waiting: waiting.clone() };
        (Self { frames, cut, waiting }, sender)
    }

    /// Notes that a frame was taken.
    pub fn set_taken(&self, frame: &Bytes) {
        self.waiting.subtract(frame.len());
    }
}

impl InboxSender {
    /// Puts a frame into the queue. If it doesn't fit, the person is cut off, so that nobody waits for them.
    pub fn put(&mut self, frame: &Bytes) {
        if self.cut.is_none() {
            return;
        }
        if !self.waiting.add(frame.len()) || self.frames.try_send(frame.clone()).is_err() {
            self.cut = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_queues_are_bounded_together_and_the_slowest_go_first() {
        let all = AllWaiting::default();
        let frame = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut slow: Vec<_> = (0..200).map(|_| Inbox::new(&all)).collect();
        for _ in 0..20 {
            slow.iter_mut().for_each(|(_, sender)| sender.put(&frame));
        }
        assert!(all.0.load(Ordering::Relaxed) <= MAX_ALL_BYTES + FOR_THE_QUICK + 200 * frame.len());
        assert!(slow.iter().all(|(_, sender)| sender.cut.is_none()), "they take nothing");
        let (mut quick, mut sender) = Inbox::new(&all);
        drop(slow);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
        for _ in 0..100 {
            sender.put(&frame);
            let frame = quick.frames.try_recv().unwrap();
            quick.set_taken(&frame);
        }
        assert!(sender.cut.is_some());
    }
}
