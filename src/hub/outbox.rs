//! The bounded queue between a connection and its peer.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::domain::{HeldKey, KeyEnd, ProjectId, SessionId};

/// The most frames that wait for a peer.
pub const MAX_FRAMES: usize = 256;
/// The most bytes that wait for a peer. A single frame may be larger.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most bytes that the body gives away at once. What it has given is copied, and here it may be shared.
const PIECE: usize = 32 * 1024;

/// Why a connection is ended by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The key of its principal is not good any more.
    KeyEnded(KeyEnd),
    /// The session of its user has ended.
    SessionEnded,
    /// Entries of the log are missing, and the session of its user may have ended in one of them.
    SessionInDoubt,
    /// A secret was dropped that may have signed its ticket or its token.
    CredentialInDoubt,
    /// Changes that it missed can't be sent any more.
    Behind,
    /// There are too many connections.
    Full,
    /// The database could not be asked who this is.
    Unchecked,
}

/// Bytes that go to the peer in one piece: no other frame comes between head and rest.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The part that only this connection gets; often empty.
    pub head: Bytes,
    /// The part that is often shared with other connections.
    pub rest: Bytes,
}

impl CloseReason {
    /// Whether its principal may not be sent what waits.
    fn drops_frames(self) -> bool {
        match self {
            Self::KeyEnded(_) | Self::SessionEnded | Self::SessionInDoubt | Self::CredentialInDoubt => true,
            Self::Behind | Self::Full | Self::Unchecked => false,
        }
    }
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub project: ProjectId,
    pub key: HeldKey,
    /// The session of the user, if a user is signed in.
    pub session: Option<SessionId>,
}

impl Frame {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

impl From<Bytes> for Frame {
    fn from(rest: Bytes) -> Self {
        Self { head: Bytes::new(), rest }
    }
}

/// The frames that a connection's peer has not taken yet, ready to be written as they are.
///
/// Lives on one worker thread. Frames leave in the order in which they came. The response body polls this queue. When the
/// body is dropped, the peer is gone.
#[derive(Default)]
pub struct Outbox {
    queue: RefCell<Queue>,
    /// Wakes the connection's task when there is room again, when a subscription fell back to the log, or when it must end.
    changed: Notify,
    /// Whose connection this is, so that the end of a key or of a session finds it.
    owner: RefCell<Option<Owner>>,
    /// Whether the shard has added a frame during this batch.
    pub(super) touched: Cell<bool>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// The rest of a frame whose head was taken.
    rest: Option<Bytes>,
    bytes: usize,
    taken: u64,
    waker: Option<Waker>,
    /// Whether a task waits for room for a frame that only fits into an empty queue.
    is_emptiness_awaited: bool,
    close: Option<CloseReason>,
    /// Whether the last frame is in the queue.
    is_sealed: bool,
    /// Whether the body ends when the queue is empty.
    is_finished: bool,
    is_gone: bool,
}

impl Outbox {
    /// Adds a frame, without waking the body. Returns false if it doesn't fit; then nothing was added.
    pub fn push(&self, frame: impl Into<Frame>) -> bool {
        let frame = frame.into();
        let mut queue = self.queue.borrow_mut();
        if !queue.fits(frame.len()) || queue.is_sealed || queue.close.is_some() {
            return false;
        }
        queue.add(frame);
        true
    }

    /// Adds a frame that could not be read again from the log, and wakes the body. It counts, but it is added even if the
    /// queue is full. The caller makes sure that there are few of them.
    pub fn send(&self, frame: impl Into<Frame>) {
        let mut queue = self.queue.borrow_mut();
        if !queue.is_sealed && queue.close.is_none() {
            queue.add(frame.into());
        }
        drop(queue);
        self.wake_body();
    }

    /// Wakes the body, so that the waiting frames are written.
    pub fn wake_body(&self) {
        if let Some(waker) = self.queue.borrow_mut().waker.take() {
            waker.wake();
        }
    }

    /// Adds the last frames, even if the queue is full. It takes no more after them.
    pub fn seal(&self, last: impl IntoIterator<Item = Bytes>) {
        let mut queue = self.queue.borrow_mut();
        queue.frames.extend(last.into_iter().map(Frame::from));
        queue.is_sealed = true;
        drop(queue);
        self.wake_body();
    }

