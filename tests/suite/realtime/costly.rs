//! Subscriptions whose filters take long to match. They slow neither writers nor other projects, and they lose nothing.

use reqwest::Method;
use serde_json::{Value, json};

use super::websocket_connections::run_beside;
use crate::harness::{
    PUBLISHABLE_KEY, SECRET_KEY, TestSocket, TestStream, on_both_databases, process::Process,
    socket::PATIENCE,
};

/// Documents of a batch that takes long to match.
const DOCUMENTS: usize = 1000;

/// Opens 300 subscriptions to `posts` whose 15,000 terms must be asked about each document, and match none.
pub async fn subscribe_costly(url: &str) -> Vec<TestSocket> {
    let mut sockets = Vec::new();
    for socket in 0..3 {
        let url = format!("{}/realtime", url.replace("http", "ws"));
        let mut opened = TestSocket::connect(&*url).await;
        opened.authenticate(PUBLISHABLE_KEY).await;
        for n in 0..100 {
            let bound = |term: usize| 1_000_000 + (socket * 100 + n) * 50 + term;
            let terms: Vec<_> = (0..50).map(|term| json!({ "$not": { "n__lt": bound(term) } })).collect();
            let members = json!({ "filters": { "$or": terms } });
            let answer = opened.subscribe_named(&format!("s{n}"), "posts", members).await;
            assert_eq!(answer["type"], "subscribed", "{answer}");
        }
        sockets.push(opened);
    }
    sockets
}

/// Returns a batch of documents with consecutive numbers. Matching one with the costly filters takes milliseconds.
pub fn batch(first: usize) -> Value {
    let documents: Vec<_> = (first..first + DOCUMENTS).map(|n| json!({ "n": n })).collect();
    json!({ "documents": documents })
}

/// Returns the most memory that a process had, in MiB.
fn peak_mib(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_a_list_repeats_reaches_its_filters_once() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let start = move || Process::start_with(&url, "127.0.0.1:0", &[("COIR_MAX_SUBSCRIPTIONS", "300")]);
    let process = tokio::task::spawn_blocking(start).await.unwrap();
    let client = reqwest::Client::new();
    let create = async |document: Value| {
        let url = format!("{}/collections/posts", process.url);
        let answer = client.post(url).bearer_auth(SECRET_KEY).json(&document).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    create(json!({})).await;
    let mut socket = TestSocket::connect(&format!("{}/realtime", process.url.replace("http", "ws"))).await;
    socket.authenticate(PUBLISHABLE_KEY).await;
    for n in 0..250 {
        let filters = json!({ "tags__array_contains": 1, "n__ne": 7, "m__ne": n });
        let answer = socket.subscribe_named(&n.to_string(), "posts", json!({ "filters": filters })).await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
    }
    let last = socket.subscribe_named("last", "posts", json!({ "filters": { "last": true } })).await;
    assert_eq!(last["type"], "subscribed", "{last}");
    // Another document shows what one of this size takes by itself.
    let document = |tag: u32| json!({ "n": 7, "tags": vec![tag; 400_000] });
    create(document(2)).await;
    let before = peak_mib(&process);
    create(document(1)).await;
    create(json!({ "last": true })).await;
    // No filter matches the large ones, but 250 were asked.
    assert_eq!(socket.next().await["id"], "last");
    let grown = peak_mib(&process) - before;
    assert!(grown < 300, "{grown} MiB");
    drop(socket);
    let mut process = process;
    assert!(tokio::task::spawn_blocking(move || process.terminate()).await.unwrap());
}

/// A change that has waited for matching for a second is given up with those behind it, and the log brings them.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_go_on_with_the_log_when_changes_wait_for_over_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let (url, log) =
        (format!("sqlite://{}", directory.path().join("coir.db").display()), directory.path().join("log"));
    let file = std::fs::File::create(&log).unwrap();
    let process = tokio::task::spawn_blocking(move || Process::start_logged(&url, file)).await.unwrap();
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{}/collections/posts{path}", process.url)).bearer_auth(SECRET_KEY);
        assert_eq!(request.json(&body).send().await.unwrap().status(), 201);
    };
    post("", json!({ "n": -1 })).await;
    let request = client.get(format!("{}/realtime/sse/posts?n__gte=0", process.url)).bearer_auth(SECRET_KEY);
    let mut stream = TestStream::open(request).await;
    stream.opened().await;
    let costly = subscribe_costly(&process.url).await;
    for first in [0, DOCUMENTS, 2 * DOCUMENTS] {
        post("/batch", batch(first)).await;
    }
    for n in 0..3 * DOCUMENTS {
        assert_eq!(stream.next_event().await.json()["document"]["data"]["n"], n);
    }
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("matching takes too long in project"), "{told}");
    // The hub sends what comes later.
    drop(costly);
    post("", json!({ "n": 3 * DOCUMENTS })).await;
    assert_eq!(stream.next_event().await.json()["document"]["data"]["n"], 3 * DOCUMENTS);
}

on_both_databases! {
    async fn a_project_that_takes_long_to_match_delays_no_writer_and_no_other_project(app: &TestApp) {
        let words = run_beside(app, &["projects", "create", "other", "--open"]).await;
        let other_key = words.iter().find(|word| word.starts_with("sk_")).unwrap();
        let create_other = async |n: usize| {
            let request = app.request_as(other_key, Method::POST, "/collections/posts").json(&json!({ "n": n }));
            assert_eq!(app.send(request).await.status, 201);
        };
        create_other(0).await;
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut all = app.stream("/realtime/sse/posts", None).await;
        all.opened().await;
        let mut other = TestStream::open(app.request_as(other_key, Method::GET, "/realtime/sse/posts")).await;
        other.opened().await;
        let costly = subscribe_costly(&app.url).await;

        for first in [0, DOCUMENTS] {
            let write = app.post("/collections/posts/batch", batch(first));
            let answer = tokio::time::timeout(PATIENCE, write).await.expect("a write waits for matching");
            assert_eq!(answer.status, 201, "{answer:?}");
        }
        tokio::time::timeout(PATIENCE, create_other(1)).await.expect("a write to another project waits");
        assert_eq!(other.next_event().await.json()["document"]["data"]["n"], 1);
        // A subscription of the other project begins as well.
        let mut later = TestStream::open(app.request_as(other_key, Method::GET, "/realtime/sse/posts")).await;
        later.opened().await;
        create_other(2).await;
        for stream in [&mut other, &mut later] {
            assert_eq!(stream.next_event().await.json()["document"]["data"]["n"], 2);
        }
        // In the project itself every change comes, in order.
        for n in 0..2 * DOCUMENTS {
            assert_eq!(all.next_event().await.json()["document"]["data"]["n"], n);
        }
        drop(costly);
        app.create("posts", json!({ "n": "last" })).await;
        assert_eq!(all.next_event().await.json()["document"]["data"]["n"], "last");
    }

    async fn a_revoked_key_ends_its_streams_while_filters_take_long_to_match(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let words = run_beside(app, &["keys", "create", "publishable"]).await;
        let key = words.iter().find(|word| word.starts_with("pk_")).unwrap();
        let mut stream = TestStream::open(app.request_as(key, Method::GET, "/realtime/sse/posts?n=-1")).await;
        stream.opened().await;
        let costly = subscribe_costly(&app.url).await;
        for first in [0, DOCUMENTS] {
            app.post("/collections/posts/batch", batch(first)).await;
        }
        run_beside(app, &["keys", "revoke", key]).await;
        let ended = async { while stream.try_next_block().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("the stream of a revoked key goes on");
        drop(costly);
    }
}
