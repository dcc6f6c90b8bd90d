//! The model of rooms and broadcast: who came when, and in which order the things happened that people were told of.

use std::collections::BTreeMap;

use coir::api::cocobase::rooms::bus::{Place, RoomState};

/// A place of one server. A server that is started again has forgotten the old ones.
type Key = (u64, String);

/// Each thing that happens at a place has a name of its own, and people hear of the things from their coming to their leaving
/// in one order. So for everyone who hears of two things one after the other, these are the same two neighbours.
#[derive(Default)]
pub struct Hall {
    next: BTreeMap<(Key, String), String>,
    previous: BTreeMap<(Key, String), String>,
    /// The people who are there, in the order in which they came, as far as they know themselves.
    people: BTreeMap<Key, Vec<String>>,
}

pub fn key(server: u64, place: &Place) -> Key {
    let name = match place {
        Place::Broadcast => "broadcast".to_owned(),
        Place::Room(id) => format!("room {id}"),
    };
    (server, name)
}

impl Hall {
    pub fn enter(&mut self, key: &Key, person: &str) {
        self.people.entry(key.clone()).or_default().push(person.to_owned());
    }

    pub fn leave(&mut self, key: &Key, person: &str) {
        self.people.get_mut(key).unwrap().retain(|other| other != person);
    }

    /// Notes that someone heard of two things, one right after the other.
    pub fn hear(&mut self, key: &Key, first: &str, second: &str) {
        let next = self.next.entry((key.clone(), first.to_owned())).or_insert_with(|| second.to_owned());
        assert_eq!(next, second, "a message was missed, came twice or out of order after `{first}`");
        let previous =
            self.previous.entry((key.clone(), second.to_owned())).or_insert_with(|| first.to_owned());
        assert_eq!(previous, first, "a message was missed, came twice or out of order before `{second}`");
    }

    /// Fails unless nothing has happened after this.
    pub fn check_last(&self, key: &Key, last: &str) {
        let next = self.next.get(&(key.clone(), last.to_owned()));
        assert_eq!(next, None, "somebody has not heard of what came after `{last}`");
    }

    /// Fails unless the rooms are those in which somebody is, with everyone who is there.
    pub fn compare(&self, server: u64, rooms: &[RoomState]) {
        let there: Vec<_> = rooms
            .iter()
            .map(|room| {
                let people = room.people.iter().map(|person| serde_json::from_str(&person.id).unwrap());
                (format!("room {}", room.id), people.collect::<Vec<String>>())
            })
            .collect();
        let model: Vec<_> = self
            .people
            .iter()
            .filter(|((of, name), people)| *of == server && name != "broadcast" && !people.is_empty())
            .map(|((_, name), people)| (name.clone(), people.clone()))
            .collect();
        assert_eq!(there, model, "the list of rooms is wrong");
    }
}
