//! The attacks of hostile clients. An attack that is refused, cut or answered with an error begins again.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::harness::{Dice, PUBLISHABLE_KEY, TestSocket};

/// The pause of a client that reads or writes as slowly as it can.
const TRICKLE: Duration = Duration::from_millis(200);
/// The pause between two rounds of an attack that may be refused at once.
const AGAIN: Duration = Duration::from_millis(50);
/// How long an attack waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The attack that one hostile client repeats.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// Removes 100,000 values from a list of 100,000.
    LongRemovals,
    /// Subscribes to many texts, and writes long ones.
    ManyTexts,
    /// Subscribes with alternatives of many distinct fields.
    ManyFields,
    /// Subscribes with texts behind a value that all documents have.
    TextsBehindAnAnchor,
    /// Subscribes with long lists of values.
    LongLists,
    /// Comes back with a cursor from before large documents, and doesn't read.
    Returns,
    /// Exports, and reads a few bytes at a time.
    SlowExports,
    /// Updates large documents in a batch, and doesn't read the answer.
    UnreadAnswers,
    /// Lists large documents, and doesn't read the answer.
    UnreadLists,
    /// Makes a thousand collections at a time.
    ManyCollections,
    /// Counts what no index finds.
    Scans,
    /// Asks with keys that don't exist.
    UnknownKeys,
    /// Writes large documents under idempotency keys.
    StoredOutcomes,
    /// Opens connections that say nothing, or that trickle a head.
    SilentConnections,
    /// Sends the body of a request byte by byte.
    SlowBodies,
    /// Asks for snapshots of large documents, and doesn't read.
    Snapshots,
}

const ALL: [Attack; 16] = [
    Attack::LongRemovals,
    Attack::ManyTexts,
    Attack::ManyFields,
    Attack::TextsBehindAnAnchor,
    Attack::LongLists,
    Attack::Returns,
    Attack::SlowExports,
    Attack::UnreadAnswers,
    Attack::UnreadLists,
    Attack::ManyCollections,
    Attack::Scans,
    Attack::UnknownKeys,
    Attack::StoredOutcomes,
    Attack::SilentConnections,
    Attack::SlowBodies,
    Attack::Snapshots,
];

/// The server, as one hostile client sees it.
pub struct Target {
    url: String,
    number: usize,
    http: Client,
    end: Instant,
}

impl Target {
    /// Makes a client, which has connections of its own, and goes on until `end`.
    pub fn new(url: &str, number: usize, end: Instant) -> Self {
        Self { url: url.to_owned(), number, http: Client::new(), end }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(PUBLISHABLE_KEY)
    }

    /// Sends a request and reads its answer.
    async fn send(&self, method: Method, path: &str, body: &Value) {
        self.send_text(method, path, body.to_string().into()).await;
    }

    /// The same with a text that many requests share: making it anew would take the time that is measured.
    async fn send_text(&self, method: Method, path: &str, body: Bytes) {
        let request = self.request(method, path).header("Content-Type", "application/json").body(body);
        let sent = async {
            if let Ok(answer) = request.send().await {
                let _ = answer.bytes().await;
            }
        };
        let _ = timeout(PATIENCE, sent).await;
    }

    /// Connects and sends bytes.
    async fn connect(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut tcp = TcpStream::connect(self.url.trim_start_matches("http://")).await.ok()?;
        tcp.write_all(bytes).await.ok()?;
        Some(tcp)
    }

    /// Sends a request with the publishable key on a connection of its own.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<TcpStream> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PUBLISHABLE_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.connect(format!("{head}{body}").as_bytes()).await
    }

    /// Holds connections and takes a few bytes of each now and then, until the server has cut half of them or the time is
    /// over.
    async fn hold(&self, mut connections: Vec<TcpStream>) {
        let (mut bytes, half) = ([0; 64], connections.len() / 2);
        while !self.is_over() && connections.len() > half {
            let mut open = Vec::new();
            for mut tcp in connections {
                let read = timeout(Duration::from_millis(1), tcp.read(&mut bytes)).await;
                if !matches!(read, Ok(Ok(0) | Err(_))) {
                    open.push(tcp);
                }
            }
            connections = open;
            sleep(TRICKLE).await;
        }
    }

    /// Subscribes on one connection with each filter, and then writes documents for as long as the connection lasts.
    async fn subscribe(&self, filters: impl Iterator<Item = Value>, document: Option<&Value>) {
        let url = format!("{}/realtime", self.url.replace("http", "ws"));
        let Some(mut socket) = TestSocket::try_connect(&url).await else { return };
        let mut messages = vec![json!({ "type": "auth", "token": PUBLISHABLE_KEY })];
        messages.extend(filters.enumerate().map(|(number, filters)| {
            json!({ "type": "subscribe", "id": format!("{number}"), "collection": "hostile", "filters": filters })
        }));
        for message in messages {
            if !socket.try_send(message).await {
                return;
            }
        }
        while !self.is_over() {
            match document {
                Some(document) => self.send(Method::POST, "/collections/hostile", document).await,
                None => sleep(TRICKLE).await,
            }
            // Takes what is there, so that the connection lives.
            while let Ok(message) = timeout(Duration::from_millis(1), socket.try_next()).await {
                if message.is_none() {
                    return;
                }
            }
        }
    }
}