    /// Ends the body after the frames that wait.
    pub fn finish(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.is_sealed = true;
        queue.is_finished = true;
        drop(queue);
        self.wake_body();
    }

    /// Waits until the body was dropped.
    pub async fn gone(&self) {
        while !self.is_gone() {
            self.changed().await;
        }
    }

    /// Asks the connection's task to end. If its key was revoked or its session has ended, the waiting frames are dropped at once.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.borrow_mut();
        if queue.close.is_none() {
            queue.close = Some(reason);
            if reason.drops_frames() {
                // But a frame whose head was taken needs its rest.
                queue.frames.clear();
                queue.bytes = queue.rest.as_ref().map_or(0, Bytes::len);
            }
        }
        drop(queue);
        self.notify();
    }

    /// Returns why the connection must end, if it must.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.queue.borrow().close
    }

    /// Whether the body was dropped.
    pub fn is_gone(&self) -> bool {
        self.queue.borrow().is_gone
    }

    /// Whether nothing more needs to be done for the peer, because it is gone or the connection must end.
    pub fn is_ending(&self) -> bool {
        let queue = self.queue.borrow();
        queue.is_gone || queue.is_sealed || queue.close.is_some()
    }

    /// Returns how often the body has taken something so far.
    pub fn taken(&self) -> u64 {
        self.queue.borrow().taken
    }

    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Whether at least half of the queue is free.
    pub fn has_room(&self) -> bool {
        self.queue.borrow().has_room()
    }

    /// Waits until at least half of the queue is free, or the connection is to end.
    pub async fn room(&self) {
        while !self.has_room() && !self.is_ending() {
            self.changed().await;
        }
    }

    /// Waits until at least half of the queue is free and a frame of this length fits, or the connection is to end.
    pub async fn room_for(&self, length: usize) {
        loop {
            {
                let mut queue = self.queue.borrow_mut();
                if queue.has_room() && queue.fits(length) {
                    return;
                }
                queue.is_emptiness_awaited = true;
            }
            if self.is_ending() {
                return;
            }
            self.changed().await;
        }
    }

    /// Waits for the next [`Outbox::notify`]. It may return without one.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes every task of the connection.
    pub fn notify(&self) {
        self.changed.notify_waiters();
        // And a task that is not waiting yet.
        self.changed.notify_one();
    }

    pub(super) fn set_owner(&self, owner: Option<Owner>) {
        *self.owner.borrow_mut() = owner;
    }

    /// Returns whose connection this is, once it is known.
    pub fn owner(&self) -> Option<Owner> {
        self.owner.borrow().clone()
    }

    /// Takes the next bytes; `None` when the body ends.
    pub fn poll_frame(&self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.queue.borrow_mut();
        let had_room = queue.has_room();
        let Some(bytes) = queue.take() else {
            if queue.is_finished {
                return Poll::Ready(None);
            }
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        queue.bytes = queue.bytes.saturating_sub(bytes.len());
        queue.taken += 1;
        let has_room = queue.has_room();
        let is_awaited = queue.is_empty() && std::mem::take(&mut queue.is_emptiness_awaited);
        drop(queue);
        if (has_room && !had_room) || is_awaited {
            self.notify();
        }
        Poll::Ready(Some(bytes))
    }

    /// Notes that the body was dropped.
    pub fn set_gone(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.is_gone = true;
        queue.frames.clear();
        queue.rest = None;
        queue.bytes = 0;
        drop(queue);
        self.notify();
    }
}

impl Queue {
    fn fits(&self, length: usize) -> bool {
        self.is_empty() || (self.frames.len() < MAX_FRAMES && self.bytes + length <= MAX_BYTES)
    }

    fn has_room(&self) -> bool {
        self.frames.len() <= MAX_FRAMES / 2 && self.bytes <= MAX_BYTES / 2
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.rest.is_none()
    }

    fn take(&mut self) -> Option<Bytes> {
        let mut next = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let Frame { head, rest } = self.frames.pop_front()?;
                if !head.is_empty() {
                    self.rest = Some(rest);
                    return Some(head);
                }
                rest
            }
        };
        if next.len() > PIECE {
            self.rest = Some(next.split_off(PIECE));
        }
        Some(next)
    }

    fn add(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }
}
