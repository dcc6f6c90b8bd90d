//! Convergence under everything at once. Writers change random documents, subscribers use random filters on either
//! transport, connections are cut at random moments, and the server is killed with `kill -9` again and again. After each
//! restart, every view must equal the list at its cursor. No event may be missing, repeated or out of order.
//!
//! `COIR_TEST_CONVERGENCE_RESTARTS` sets how often the server is killed. If it is unset, the server is killed 3 times, with
//! a quarter of the full test's 32 writers and 64 subscribers.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use coir_client::Counts;
use futures_util::future::join_all;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Dice, Replica, SECRET_KEY, TestSocket, TestStream, dice, path_with,
    postgres::{self, find_free_port},
    process::Process,
    replica::shown,
    sequence_of,
    socket::PATIENCE,
};

const DOCUMENTS: usize = 300;
const GROUPS: usize = 4;

/// The size of one run.
#[derive(Clone, Copy)]
struct Size {
    restarts: usize,
    writers: usize,
    subscribers: usize,
    /// The least number of acknowledged writes between two restarts.
    writes: usize,
}

/// One subscription, with the view that its messages built.
struct Subscriber {
    filters: Value,
    replica: Replica,
}

/// One connection: an event stream with one subscription, or a WebSocket with several.
struct Peer {
    number: usize,
    is_stream: bool,
    subscribers: Vec<Subscriber>,
    dice: Dice,
    link: Option<Link>,
    cuts: usize,
}

enum Link {
    Socket(Box<TestSocket>),
    Stream(Box<TestStream>),
}

impl Peer {
    /// Opens the connection unless it is open, and resumes each subscription at its cursor. Returns false if the server is
    /// down.
    async fn connect(&mut self, http: &Client, url: &str) -> bool {
        if self.link.is_some() {
            return true;
        }
        for subscriber in &mut self.subscribers {
            // Some subscribers lose their state, as a reloaded web page does.
            if self.dice.under(5) == 0 {
                subscriber.replica.restart();
            }
            subscriber.replica.reconnect();
        }
        self.link = match self.is_stream {
            true => open_stream(http, url, &self.subscribers[0])
                .await
                .map(|stream| Link::Stream(Box::new(stream))),
            false => open_socket(url, &self.subscribers).await.map(|socket| Link::Socket(Box::new(socket))),
        };
        self.link.is_some()
    }

