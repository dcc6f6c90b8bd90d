//! The doors that tell a caller of changes.
//!
//! A server changes all documents twice, in the same order. A stream that shows a document too many shows it before one that is
//! expected, so that nothing has to be waited for that does not come.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, Cell, Row, Run, World, reads, without};
use crate::harness::{TestApp, TestSocket, TestStream};

type Events = Result<Vec<(String, Value)>, u16>;

struct Watching {
    socket: TestSocket,
    live: Option<TestStream>,
    by_ticket: Option<TestStream>,
    cocobase: Option<TestSocket>,
}

pub async fn try_doors(app: &TestApp, world: &World, callers: &[Caller], rows: &[&Row], run: &mut Run) {
    let set = &world.set;
    let cells_of = |place: usize| -> BTreeMap<String, Cell> {
        rows.iter().map(|row| (row.id.clone(), row.cells[place].clone())).collect()
    };
    let cursor = app.get(&format!("/collections/{set}")).await.body["cursor"].as_str().unwrap().to_owned();
    let mut watching = Vec::new();
    for (place, caller) in callers.iter().enumerate() {
        let expected = reads::expected(world, &cells_of(place));
        watching.push(Watching::begin(app, set, caller, &expected, run).await);
    }
    for touch in 0..2 {
        for id in world.documents.keys() {
            let answer = app.patch(&format!("/collections/{set}/{id}"), json!({ "touched": touch })).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    app.put(&format!("/collections/fence_{set}/f"), json!({})).await;
    for (place, (caller, mut watching)) in callers.iter().zip(watching).enumerate() {
        let cells = cells_of(place);
        let seen = reads::expected(world, &cells);
        let expected: Events = seen.map(|_| {
            let twice = (0..2).flat_map(|touch| cells.iter().map(move |(id, cell)| (touch, id, cell)));
            let shown = twice.filter_map(|(touch, id, cell)| match cell {
                Cell::Yes(hidden) => {
                    let mut data = without(&world.documents[id], hidden);
                    data["touched"] = json!(touch);
                    Some((id.clone(), data))
                }
                Cell::No(_) => None,
            });
            shown.collect()
        });
        let told = |door: &str| format!("{set} | read | {} | {door}", caller.name);
        let found = watching.plain(set).await;
        run.compare("WebSocket", &told("WebSocket"), &expected.clone().unwrap_or_default(), &found);
        let count = expected.as_ref().map(Vec::len);
        for (door, stream) in [("SSE", &mut watching.live), ("SSE by ticket", &mut watching.by_ticket)] {
            if let (Some(stream), Ok(count)) = (stream, count) {
                run.compare(door, &told(door), &expected, &Ok(read(stream, count).await));
            }
        }
        if let (Some(socket), Ok(count)) = (&mut watching.cocobase, count) {
            let mut found = Vec::new();
            while found.len() < count {
                found.push(shown(&socket.next().await["data"]));
            }
            run.compare("Cocobase watch", &told("Cocobase watch"), &expected, &Ok(found));
        }
        replay(app, set, caller, &cursor, &expected, run).await;
    }
}

fn shown(document: &Value) -> (String, Value) {
    (document["id"].as_str().unwrap_or_else(|| panic!("{document}")).to_owned(), document["data"].clone())
}

async fn read(stream: &mut TestStream, count: usize) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while found.len() < count {
        found.push(shown(&stream.next_event().await.json()["document"]));
    }
    found
}

async fn open(app: &TestApp, caller: &Caller) -> TestSocket {
    let mut socket = app.anonymous_socket().await;
    let mut auth = json!({ "type": "auth", "token": caller.key });
    if let Some((token, _)) = &caller.user {
        auth["user"] = json!(token);
    }
    socket.send(auth).await;
    socket
}

/// Opens a stream, or returns the status of the refusal.
async fn stream(request: reqwest::RequestBuilder) -> Result<TestStream, u16> {
    let response = request.send().await.unwrap();
    match response.status().as_u16() {
        200 => Ok(TestStream::of(response)),
        status => Err(status),
    }
}

impl Watching {
    /// Opens every live stream. What is refused is compared at once.
    async fn begin(app: &TestApp, set: &str, caller: &Caller, expected: &reads::View, run: &mut Run) -> Self {
        let told = |door: &str| format!("{set} | read | {} | {door}", caller.name);
        let mut socket = open(app, caller).await;
        let params = caller.params.clone().unwrap_or(json!({}));
        let snapshot = json!({ "snapshot": true, "params": params });
        let first = socket.subscribe_named("n", set, snapshot).await;
        let found = if first["type"] == "error" {
            assert_eq!(first["code"], "FORBIDDEN", "{first}");
            Err(403)
        } else {
            let mut documents = BTreeMap::new();
            let mut message = first;
            while message["type"] != "ready" {
                if message["type"] == "snapshot" {
                    documents.extend(reads::documents(&message["documents"]));
                }
                message = socket.next().await;
            }
            socket.send(json!({ "type": "unsubscribe", "id": "n" })).await;
            Ok(documents)
        };
        run.compare("snapshot", &told("snapshot"), expected, &found);
        socket.send(json!({ "type": "subscribe", "collection": format!("fence_{set}") })).await;
        socket.send(json!({ "type": "subscribe", "collection": set, "params": params })).await;
        socket.send(json!({ "type": "ping" })).await;
        let mut is_refused = false;
        loop {
            let message = socket.next().await;
            is_refused |= message["code"] == "FORBIDDEN";
            if message["type"] == "pong" {
                break;
            }
        }
        run.compare("WebSocket", &told("subscribe"), &expected.is_err(), &is_refused);

        let mut streams = Vec::new();
        let ticket = caller.ask(app, Method::POST, "/realtime/tickets", Some(json!({}))).await;
        let ticket = ticket.data()["ticket"].as_str().unwrap();
        let mut by_ticket = app.http.get(format!("{}/realtime/sse/{set}?ticket={ticket}", app.url));
        if let Some(params) = &caller.params {
            by_ticket = by_ticket.header("X-Coir-Params", params.to_string());
        }
        let live = caller.request(app, Method::GET, &format!("/realtime/sse/{set}"));
        for (door, request) in [("SSE", live), ("SSE by ticket", by_ticket)] {
            let opened = stream(request).await;
            let refused = opened.as_ref().err().copied();
            run.compare(door, &told(door), &expected.as_ref().err().copied(), &refused);
            let mut opened = opened.ok();
            if let Some(stream) = &mut opened {
                stream.opened().await;
            }
            streams.push(opened);
        }
        let by_ticket = streams.pop().flatten();
        // The client libraries' socket takes neither users nor parameters.
        let mut cocobase = None;
        if caller.user.is_none() && caller.params.is_none() {
            let url = format!("{}/realtime/collections/{set}", app.url.replace("http", "ws"));
            let mut socket = TestSocket::connect(&url).await;
            socket.send(json!({ "api_key": caller.key })).await;
            let is_open = socket.next().await["event"] == "connected";
            run.compare("Cocobase watch", &told("Cocobase watch"), &expected.is_ok(), &is_open);
            cocobase = is_open.then_some(socket);
        }
        Self { socket, live: streams.pop().flatten(), by_ticket, cocobase }
    }

    /// Returns the events of the plain subscription.
    async fn plain(&mut self, set: &str) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        loop {
            let message = self.socket.next().await;
            if message["collection"] == format!("fence_{set}") {
                return found;
            }
            if message["type"] == "event" {
                found.push(shown(&message["document"]));
            }
        }
    }
}

