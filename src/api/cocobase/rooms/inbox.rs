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

/// The end of the queue that a socket reads.
pub struct Inbox {
    /// Frames that can be written as they are.
    pub frames: mpsc::Receiver<Bytes>,
    /// Resolves once the person was too slow. Nothing more comes then.
    pub cut: oneshot::Receiver<()>,
    waiting: Arc<AtomicUsize>,
}

/// The end of the queue that others fill.
pub struct InboxSender {
    frames: mpsc::Sender<Bytes>,
    cut: Option<oneshot::Sender<()>>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    /// Makes both ends of an empty queue.
    pub fn new() -> (Self, InboxSender) {
        let (sender, frames) = mpsc::channel(MAX_FRAMES);
        let (cutting, cut) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let sender = InboxSender { frames: sender, cut: Some(cutting), waiting: waiting.clone() };
        (Self { frames, cut, waiting }, sender)
    }

    /// Notes that a frame was taken.
    pub fn set_taken(&self, frame: &Bytes) {
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
    }
}

impl InboxSender {
    /// Puts a frame into the queue. If it doesn't fit, the person is cut off, so that nobody waits for them.
    pub fn put(&mut self, frame: &Bytes) {
        if self.cut.is_none() {
            return;
        }
        let waiting = self.waiting.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
        if waiting > MAX_BYTES || self.frames.try_send(frame.clone()).is_err() {
            self.cut = None;
        }
    }
}
