//! Where people meet: rooms, and the broadcast of each project. Nothing of it is in the database.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::domain::{ProjectId, Timestamp};

/// The most frames that wait for one who is there.
const MAX_FRAMES: usize = 256;
/// The most bytes that wait for one who is there.
const MAX_BYTES: usize = 1024 * 1024;

/// Where one can be, in a project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Where everyone of the project can be.
    Broadcast,
    /// The room of this id.
    Room(String),
}

/// How one comes to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entering {
    /// It must be there.
    Join,
    /// It is made if it isn't there.
    Create {
        /// What it is then called.
        title: String,
    },
}

/// One who is there. Both texts are JSON, as the client said them.
#[derive(Clone, Debug)]
pub struct Person {
    /// A string or a number.
    pub id: Arc<str>,
    /// A string.
    pub name: Arc<str>,
}

/// A room as it is at a moment.
#[derive(Clone, Debug)]
pub struct RoomState {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub title: Arc<str>,
    /// Who made it.
    pub created_by: Person,
    /// When that was.
    pub created_at: Timestamp,
    /// Everyone who is there, those who came first first.
    pub people: Vec<Person>,
}

/// What a place is called, and how many are there.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Its title; empty for the broadcast.
    pub title: Arc<str>,
    /// How many are there.
    pub participants: usize,
}

/// Why nobody more comes in; a sentence for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Turned {
    /// There is no such room.
    #[error("Room not found")]
    NoRoom,
    /// The project has as many rooms as it may have.
    #[error("this project has too many rooms; try again")]
    TooManyRooms,
    /// As many are there as may be.
    #[error("too many are here; try again")]
    Full,
}

/// What reaches one who is there. When `cut` resolves, they were too slow, and nothing more comes.
pub struct Inbox {
    /// Frames, ready to be written.
    pub frames: mpsc::Receiver<Bytes>,
    /// Resolves once its sender is gone.
    pub cut: oneshot::Receiver<()>,
    waiting: Arc<AtomicUsize>,
}

/// The other end of an [`Inbox`].
pub struct Delivery {
    frames: mpsc::Sender<Bytes>,
    cut: Option<oneshot::Sender<()>>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    /// An inbox, and what fills it.
    pub fn new() -> (Self, Delivery) {
        let (sender, frames) = mpsc::channel(MAX_FRAMES);
        let (cutting, cut) = oneshot::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let delivery = Delivery { frames: sender, cut: Some(cutting), waiting: waiting.clone() };
        (Self { frames, cut, waiting }, delivery)
    }

    /// Notes that a frame was taken.
    pub fn set_taken(&self, frame: &Bytes) {
        self.waiting.fetch_sub(frame.len(), Ordering::Relaxed);
    }
}

impl Delivery {
    /// Puts a frame in. One who is too slow gets nothing any more, so that nobody waits for them.
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

/// One who is at a place. Gives the number by which they leave.
pub struct Guest<'a> {
    /// The project.
    pub project: &'a ProjectId,
    /// Where.
    pub place: &'a Place,
    /// Who.
    pub person: Person,
    /// What reaches them.
    pub delivery: Delivery,
}

/// Makes a frame about a place as it has just become, if there is something to say.
pub type Announce<'a> = &'a dyn Fn(&Presence) -> Option<Bytes>;

/// Brings those together who are at the same place. In one process it is [`Rooms`](crate::api::cocobase::rooms::registry::Rooms); between nodes it
/// would be another.
pub trait Bus: Send + Sync + 'static {
    /// Comes in. Everyone there is sent what `announce` makes, the newcomer too. Returns the number to leave by.
    ///
    /// # Errors
    /// [`Turned`].
    fn enter(
        &self,
        guest: Guest<'_>,
        entering: Entering,
        announce: Announce<'_>,
    ) -> Result<(u64, Presence), Turned>;

    /// Goes. Those who stay are sent what `announce` makes; a room that nobody is in is gone.
    fn leave(&self, project: &ProjectId, place: &Place, number: u64, announce: Announce<'_>);

    /// Sends to everyone there what `announce` makes.
    fn say(&self, project: &ProjectId, place: &Place, announce: Announce<'_>);

    /// The rooms of a project, by id.
    fn rooms(&self, project: &ProjectId) -> Vec<RoomState>;
}