/// A document of 900 kB.
static LARGE_DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| json!({ "text": "x".repeat(900_000) }).to_string().into());
/// Eight of them.
static LARGE_BATCH: LazyLock<Bytes> = LazyLock::new(|| {
    let document = json!({ "text": "x".repeat(900_000) });
    json!({ "documents": vec![document; 8] }).to_string().into()
});
/// A document with a list of 100,000 numbers, and as many to remove from it.
static LONG_LIST: LazyLock<[Bytes; 2]> = LazyLock::new(|| {
    let list = |from: u64| (from..from + 100_000).collect::<Vec<u64>>();
    [json!({ "l": list(0) }), json!({ "$remove": { "l": list(200_000) } })]
        .map(|json| json.to_string().into())
});
/// Subscriptions to 8,100 values each.
static LONG_LISTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let filter = |n: u64| json!({ "k__in": (n * 10_000..n * 10_000 + 8_100).collect::<Vec<_>>() });
    (0..100).map(filter).collect()
});

/// A long text of random words.
fn words(dice: &mut Dice, count: usize) -> String {
    (0..count).map(|_| format!("{:x} ", dice.under(u32::MAX as usize))).collect()
}

impl Attack {
    /// Returns what the client with this number does.
    pub fn of(number: usize) -> Self {
        ALL[number % ALL.len()]
    }

    /// Does it until the time is over.
    pub async fn run(self, target: &Target) {
        let mut dice = Dice::new(target.number as u64);
        while !target.is_over() {
            self.round(target, &mut dice).await;
            sleep(AGAIN).await;
        }
    }

