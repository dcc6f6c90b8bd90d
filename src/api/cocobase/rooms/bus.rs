//! Presence: the people in each room, and in the broadcast of each project.

use std::sync::Arc;

use bytes::Bytes;

use super::inbox::{Inbox, InboxSender};
use crate::{
    domain::{ProjectId, Timestamp},
    shares::Account,
};

/// A place in a project where people can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The broadcast, where everyone of the project can be.
    Broadcast,
    /// The room of this id.
    Room(String),
}

/// How someone comes to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entering {
    /// The place must exist.
    Join,
    /// A room is created if it doesn't exist.
    Create {
        /// The title of a room that is created.
        title: String,
    },
}

/// Someone at a place. Both texts are JSON, as the client sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// A string or a number.
    pub id: Arc<str>,
    /// A string.
    pub name: Arc<str>,
}

/// A room as it is at one moment.
#[derive(Clone, Debug)]
pub struct RoomState {
    pub id: String,
    pub title: Arc<str>,
    pub created_by: Person,
    pub created_at: Timestamp,
    /// Everyone who is there, in the order in which they came.
    pub people: Vec<Person>,
}

/// A place as it has just become.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The room's title; empty for the broadcast.
    pub title: Arc<str>,
    /// How many people are there.
    pub participants: usize,
}

/// Why someone can't come in. The message is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Turned {
    /// There is no such room.
    #[error("Room not found")]
    NoRoom,
    /// The project has as many rooms as it may have, or the key has created its share of them.
    #[error("this project or this key has too many rooms; try again")]
    TooManyRooms,
    /// The place has as many people as it may have, or as many of this key.
    #[error("too many are here; try again")]
    Full,
}

/// Someone who comes to a place.
pub struct Guest<'a> {
    /// The project, and the key whose share of people and rooms they take.
    pub account: &'a Account,
    pub place: &'a Place,
    pub person: Person,
    /// Takes the messages of the place.
    pub inbox: InboxSender,
}

/// Makes a frame about a place as it has just become, if there is something to say.
pub type Announce<'a> = &'a dyn Fn(&Presence) -> Option<Bytes>;

/// Brings people together who are at the same place. In one process it is
/// [`Rooms`](crate::api::cocobase::rooms::registry::Rooms). Between nodes it would be another implementation.
pub trait Bus: Send + Sync + 'static {
    /// Makes the queue of one person.
    fn inbox(&self) -> (Inbox, InboxSender);

    /// Lets someone in. Everyone there, also the newcomer, is sent the frame that `announce` makes. Returns the number to
    /// leave by.
    ///
    /// # Errors
    /// [`Turned`].
    fn enter(
        &self,
        guest: Guest<'_>,
        entering: Entering,
        announce: Announce<'_>,
    ) -> Result<(u64, Presence), Turned>;

    /// Lets someone go. Those who stay are sent the frame that `announce` makes. A room that nobody is in is removed.
    fn leave(&self, project: &ProjectId, place: &Place, number: u64, announce: Announce<'_>);

    /// Sends everyone there the frame that `announce` makes.
    fn say(&self, project: &ProjectId, place: &Place, announce: Announce<'_>);

    /// Lists the rooms of a project by id.
    fn rooms(&self, project: &ProjectId) -> Vec<RoomState>;
}
