//! The [`Bus`] of one process. It keeps who is where in memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    bus::{Announce, Bus, Entering, Guest, Person, Place, Presence, RoomState, Turned},
    inbox::{AllWaiting, Inbox, InboxSender},
};
use crate::{
    domain::{ProjectId, Timestamp},
    shares::{Account, Budget, BudgetPermit},
};

/// The most rooms that a project may have. A key may have three times what it leaves free, which holds for people as well.
const MAX_ROOMS: usize = 1000;
/// The most people that a room may have.
const MAX_IN_ROOM: usize = 1000;
/// The most people that a project's broadcast may have.
const MAX_IN_BROADCAST: usize = 10_000;

/// Everyone who is at a place, by project. Each project has its own lock, so that it doesn't hold up others.
#[derive(Default)]
pub struct Rooms {
    projects: Mutex<HashMap<ProjectId, Arc<Mutex<Project>>>>,
    waiting: AllWaiting,
}

struct Project {
    next_number: u64,
    broadcast: People,
    rooms: BTreeMap<String, Room>,
    /// Shared by those who create rooms.
    room_budget: Budget,
}

struct Room {
    title: Arc<str>,
    created_by: Person,
    created_at: Timestamp,
    people: People,
    _permit: BudgetPermit,
}

/// The people at a place.
struct People {
    /// By number, and so in the order in which they came.
    all: BTreeMap<u64, Present>,
    budget: Budget,
}

/// Someone who is there.
struct Present {
    person: Person,
    inbox: InboxSender,
    _permit: BudgetPermit,
}

impl People {
    fn new(most: usize) -> Self {
        Self { all: BTreeMap::new(), budget: Budget::new(most) }
    }

    /// Lets someone in.
    fn add(
        &mut self,
        number: u64,
        account: &Account,
        (person, inbox): (Person, InboxSender),
    ) -> Result<(), Turned> {
        let permit = self.budget.take(account, 1).map_err(|_| Turned::Full)?;
        self.all.insert(number, Present { person, inbox, _permit: permit });
        Ok(())
    }
}

impl Default for Project {
    fn default() -> Self {
        let broadcast = People::new(MAX_IN_BROADCAST);
        Self { next_number: 0, broadcast, rooms: BTreeMap::new(), room_budget: Budget::new(MAX_ROOMS) }
    }
}

