//! A visitor of rooms and of the broadcast: comes in, says things, hears what others say, and goes or is cut off.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use coir::{
    api::{
        cocobase::{
            introduction::{First, Introduction},
            rooms::{bus::Place, conversation::Visit},
        },
        realtime::pace::Pace,
    },
    wire::Form,
};

use crate::{
    dice::Dice,
    hall::{Hall, key},
    link::{Heard, Link, Listener, Over, Peer, Unusable, principal},
    run::Phase,
};

/// A flood is this many messages with so many bytes: more than the queues of someone who doesn't read have room for.
const FLOOD: (u64, usize) = (200, 8000);
/// How long after the beginning of the quiet phase the last word is said.
const LAST_WORD_DELAY: Duration = Duration::from_secs(20);
/// Someone who was too slow is told to try again.
const TRY_AGAIN: u16 = 1013;

pub struct Visitor {
    pub link: Link,
    pub name: String,
    pub hall: Rc<RefCell<Hall>>,
    /// Whether it says very much at once, at times.
    pub floods: bool,
    pub visits: u64,
    pub heard: u64,
    /// How often it was cut off because it was too slow.
    pub cut_off: u64,
    /// How often the room that it wanted to join wasn't there.
    pub refused: u64,
    /// The stay that the end of the simulation found.
    last_stay: Option<Stay>,
}

/// One stay at a place.
struct Stay {
    hall: Rc<RefCell<Hall>>,
    dice: Dice,
    floods: bool,
    server: u64,
    place: Place,
    person: String,
    is_welcome: bool,
    /// How many people are there; only said of rooms.
    participants: u64,
    said: u64,
    /// For everyone who was heard, the number of what they say next.
    next_of: BTreeMap<String, u64>,
    last: Option<String>,
    heard: u64,
    was_cut_off: bool,
    next_word_at: Option<Instant>,
    /// Whether it knows that the quiet phase has begun.
    is_quiet: bool,
    has_said_last_word: bool,
}

impl Visitor {
    pub fn new(link: Link, name: String, hall: Rc<RefCell<Hall>>, floods: bool) -> Self {
        Self { link, name, hall, floods, visits: 0, heard: 0, cut_off: 0, refused: 0, last_stay: None }
    }

    /// Comes and goes until the simulation is over.
    pub async fn follow(mut self) -> Self {
        loop {
            match self.visit().await {
                Over::Done => return self,
                Over::Cut => self.link.pause().await,
            }
        }
    }

    /// Fails unless it has heard of everything that happened where it is.
    pub fn check(&self) {
        let stay = self.last_stay.as_ref().expect("at the end every visitor is somewhere");
        stay.check();
    }

    async fn visit(&mut self) -> Over {
        self.visits += 1;
        let dice = self.link.dice.clone();
        let place = match dice.under(5) {
            0..2 => Place::Room("lobby".to_owned()),
            2..4 => Place::Room("garden".to_owned()),
            _ => Place::Broadcast,
        };
        let connection = self.link.open(Form::Library);
        let server = self.link.server.borrow().number;
        let person = format!("{}-{}", self.name, self.visits);
        let joins = dice.percent(20);
        let first = First {
            user_id: Some(json!(person)),
            user_name: Some(json!(self.name)),
            action: Some(json!(if joins { "join" } else { "create" })),
            ..First::default()
        };
        let mut introduction = Introduction::new(connection.clone(), Visit { place: place.clone() });
        let key = key(server, &place);
        if introduction.begin(principal(), first).await.is_err() {
            assert!(
                joins && place != Place::Broadcast,
                "{person} is refused at a place that need not be there"
            );
            self.refused += 1;
            return Over::Cut;
        }
        self.hall.borrow_mut().enter(&key, &person);
        let mut stay = Stay {
            hall: self.hall.clone(),
            floods: self.floods,
            next_word_at: Some(Instant::now() + dice.delay(100)),
            dice,
            server,
            place,
            person,
            is_welcome: false,
            participants: 0,
            said: 0,
            next_of: BTreeMap::new(),
            last: None,
            heard: 0,
            was_cut_off: false,
            is_quiet: false,
            has_said_last_word: false,
        };
        let peer = Peer::start(connection, introduction, Pace::limited());
        let over = self.link.attend(peer, &mut stay).await;
        self.heard += stay.heard;
        self.cut_off += u64::from(stay.was_cut_off);
        self.floods &= stay.floods;
        if over == Over::Cut {
            self.hall.borrow_mut().leave(&key, &stay.person);
        } else {
            self.last_stay = Some(stay);
        }
        over
    }
}

