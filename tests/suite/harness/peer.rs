//! Subscribers of the collection `posts` that resume where they were cut, on any node, and whose views are compared with the
//! list.

use std::collections::BTreeMap;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::{Dice, Replica, SECRET_KEY, TestSocket, TestStream, path_with, replica::shown, sequence_of};

/// The values of `group` that the filters of [`peers`] ask for: 0 and so on.
pub const GROUPS: usize = 4;

/// One subscription, with the view that its messages built.
pub struct Subscriber {
    pub filters: Value,
    pub replica: Replica,
}

/// One connection: an event stream with one subscription, or a WebSocket with several.
pub struct Peer {
    pub number: usize,
    pub is_stream: bool,
    pub subscribers: Vec<Subscriber>,
    pub dice: Dice,
    link: Option<Link>,
}

/// What came of [`Peer::connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    Open,
    /// The server is there, and has no room or no database.
    Busy,
    Down,
}

enum Link {
    Socket(Box<TestSocket>),
    Stream(Box<TestStream>),
}

impl Peer {
    /// Opens the connection unless it is open, and resumes each subscription at its cursor.
    pub async fn connect(&mut self, http: &Client, url: &str) -> Connected {
        if self.link.is_some() {
            return Connected::Open;
        }
        for subscriber in &mut self.subscribers {
            // Some subscribers lose their state, as a reloaded web page does.
            if self.dice.under(5) == 0 {
                subscriber.replica.restart();
            }
            subscriber.replica.reconnect();
        }
        let opened = match self.is_stream {
            true => open_stream(http, url, &self.subscribers[0]).await,
            false => open_socket(url, &self.subscribers).await,
        };
        match opened {
            Ok(link) => {
                self.link = Some(link);
                Connected::Open
            }
            Err(why) => why,
        }
    }

    /// Takes the next message. Returns false if the connection has ended.
    ///
    /// A server that can't ask its database ends a stream with `OVERLOADED`; the client comes back. Dropping the future loses
    /// no message.
    pub async fn take_next(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let is_open = match link {
            Link::Stream(stream) => match stream.try_next_block().await {
                Some(block) if block.event.as_deref() == Some("error") => must_be_overload(&block.json()),
                Some(block) => {
                    self.subscribers[0].replica.take_block(&block);
                    true
                }
                None => false,
            },
            Link::Socket(socket) => match socket.try_next().await {
                Some(message) if message["type"] == "error" => must_be_overload(&message),
                Some(message) => {
                    let id: usize = message["id"].as_str().unwrap().parse().unwrap();
                    self.subscribers[id].replica.take(&message);
                    true
                }
                None => false,
            },
        };
        if !is_open {
            self.link = None;
        }
        is_open
    }

    /// Cuts the connection. Returns whether there was one.
    pub fn cut(&mut self) -> bool {
        self.link.take().is_some()
    }

    /// Whether each subscription has everything up to a sequence.
    pub fn is_at(&self, sequence: i64) -> bool {
        self.subscribers.iter().all(|subscriber| subscriber.replica.sequence() >= Some(sequence))
    }
}

/// Makes peers with so many subscriptions together.
pub fn peers(subscribers: usize, dice: &mut Dice) -> Vec<Peer> {
    let (mut peers, mut left) = (Vec::new(), subscribers);
    while left > 0 {
        let is_stream = dice.under(3) == 0;
        let count = if is_stream { 1 } else { left.min(1 + dice.under(4)) };
        left -= count;
        let subscribers =
            (0..count).map(|_| Subscriber { filters: filters(dice), replica: Replica::default() }).collect();
        peers.push(Peer { number: peers.len(), is_stream, subscribers, dice: dice.split(), link: None });
    }
    peers
}

fn filters(dice: &mut Dice) -> Value {
    let group = dice.under(GROUPS);
    match dice.under(6) {
        0 => json!({}),
        1 => json!({ "flag": true }),
        2 => json!({ "flag": null, "group": group }),
        3 => json!({ "group": "nothing" }),
        _ => json!({ "group": group }),
    }
}

/// Whether the server refused or gave up on the request because it, or the machine, is overloaded.
pub fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::SERVICE_UNAVAILABLE
}

/// Returns false, since the connection ends. Fails on any other error.
fn must_be_overload(error: &Value) -> bool {
    assert_eq!(error["code"], "OVERLOADED", "{error}");
    false
}

async fn open_stream(http: &Client, url: &str, subscriber: &Subscriber) -> Result<Link, Connected> {
    let filters = subscriber.filters.to_string();
    let path = path_with("/realtime/sse/posts", &[("filters", &filters), ("snapshot", "true")]);
    let mut request = http.get(format!("{url}{path}")).bearer_auth(SECRET_KEY);
    if let Some(cursor) = subscriber.replica.cursor() {
        request = request.header("Last-Event-ID", cursor);
    }
    let response = request.send().await.map_err(|_| Connected::Down)?;
    match is_busy(response.status()) {
        true => Err(Connected::Busy),
        false => Ok(Link::Stream(Box::new(TestStream::of(response)))),
    }
}

async fn open_socket(url: &str, subscribers: &[Subscriber]) -> Result<Link, Connected> {
    let url = format!("{}/realtime", url.replace("http", "ws"));
    let mut socket = TestSocket::try_connect(&url).await.ok_or(Connected::Down)?;
    let mut is_sent = socket.try_send(json!({ "type": "auth", "token": SECRET_KEY })).await;
    for (id, subscriber) in subscribers.iter().enumerate() {
        let subscribe = json!({
            "type": "subscribe", "id": id.to_string(), "collection": "posts", "filters": subscriber.filters,
            "since": subscriber.replica.cursor(), "snapshot": true,
        });
        is_sent = is_sent && socket.try_send(subscribe).await;
    }
    if is_sent { Ok(Link::Socket(Box::new(socket))) } else { Err(Connected::Down) }
}

/// Lists the matching documents. Also returns the sequence that the list is as of. Asks again while the server is busy.
pub async fn list(http: &Client, url: &str, filters: &Value) -> (BTreeMap<String, Value>, i64) {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let path = path_with("/collections/posts", &[("filters", &filters.to_string()), ("limit", "1000")]);
        let answer = http.get(format!("{url}{path}{after}")).bearer_auth(SECRET_KEY).send().await.unwrap();
        if is_busy(answer.status()) {
            continue;
        }
        let page: Value = answer.json().await.unwrap();
        all.extend(page["data"].as_array().unwrap_or_else(|| panic!("no list: {page}")).iter().map(shown));
        match page["nextCursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return (all, sequence_of(page["cursor"].as_str().unwrap())),
        }
    }
}

/// Compares every view with the list and returns the number of views. Returns `None` if a change arrived meanwhile, since
/// the database may still finish a commit of a killed server.
pub async fn compare(http: &Client, url: &str, peers: &[Peer], until: i64) -> Option<usize> {
    let mut comparisons = 0;
    for peer in peers {
        for subscriber in &peer.subscribers {
            let (mut expected, sequence) = list(http, url, &subscriber.filters).await;
            if (sequence, subscriber.replica.sequence()) != (until, Some(until)) {
                return None;
            }
            let mut documents = subscriber.replica.documents();
            if peer.is_stream {
                // The events of a stream have no versions.
                for document in expected.values_mut().chain(documents.values_mut()) {
                    document.as_object_mut().unwrap().remove("version");
                }
            }
            assert_eq!(documents, expected, "peer {}: {}", peer.number, subscriber.filters);
            comparisons += 1;
        }
    }
    Some(comparisons)
}
