//! A watcher of the client libraries: it lists when it is connected, and then follows. It has no cursor, so it lists again
//! each time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use coir::{
    api::{
        cocobase::{
            introduction::{First, Introduction},
            watch::Watched,
        },
        realtime::{
            conversation::{Conversation, Dialect, End},
            pace::Pace,
        },
    },
    hub::CloseReason,
    query::parse::{Typing, parse_value},
    wire::Form,
};

use crate::{
    link::{Heard, Link, Listener, Over, Peer, Unusable, principal},
    log::Log,
};

pub struct Watcher {
    pub link: Link,
    pub view: View,
}

/// The view of a watcher.
pub struct View {
    pub log: Log,
    pub collection: &'static str,
    pub filter: Value,
    /// Data by id.
    documents: BTreeMap<String, String>,
    /// The last event about each document on this connection, and how often the document had been written then.
    seen: BTreeMap<String, (String, u64)>,
    is_connected: bool,
    pub events: u64,
    /// How often its collection was created after it had connected.
    pub found: u64,
    is_waiting: bool,
}

impl Watcher {
    pub fn new(link: Link, log: Log, collection: &'static str, filter: Value) -> Self {
        let view = View {
            log,
            collection,
            filter,
            documents: BTreeMap::new(),
            seen: BTreeMap::new(),
            is_connected: false,
            events: 0,
            found: 0,
            is_waiting: false,
        };
        Self { link, view }
    }

    /// Follows until the simulation is over, and returns what it has then.
    pub async fn follow(mut self) -> Self {
        loop {
            match self.connect().await {
                Over::Done => return self,
                Over::Cut => self.link.pause().await,
            }
        }
    }

    async fn connect(&mut self) -> Over {
        self.view.is_connected = false;
        let connection = self.link.open(Form::Library);
        let topic = Watched { collection: self.view.collection.to_owned() };
        let introduction = Introduction::new(connection.clone(), topic);
        let first = First { filters: Some(self.view.filter.clone()), ..First::default() };
        let conversation = Known { introduction, first: Some(first) };
        let peer = Peer::start(connection, conversation, Pace::limited());
        self.link.attend(peer, &mut self.view).await
    }
}

/// A socket whose client needs no key: it begins at once, while its peer reads already.
struct Known {
    introduction: Introduction<Watched>,
    first: Option<First>,
}

enum News<N> {
    Begin,
    Other(N),
}

impl Conversation for Known {
    type News = News<<Introduction<Watched> as Conversation>::News>;

    async fn hear(&mut self, text: String) -> Result<(), End> {
        self.introduction.hear(text).await
    }

    async fn serve(&mut self) -> Self::News {
        if self.first.is_some() { News::Begin } else { News::Other(self.introduction.serve().await) }
    }

    async fn react(&mut self, news: Self::News) -> Result<(), End> {
        match (news, self.first.take()) {
            (News::Other(news), _) => self.introduction.react(news).await,
            (News::Begin, first) => self.introduction.begin(principal(), first.unwrap()).await,
        }
    }

    fn beat(&mut self) -> Option<String> {
        self.introduction.beat()
    }
}

impl Dialect for Known {
    fn is_known(&self) -> bool {
        true
    }

    fn late(&self) -> End {
        self.introduction.late()
    }

    fn hear_binary(&mut self) -> Result<(), End> {
        self.introduction.hear_binary()
    }

    fn closed(&self, reason: CloseReason) -> End {
        self.introduction.closed(reason)
    }
}

impl View {
    /// Fails unless the view is what the model has.
    pub fn compare(&self) {
        let model = self.list();
        assert!(self.is_connected, "a watcher is not connected at the end");
        assert!(
            self.documents == model,
            "the view of a watcher of {} with {} is {:?}, and the model is {:?}",
            self.collection,
            self.filter,
            short(&self.documents),
            short(&model)
        );
    }

    fn list(&self) -> BTreeMap<String, String> {
        self.log.documents(self.collection, &parse_value(self.filter.clone(), Typing::Text).unwrap())
    }

    fn apply(&mut self, event: &Value) {
        let (kind, document) = (event["event"].as_str().unwrap().to_owned(), &event["data"]);
        assert_eq!(document, &event["document"], "both members are the document");
        let id = document["id"].as_str().unwrap().to_owned();
        let written = document["data"]["written"].as_u64().unwrap();
        if let Some(before) = event.get("old_data") {
            assert_eq!(before["written"], json!(written - 1), "an update's image is the next one: {event}");
        }
        // On one connection each document's events fit together, whatever the list had.
        let before = self.seen.insert(id.clone(), (kind.clone(), written));
        let fits = match (kind.as_str(), before.as_ref().map(|(kind, written)| (kind.as_str(), *written))) {
            (_, None) => true,
            ("create", Some((before, _))) => before == "delete",
            ("update", Some((before, last))) => before != "delete" && written == last + 1,
            ("delete", Some((before, last))) => before != "delete" && written == last,
            _ => false,
        };
        assert!(fits, "an event was missed or came twice: {before:?}, and then {kind} {written} of {id}");
        match kind.as_str() {
            "delete" => self.documents.remove(&id),
            _ => self.documents.insert(id, document["data"].to_string()),
        };
    }
}

impl Listener for View {
    fn take(&mut self, heard: Heard) -> Result<(), Unusable> {
        let message = heard.json();
        if message["error"].is_string() {
            return Err(Unusable);
        }
        if message["event"] == "connected" {
            assert!(!self.is_connected, "connected twice");
            self.is_connected = true;
            self.seen.clear();
            self.documents = self.list();
            self.is_waiting = !self.log.has_collection(self.collection);
            return Ok(());
        }
        assert!(self.is_connected, "an event before `connected`");
        self.events += 1;
        self.found += u64::from(std::mem::take(&mut self.is_waiting));
        self.apply(&message);
        Ok(())
    }
}

fn short(documents: &BTreeMap<String, String>) -> BTreeMap<&str, String> {
    documents.iter().map(|(id, data)| (id.as_str(), data.chars().take(60).collect())).collect()
}