    async fn round(self, target: &Target, dice: &mut Dice) {
        let number = target.number;
        match self {
            Self::LongRemovals => {
                let path = format!("/collections/hostile/list-{number}");
                target.send_text(Method::PUT, &path, LONG_LIST[0].clone()).await;
                target.send_text(Method::PATCH, &path, LONG_LIST[1].clone()).await;
            }
            Self::ManyTexts => {
                let document = json!({ "body": words(dice, 10_000) });
                let filter = |_| {
                    let terms: Vec<_> =
                        (0..40).map(|n| json!({ "body__contains": format!("no such text {n} {}", dice.under(1 << 40)) })).collect();
                    json!({ "$or": terms })
                };
                let filters: Vec<_> = (0..100).map(filter).collect();
                target.subscribe(filters.into_iter(), Some(&document)).await;
            }
            Self::ManyFields => {
                let filter = |_| {
                    let terms: Vec<_> =
                        (0..50).map(|_| json!({ format!("f{}", dice.under(1 << 40)): 1 })).collect();
                    json!({ "$or": terms })
                };
                let filters: Vec<_> = (0..100).map(filter).collect();
                target.subscribe(filters.into_iter(), Some(&json!({ "k": 1 }))).await;
            }
            Self::TextsBehindAnAnchor => {
                let document = json!({ "k": 1, "body": words(dice, 10_000) });
                let filter =
                    |_| json!({ "k": 1, "body__contains": format!("no such text {}", dice.under(1 << 40)) });
                let filters: Vec<_> = (0..100).map(filter).collect();
                target.subscribe(filters.into_iter(), Some(&document)).await;
            }
            Self::LongLists => {
                target.subscribe(LONG_LISTS.iter().cloned(), None).await;
            }
            Self::Returns => {
                let collection = format!("returns-{number}");
                let first = target
                    .request(Method::PUT, &format!("/collections/{collection}/first"))
                    .json(&json!({}))
                    .send();
                let end = timeout(PATIENCE, first).await.ok().and_then(Result::ok);
                let cursor =
                    end.and_then(|end| Some(end.headers().get("x-cursor")?.to_str().ok()?.to_owned()));
                for n in 0..10 {
                    let path = format!("/collections/{collection}/{n}");
                    target.send_text(Method::PUT, &path, LARGE_DOCUMENT.clone()).await;
                }
                let header = cursor.map(|cursor| format!("Last-Event-ID: {cursor}\r\n")).unwrap_or_default();
                let mut connections = Vec::new();
                for _ in 0..50 {
                    let path = format!("/realtime/sse/{collection}");
                    connections.extend(target.ask("GET", &path, &header, "").await);
                }
                target.hold(connections).await;
            }
            Self::SlowExports => {
                let mut connections = Vec::new();
                for _ in 0..10 {
                    let path = "/collections/hostile/export?format=ndjson";
                    connections.extend(target.ask("GET", path, "", "").await);
                }
                target.hold(connections).await;
            }
            Self::UnreadAnswers => {
                let ids: Vec<_> = (0..8).map(|n| format!("{number}-{n}")).collect();
                for id in &ids {
                    target
                        .send_text(Method::PUT, &format!("/collections/large/{id}"), LARGE_DOCUMENT.clone())
                        .await;
                }
                let updates: serde_json::Map<_, _> =
                    ids.into_iter().map(|id| (id, json!({ "n": dice.under(1000) }))).collect();
                let body = json!({ "updates": updates }).to_string();
                let mut connections = Vec::new();
                for _ in 0..20 {
                    connections.extend(target.ask("PATCH", "/collections/large/batch", "", &body).await);
                }
                target.hold(connections).await;
            }
            Self::UnreadLists => {
                let mut connections = Vec::new();
                for _ in 0..20 {
                    connections.extend(target.ask("GET", "/collections/large?limit=1000", "", "").await);
                }
                target.hold(connections).await;
            }
            Self::ManyCollections => {
                let create = |_| {
                    let collection = format!("c{:x}", dice.under(1 << 60));
                    json!({ "op": "create", "collection": collection, "data": {} })
                };
                let operations: Vec<_> = (0..1000).map(create).collect();
                target.send(Method::POST, "/transactions", &json!({ "operations": operations })).await;
            }
            Self::Scans => {
                let path =
                    format!("/collections/hostile/query/count?body__contains={:x}", dice.under(1 << 40));
                let nothing = Value::Null;
                let scan = || target.send(Method::GET, &path, &nothing);
                tokio::join!(scan(), scan(), scan(), scan(), scan(), scan(), scan(), scan());
            }
            Self::UnknownKeys => {
                let key = format!("pk_{:016x}{:016x}", dice.under(usize::MAX), number);
                let request = target.http.get(format!("{}/collections/hostile", target.url)).bearer_auth(key);
                let _ = timeout(PATIENCE, request.send()).await;
            }
            Self::StoredOutcomes => {
                let key = format!("{number}-{}", dice.under(usize::MAX));
                let request =
                    target.request(Method::POST, "/collections/large/batch").header("Idempotency-Key", key);
                let request = request.header("Content-Type", "application/json").body(LARGE_BATCH.clone());
                let _ = timeout(PATIENCE, request.send()).await;
            }
            Self::SilentConnections => {
                let mut connections = Vec::new();
                for n in 0..100 {
                    let head: &[u8] = if n % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nHost: lo" };
                    connections.extend(target.connect(head).await);
                }
                target.hold(connections).await;
            }
            Self::SlowBodies => {
                let mut connections = Vec::new();
                for _ in 0..20 {
                    let head = format!(
                        "POST /collections/hostile HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PUBLISHABLE_KEY}\r\n\
                         Content-Type: application/json\r\nContent-Length: 8000000\r\n\r\n{}",
                        "[".repeat(100_000)
                    );
                    connections.extend(target.connect(head.as_bytes()).await);
                }
                target.hold(connections).await;
            }
            Self::Snapshots => {
                let mut connections = Vec::new();
                for _ in 0..50 {
                    connections.extend(target.ask("GET", "/realtime/sse/large?snapshot=true", "", "").await);
                }
                target.hold(connections).await;
            }
        }
    }
}