impl Rooms {
    fn project(&self, id: &ProjectId) -> Arc<Mutex<Project>> {
        let mut projects = lock(&self.projects);
        match projects.get(id) {
            Some(project) => project.clone(),
            None => projects.entry(id.clone()).or_default().clone(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(people: &mut People, title: &Arc<str>, announce: Announce<'_>) -> Presence {
    let presence = Presence { title: title.clone(), participants: people.all.len() };
    if let Some(frame) = announce(&presence) {
        people.all.values_mut().for_each(|present| present.inbox.put(&frame));
    }
    presence
}

impl Project {
    /// Finds the people at a place, and its title.
    fn find(&mut self, place: &Place) -> Option<(&mut People, Arc<str>)> {
        match place {
            Place::Broadcast => Some((&mut self.broadcast, Arc::from(""))),
            Place::Room(id) => {
                let room = self.rooms.get_mut(id)?;
                Some((&mut room.people, room.title.clone()))
            }
        }
    }
}

impl Bus for Rooms {
    fn inbox(&self) -> (Inbox, InboxSender) {
        Inbox::new(&self.waiting)
    }

    fn enter(
        &self,
        guest: Guest<'_>,
        entering: Entering,
        announce: Announce<'_>,
    ) -> Result<(u64, Presence), Turned> {
        let project = self.project(&guest.account.project);
        let mut project = lock(&project);
        project.next_number += 1;
        let number = project.next_number;
        if let (Place::Room(id), Entering::Create { title }) = (guest.place, entering)
            && !project.rooms.contains_key(id)
        {
            let permit = project.room_budget.take(guest.account, 1).map_err(|_| Turned::TooManyRooms)?;
            let room = Room {
                title: title.into(),
                created_by: guest.person.clone(),
                created_at: Timestamp::now(),
                people: People::new(MAX_IN_ROOM),
                _permit: permit,
            };
            project.rooms.insert(id.clone(), room);
        }
        let (people, title) = project.find(guest.place).ok_or(Turned::NoRoom)?;
        people.add(number, guest.account, (guest.person, guest.inbox))?;
        Ok((number, tell(people, &title, announce)))
    }

    fn leave(&self, project: &ProjectId, place: &Place, number: u64, announce: Announce<'_>) {
        let project = self.project(project);
        let mut project = lock(&project);
        let Some((people, title)) = project.find(place) else { return };
        if people.all.remove(&number).is_none() {
            return;
        }
        tell(people, &title, announce);
        if people.all.is_empty()
            && let Place::Room(id) = place
        {
            project.rooms.remove(id);
        }
    }

    fn say(&self, project: &ProjectId, place: &Place, announce: Announce<'_>) {
        let project = self.project(project);
        if let Some((people, title)) = lock(&project).find(place) {
            tell(people, &title, announce);
        }
    }

    fn rooms(&self, project: &ProjectId) -> Vec<RoomState> {
        let project = self.project(project);
        let project = lock(&project);
        let state = |(id, room): (&String, &Room)| RoomState {
            id: id.clone(),
            title: room.title.clone(),
            created_by: room.created_by.clone(),
            created_at: room.created_at,
            people: room.people.all.values().map(|present| present.person.clone()).collect(),
        };
        project.rooms.iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::KeyId;

    fn enter(rooms: &Rooms, place: &Place, entering: Entering) -> Result<(u64, Inbox), Turned> {
        enter_as("a", rooms, place, entering)
    }

    fn enter_as(key: &str, rooms: &Rooms, place: &Place, entering: Entering) -> Result<(u64, Inbox), Turned> {
        let (inbox, sender) = rooms.inbox();
        let person = Person { id: "\"a\"".into(), name: "\"A\"".into() };
        let account = &Account::new(ProjectId::from_stored("p"), KeyId::from_stored(key));
        let guest = Guest { account, place, person, inbox: sender };
        rooms
            .enter(guest, entering, &|_| Some(Bytes::from_static(b"hello")))
            .map(|(number, _)| (number, inbox))
    }

    fn say(rooms: &Rooms, place: &Place, bytes: usize) {
        rooms.say(&ProjectId::from_stored("p"), place, &|_| Some(Bytes::from(vec![b'x'; bytes])));
    }

    #[test]
    fn only_a_person_who_takes_nothing_is_cut_off() {
        let (rooms, place) = (Rooms::default(), Place::Broadcast);
        let (_, mut slow) = enter(&rooms, &place, Entering::Join).unwrap();
        let (_, mut quick) = enter(&rooms, &place, Entering::Join).unwrap();
        let mut taken = 0;
        for _ in 0..1000 {
            say(&rooms, &place, 1);
            while let Ok(frame) = quick.frames.try_recv() {
                quick.set_taken(&frame);
                taken += 1;
            }
        }
        assert_eq!(taken, 1001);
        assert!(
            quick.cut.try_recv().is_err_and(|err| err == tokio::sync::oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(slow.cut.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
        let mut kept = 0;
        while slow.frames.try_recv().is_ok() {
            kept += 1;
        }
        assert!(kept <= 256, "{kept}");
    }

    #[test]
    fn waiting_bytes_are_bounded() {
        let (rooms, place) = (Rooms::default(), Place::Broadcast);
        let (_, mut slow) = enter(&rooms, &place, Entering::Join).unwrap();
        for _ in 0..3 {
            say(&rooms, &place, 400 * 1024);
        }
        assert_eq!(slow.cut.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn rooms_are_bounded_and_removed_when_nobody_is_there() {
        let rooms = Rooms::default();
        let room = |number: usize| Place::Room(format!("room{number}"));
        let create = || Entering::Create { title: "T".to_owned() };
        // A key alone has three quarters, and another one three quarters of the rest.
        const OF_KEY: usize = MAX_ROOMS / 4 * 3;
        let mut inside: Vec<_> = (0..OF_KEY).map(|n| enter(&rooms, &room(n), create()).unwrap()).collect();
        assert_eq!(enter(&rooms, &room(OF_KEY), create()).err(), Some(Turned::TooManyRooms));
        let of_another = enter_as("b", &rooms, &room(OF_KEY), create()).unwrap();
        rooms.leave(&ProjectId::from_stored("p"), &room(OF_KEY), of_another.0, &|_| None);
        let (number, _) = inside.swap_remove(0);
        let project = ProjectId::from_stored("p");
        rooms.leave(&project, &room(0), number, &|_| None);
        assert_eq!(enter(&rooms, &room(0), Entering::Join).err(), Some(Turned::NoRoom));
        assert!(enter(&rooms, &room(MAX_ROOMS), create()).is_ok());
        assert_eq!(rooms.rooms(&project).len(), OF_KEY);

        let place = room(1);
        for _ in 1..MAX_IN_ROOM / 4 * 3 {
            enter(&rooms, &place, Entering::Join).unwrap();
        }
        assert_eq!(enter(&rooms, &place, Entering::Join).err(), Some(Turned::Full));
        assert!(enter_as("b", &rooms, &place, Entering::Join).is_ok(), "a key leaves some to others");
        assert!(rooms.rooms(&ProjectId::from_stored("another")).is_empty());
    }
}