/// Comes back with a cursor from before the changes.
async fn replay(app: &TestApp, set: &str, caller: &Caller, cursor: &str, expected: &Events, run: &mut Run) {
    let told = |door: &str| format!("{set} | read | {} | {door}", caller.name);
    let mut socket = open(app, caller).await;
    let params = caller.params.clone().unwrap_or(json!({}));
    let first = socket.subscribe_named("r", set, json!({ "since": cursor, "params": params })).await;
    let found = match expected {
        _ if first["type"] == "error" => Err(403),
        Err(_) => Ok(vec![(first.to_string(), Value::Null)]),
        Ok(events) => {
            let mut found = Vec::new();
            while found.len() < events.len() {
                let message = socket.next().await;
                if message["type"] == "event" {
                    found.push(shown(&message["document"]));
                }
            }
            Ok(found)
        }
    };
    run.compare("replay", &told("replay"), expected, &found);
    let request =
        caller.request(app, Method::GET, &format!("/realtime/sse/{set}")).header("Last-Event-ID", cursor);
    let found = match (stream(request).await, expected) {
        (Ok(mut stream), Ok(events)) => Ok(read(&mut stream, events.len()).await),
        (Ok(_), Err(_)) => Ok(Vec::new()),
        (Err(status), _) => Err(status),
    };
    run.compare("SSE replay", &told("SSE replay"), expected, &found);
}