impl Stay {
    fn check(&self) {
        assert!(self.has_said_last_word, "{} was not there in the quiet phase", self.person);
        let own = self.next_of.get(&self.person).copied().unwrap_or_default();
        assert_eq!(own, self.said, "{} has not heard everything that it said", self.person);
        let last = self.last.as_deref().expect("it has heard itself");
        self.hall.borrow().check_last(&key(self.server, &self.place), last);
    }

    /// Takes one thing that has happened, in the order in which it is told.
    fn hear(&mut self, what: String) {
        if let Some(last) = &self.last {
            self.hall.borrow_mut().hear(&key(self.server, &self.place), last, &what);
        }
        self.last = Some(what);
        self.heard += 1;
    }

    /// Counts those who are there, as a message of a room says how many they are.
    fn count(&mut self, message: &Value, change: i64) {
        if self.place == Place::Broadcast {
            return;
        }
        let participants = message["room_info"]["participants"].as_u64().unwrap();
        if self.last.is_some() {
            let expected = self.participants.strict_add_signed(change);
            assert_eq!(participants, expected, "someone came or went untold: {message}");
        } else {
            assert_eq!(participants, self.participants, "the welcome has another number: {message}");
        }
        self.participants = participants;
    }

    fn hear_message(&mut self, message: &Value) {
        let who = message["user_id"].as_str().unwrap().to_owned();
        let value = if self.place == Place::Broadcast { &message["data"] } else { &message["content"] };
        let number = value["number"].as_u64().unwrap();
        let next = self.next_of.insert(who.clone(), number + 1);
        assert!(next.is_none_or(|next| next == number), "{who} says {number}, and {next:?} is next");
        let is_complete = who != self.person || next.is_some() || number == 0;
        assert!(is_complete, "{who} doesn't hear its first words");
        self.hear(format!("{who} says {number}"));
    }
}

impl Listener for Stay {
    fn take(&mut self, heard: Heard) -> Result<(), Unusable> {
        let message = heard.json();
        if !self.is_welcome {
            let expected = if self.place == Place::Broadcast { "connected" } else { "joined" };
            assert_eq!((&message["event"], &message["user_id"]), (&json!(expected), &json!(self.person)));
            self.participants = message["participants"].as_u64().unwrap_or_default();
            self.is_welcome = true;
            return Ok(());
        }
        let who = message["user_id"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap() {
            "user_joined" => {
                let is_first = self.last.is_none();
                assert!(!is_first || who == self.person, "the first thing is one's own coming: {message}");
                self.count(&message, 1);
                self.next_of.insert(who.clone(), 0);
                self.hear(format!("{who} comes"));
            }
            "user_left" => {
                self.count(&message, -1);
                self.hear(format!("{who} goes"));
            }
            "message" => {
                self.count(&message, 0);
                self.hear_message(&message);
            }
            other => panic!("a message of an unknown type {other}"),
        }
        Ok(())
    }

    fn take_close(&mut self, code: u16) {
        self.was_cut_off = code == TRY_AGAIN;
    }

    fn next_word_at(&self) -> Option<Instant> {
        self.next_word_at
    }

    fn words(&mut self, phase: Phase) -> Vec<String> {
        let is_flood = phase == Phase::Running && self.dice.percent(20) && std::mem::take(&mut self.floods);
        let (count, bytes) = if is_flood { FLOOD } else { (1, 0) };
        self.next_word_at = match phase {
            Phase::Running => Some(Instant::now() + self.dice.delay(1000)),
            // First everyone comes back.
            _ if !self.is_quiet => {
                self.is_quiet = true;
                self.next_word_at = Some(Instant::now() + LAST_WORD_DELAY);
                return Vec::new();
            }
            _ => None,
        };
        self.has_said_last_word = self.is_quiet;
        let member = if self.place == Place::Broadcast { "data" } else { "content" };
        let words = self.said..self.said + count;
        self.said += count;
        let padding = "x".repeat(bytes);
        let word = |number| json!({ "type": "message", member: { "number": number, "padding": padding } });
        words.map(|number| word(number).to_string()).collect()
    }
}
