//! `kill -9` in the middle of transactions and batches. After the restart each one is stored as a whole or not at all, and
//! so are its events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future;
use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{
    SECRET_KEY, Sql, TestStream, View, list_all,
    postgres::{self, find_free_port},
    process::Process,
};

const CLIENTS: usize = 8;
const KILLS: usize = 3;
/// How many documents each transaction creates in the collection that the stream watches.
const PARTS: usize = 20;

async fn start(database_url: &str, port: u16) -> Process {
    let (database_url, listen) = (database_url.to_owned(), format!("127.0.0.1:{port}"));
    tokio::task::spawn_blocking(move || Process::start(&database_url, &listen)).await.unwrap()
}

async fn post(http: &Client, url: &str, path: &str, body: &Value) -> Option<Value> {
    let sent = http.post(format!("{url}{path}")).bearer_auth(SECRET_KEY).json(body).send().await;
    let answer: Value = serde_json::from_str(&sent.ok()?.text().await.ok()?).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
    Some(answer)
}

/// Sends transactions until the server is down. Returns the steps that were acknowledged.
async fn transact(
    http: &Client,
    url: &str,
    client: usize,
    next: &mut usize,
    acknowledged: &impl Fn(),
) -> Vec<usize> {
    let mut done = Vec::new();
    loop {
        let step = *next;
        *next += 1;
        let data = json!({ "client": client, "step": step });
        let part = |part: usize| {
            let data = json!({ "client": client, "step": step, "part": part });
            json!({ "op": "create", "collection": "parts", "data": data })
        };
        let counter = json!({ "op": "update", "collection": "counters", "id": client.to_string(), "data": { "$inc": { "n": 1 } } });
        let mut operations = vec![json!({ "op": "create", "collection": "left", "data": data }), counter];
        operations.extend((0..PARTS).map(part));
        operations.push(json!({ "op": "create", "collection": "right", "data": data }));
        if post(http, url, "/transactions", &json!({ "operations": operations })).await.is_none() {
            return done;
        }
        done.push(step);
        acknowledged();
    }
}

/// Returns the steps, as client and number, that have documents in a collection. Each must have exactly `of_each`.
async fn steps(http: &Client, url: &str, collection: &str, of_each: usize) -> BTreeSet<(u64, u64)> {
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    for document in list_all(http, url, collection).await.into_values() {
        let number = |name: &str| document["data"][name].as_u64().unwrap();
        *counts.entry((number("client"), number("step"))).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| *count == of_each),
        "only a part of a transaction is in {collection}: {counts:?}"
    );
    counts.into_keys().collect()
}

async fn open_stream(url: &str, last_event_id: Option<String>) -> TestStream {
    let mut request = Client::new().get(format!("{url}/realtime/sse/parts")).bearer_auth(SECRET_KEY);
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id);
    }
    TestStream::open(request).await
}

async fn claim(database_url: String) {
    let port = find_free_port();
    let mut server = start(&database_url, port).await;
    let (url, http) = (server.url.clone(), Client::new());
    for name in ["left", "right", "parts"] {
        post(&http, &url, "/collections", &json!({ "name": name })).await.unwrap();
    }
    let counters = (0..CLIENTS).map(|client| json!({ "op": "create", "collection": "counters", "id": client.to_string(), "data": { "n": 0 } }));
    post(&http, &url, "/transactions", &json!({ "operations": counters.collect::<Vec<_>>() })).await.unwrap();
    let mut stream = open_stream(&url, None).await;
    stream.opened().await;

    let mut next = [0; CLIENTS];
    let (mut acknowledged, mut view, mut events) = (BTreeSet::new(), View::default(), Vec::new());
    for round in 0..KILLS {
        let (count, target) = (AtomicUsize::new(0), 40 + round * 17);
        let (is_time, mut time_to_kill) = tokio::sync::mpsc::channel(1);
        let one_more = || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == target {
                is_time.try_send(()).unwrap();
            }
        };
        let writing = future::join_all(next.iter_mut().enumerate().map(|(client, next)| {
            let (http, url, one_more) = (&http, &url, &one_more);
            async move { (client, transact(http, url, client, next, one_more).await) }
        }));
        let reading = async {
            while let Some(block) = stream.try_next_block().await {
                view.take(&block);
                events.extend(block.data.is_some().then(|| block.json()["document"]["data"].clone()));
            }
        };
        let killing = async {
            time_to_kill.recv().await.unwrap();
            server.kill();
        };
        let (done, (), ()) = tokio::join!(writing, reading, killing);
        for (client, steps) in done {
            acknowledged.extend(steps.into_iter().map(|step| (client as u64, step as u64)));
        }

        server = start(&database_url, port).await;
        let there = steps(&http, &url, "left", 1).await;
        assert_eq!(steps(&http, &url, "right", 1).await, there);
        assert_eq!(steps(&http, &url, "parts", PARTS).await, there);
        assert!(there.is_superset(&acknowledged), "an acknowledged transaction is lost");
        // Each client may have one more, which committed before the kill but was not answered.
        assert!(there.len() <= acknowledged.len() + CLIENTS);
        for (client, counter) in list_all(&http, &url, "counters").await {
            let own = there.iter().filter(|(own, _)| *own == client.parse::<u64>().unwrap()).count();
            assert_eq!(counter["data"]["n"], own, "client {client}");
        }
        acknowledged = there;
        stream = open_stream(&url, stream.last_event_id).await;
    }

    post(&http, &url, "/collections/parts", &json!({ "client": "last" })).await.unwrap();
    while events.last().is_none_or(|last| last["client"] != "last") {
        let block = stream.next_event().await;
        view.take(&block);
        events.push(block.json()["document"]["data"].clone());
    }
    events.pop();
    let mut seen = BTreeSet::new();
    for transaction in events.chunks(PARTS) {
        let number = |data: &Value, name: &str| data[name].as_u64().unwrap();
        for (part, data) in transaction.iter().enumerate() {
            assert_eq!(
                number(data, "part"),
                part as u64,
                "events of a transaction must be adjacent and in order: {transaction:?}"
            );
            assert_eq!(
                (&data["client"], &data["step"]),
                (&transaction[0]["client"], &transaction[0]["step"])
            );
        }
        seen.insert((number(&transaction[0], "client"), number(&transaction[0], "step")));
    }
    assert_eq!(seen, acknowledged);
    let sequences =
        Sql::connect(&database_url).await.integers("SELECT sequence FROM changes ORDER BY sequence").await;
    assert!(sequences.iter().copied().eq(1..=sequences.len() as i64), "the log has a gap");
    drop(stream);
    assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
}

mod a_transaction_is_there_wholly_or_not_at_all_after_a_kill {
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