    /// Takes the next message. Returns false if the connection has ended.
    async fn take_next(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let is_open = match link {
            Link::Stream(stream) => match stream.try_next_block().await {
                Some(block) => {
                    self.subscribers[0].replica.take_block(&block);
                    true
                }
                None => false,
            },
            Link::Socket(socket) => match socket.try_next().await {
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

    /// Follows its subscriptions until the server is down, and cuts the connection at random moments.
    async fn follow(mut self, http: Client, url: String) -> Self {
        while self.connect(&http, &url).await {
            // A small limit cuts some connections in the middle of a snapshot.
            let most = [10, 600][self.dice.under(2)];
            for _ in 0..1 + self.dice.under(most) {
                if !self.take_next().await {
                    break;
                }
            }
            if self.link.take().is_some() {
                self.cuts += 1;
            }
        }
        self
    }

    /// Follows its subscriptions until each is at `until` or later. It reconnects when the connection ends, because a busy
    /// machine may be silent for too long.
    async fn settle(mut self, http: Client, url: String, until: i64) -> Self {
        let settle = async {
            while self.subscribers.iter().any(|subscriber| subscriber.replica.sequence() < Some(until)) {
                if self.connect(&http, &url).await {
                    self.take_next().await;
                }
            }
        };
        tokio::time::timeout(5 * PATIENCE, settle)
            .await
            .expect("the subscriptions did not reach the last sequence in time");
        self
    }
}

async fn open_stream(http: &Client, url: &str, subscriber: &Subscriber) -> Option<TestStream> {
    let filters = subscriber.filters.to_string();
    let path = path_with("/realtime/sse/posts", &[("filters", &filters), ("snapshot", "true")]);
    loop {
        let mut request = http.get(format!("{url}{path}")).bearer_auth(SECRET_KEY);
        if let Some(cursor) = subscriber.replica.cursor() {
            request = request.header("Last-Event-ID", cursor);
        }
        let response = request.send().await.ok()?;
        if !is_busy(response.status()) {
            return Some(TestStream::of(response));
        }
    }
}

/// Whether the server refused or gave up on the request because it, or the machine, is overloaded.
fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::SERVICE_UNAVAILABLE
}

async fn open_socket(url: &str, subscribers: &[Subscriber]) -> Option<TestSocket> {
    let mut socket = TestSocket::try_connect(&format!("{}/realtime", url.replace("http", "ws"))).await?;
    let mut is_sent = socket.try_send(json!({ "type": "auth", "token": SECRET_KEY })).await;
    for (id, subscriber) in subscribers.iter().enumerate() {
        let subscribe = json!({
            "type": "subscribe", "id": id.to_string(), "collection": "posts", "filters": subscriber.filters,
            "since": subscriber.replica.cursor(), "snapshot": true,
        });
        is_sent = is_sent && socket.try_send(subscribe).await;
    }
    is_sent.then_some(socket)
}

/// Creates, updates and deletes random documents until the server is down.
async fn write(http: Client, url: String, mut dice: Dice, acknowledged: impl Fn()) {
    loop {
        let id = format!("{:03}", dice.under(DOCUMENTS));
        let mut body = json!({ "group": dice.under(GROUPS), "n": dice.under(1000) });
        match dice.under(4) {
            0 => body["flag"] = json!(dice.under(2) == 0),
            1 => body["flag"] = Value::Null,
            _ => {}
        }
        let (method, path) = match dice.under(10) {
            0 | 1 => (Method::DELETE, format!("/{id}")),
            2 | 3 => (Method::PUT, format!("/{id}")),
            4 => (Method::POST, String::new()),
            _ => (Method::PATCH, format!("/{id}")),
        };
        let request = http.request(method, format!("{url}/collections/posts{path}")).bearer_auth(SECRET_KEY);
        let Ok(answer) = request.json(&body).send().await else { return };
        let status = answer.status();
        assert!(status.is_success() || status == 404 || is_busy(status), "{status}");
        if answer.bytes().await.is_err() {
            return;
        }
        if status.is_success() {
            acknowledged();
        }
    }
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

fn peers(size: Size, dice: &mut Dice) -> Vec<Peer> {
    let (mut peers, mut left) = (Vec::new(), size.subscribers);
    while left > 0 {
        let is_stream = dice.under(3) == 0;
        let count = if is_stream { 1 } else { left.min(1 + dice.under(4)) };
        left -= count;
        let subscribers =
            (0..count).map(|_| Subscriber { filters: filters(dice), replica: Replica::default() }).collect();
        peers.push(Peer {
            number: peers.len(),
            is_stream,
            subscribers,
            dice: dice.split(),
            link: None,
            cuts: 0,
        });
    }
    peers
}

/// Lists the matching documents. Also returns the sequence that the list is as of.
async fn list(http: &Client, url: &str, filters: &Value) -> (BTreeMap<String, Value>, i64) {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let path = path_with("/collections/posts", &[("filters", &filters.to_string()), ("limit", "1000")]);
        let answer = http.get(format!("{url}{path}{after}")).bearer_auth(SECRET_KEY).send().await.unwrap();
        if is_busy(answer.status()) {
            continue;
        }
        let page: Value = answer.json().await.unwrap();
        all.extend(page["data"].as_array().unwrap().iter().map(shown));
        match page["nextCursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return (all, sequence_of(page["cursor"].as_str().unwrap())),
        }
    }
}

/// Compares every view with the list and returns the number of views. Returns `None` if a change arrived meanwhile, since
/// the database may still finish a commit of the killed server.
async fn compare(http: &Client, url: &str, peers: &[Peer], until: i64) -> Option<usize> {
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

/// Runs `act` on every peer, each in its own task, so that no peer waits for another.
fn each<F: Future<Output = Peer> + Send + 'static>(
    peers: Vec<Peer>,
    act: impl FnMut(Peer) -> F,
) -> impl Future<Output = Vec<Peer>> {
    let tasks: Vec<_> = peers.into_iter().map(act).map(tokio::spawn).collect();
    async { join_all(tasks).await.into_iter().map(Result::unwrap).collect() }
}

async fn start(database_url: &str, port: u16) -> Process {
    let (database_url, listen) = (database_url.to_owned(), format!("127.0.0.1:{port}"));
    let settings = [("COIR_HEARTBEAT_SECONDS", "1")];
    tokio::task::spawn_blocking(move || Process::start_with(&database_url, &listen, &settings)).await.unwrap()
}

async fn claim(database_url: String) {
    let restarts = dice::setting("COIR_TEST_CONVERGENCE_RESTARTS", 3);
    let size = match env::var("COIR_TEST_CONVERGENCE_RESTARTS") {
        Ok(_) => Size { restarts, writers: 32, subscribers: 64, writes: 1500 },
        Err(_) => Size { restarts, writers: 8, subscribers: 16, writes: 400 },
    };
    let mut dice = Dice::new(dice::seed("convergence"));
    let port = find_free_port();
    let mut server = start(&database_url, port).await;
    let (url, http) = (server.url.clone(), Client::new());
    let made = http.post(format!("{url}/collections")).bearer_auth(SECRET_KEY);
    // Snapshots filtered by `group` use this index; the others scan the collection.
    let made = made.json(&json!({ "name": "posts", "indexes": [{ "fields": ["group"] }] }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let mut peers = peers(size, &mut dice);
    let (writes, mut comparisons, mut changes) = (Arc::new(AtomicUsize::new(0)), 0, 0);
    for _ in 0..size.restarts {
        // The kill comes after a random number of writes.
        let target = writes.load(Ordering::Relaxed) + size.writes + dice.under(size.writes);
        let (is_time, mut time_to_kill) = tokio::sync::mpsc::channel(1);
        let count = writes.clone();
        let acknowledged = move || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == target {
                is_time.try_send(()).unwrap();
            }
        };
        let write = |_| tokio::spawn(write(http.clone(), url.clone(), dice.split(), acknowledged.clone()));
        let writers: Vec<_> = (0..size.writers).map(write).collect();
        let followers = each(peers, |peer| peer.follow(http.clone(), url.clone()));
        time_to_kill.recv().await.unwrap();
        server.kill();
        join_all(writers).await.into_iter().for_each(Result::unwrap);
        peers = followers.await;

        server = start(&database_url, port).await;
        comparisons += loop {
            (_, changes) = list(&http, &url, &json!({})).await;
            peers = each(peers, |peer| peer.settle(http.clone(), url.clone(), changes)).await;
            if let Some(compared) = compare(&http, &url, &peers, changes).await {
                break compared;
            }
        };
    }
    let all = || peers.iter().flat_map(|peer| &peer.subscribers);
    let sum =
        |count: fn(&Counts) -> u64| all().map(|subscriber| count(&subscriber.replica.counts())).sum::<u64>();
    eprintln!(
        "{} restarts with kill -9, {} writers, {} subscribers on {} connections: {changes} changes, {} cuts, {} events, \
         {} snapshots, {} resyncs, {comparisons} views compared with the list",
        size.restarts,
        size.writers,
        all().count(),
        peers.len(),
        peers.iter().map(|peer| peer.cuts).sum::<usize>(),
        sum(|counts| counts.events),
        sum(|counts| counts.snapshots),
        sum(|counts| counts.resyncs),
    );
    assert_eq!(sum(|counts| counts.resyncs), 0, "nothing was pruned, so every cursor can be resumed");
    drop(peers);
    assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
}

mod every_view_is_the_list_at_its_cursor_whatever_was_cut_or_killed {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn on_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        claim(format!("sqlite://{}", directory.path().join("coir.db").display())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgres() {
        claim(tokio::task::spawn_blocking(postgres::database_url).await.unwrap()).await;
    }
}
