//! Parts of the server that panic, end or hang, in the built binary. Readiness says so, and the process ends with status 1
//! and a sentence that names the part, so that its supervisor starts it again.
//!
//! A debug build lets a part fail when a file says so; `src/supervision/faults.rs` is how. A release can't be asked for that.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::harness::{
    Database, SECRET_KEY, TestStream, fresh_database,
    process::{self, Process},
};

/// The time from a failure to the end of the process: 10 s, and some for a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(16);

/// A client whose requests don't wait for a thread that hangs.
fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(2)).pool_max_idle_per_host(0).build().unwrap()
}

/// The sentence with which a server says that it is not ready.
async fn trouble(url: &str) -> Option<String> {
    let answer = client().get(format!("{url}/health/ready")).send().await.ok()?;
    let is_trouble = answer.status() == 503;
    let body: Value = answer.json().await.ok()?;
    body["error"]["message"].as_str().filter(|_| is_trouble).map(str::to_owned)
}

/// Lets a part of a server fail, and checks that the server says so and ends.
async fn fail(database: Database, how: &str, part: &str) {
    let (url, _directory) = fresh_database(database).await;
    let files = tempfile::tempdir().unwrap();
    let (fault, log) = (files.path().join("fault"), files.path().join("log"));
    let mut command = process::command(&["serve"]);
    command.env("TEST_FAULT_FILE", &fault).env("COIR_WORKERS", "2");
    command.stderr(fs::File::create(&log).unwrap());
    let started = tokio::task::spawn_blocking(move || Process::spawn(command, &url, "127.0.0.1:0"));
    let mut server = started.await.unwrap();
    let url = server.url.clone();
    let create = reqwest::Client::new()
        .post(format!("{url}/collections/posts"))
        .bearer_auth(SECRET_KEY)
        .json(&json!({}));
    assert_eq!(create.send().await.unwrap().status(), 201);
    // Streams on both worker threads, and writes that they hear of.
    let mut streams = Vec::new();
    for _ in 0..4 {
        let request = reqwest::Client::new().get(format!("{url}/realtime/sse/posts")).bearer_auth(SECRET_KEY);
        streams.push(TestStream::open(request).await);
    }
    assert_eq!(reqwest::get(format!("{url}/health/ready")).await.unwrap().status(), 200);

    fs::write(&fault, format!("{how} {part}")).unwrap();
    let begun = Instant::now();
    let ended = tokio::task::spawn_blocking(move || (server.wait(LIMIT), begun.elapsed()));
    let writing = tokio::spawn({
        let url = url.clone();
        async move {
            loop {
                let create = client().post(format!("{url}/collections/posts")).bearer_auth(SECRET_KEY);
                // It may find no server any more.
                let _ = create.json(&json!({})).send().await;
            }
        }
    });
    // One that reaches the part that failed may get no answer, so another follows soon.
    let mut asking = FuturesUnordered::new();
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    let mut said = None;
    while !ended.is_finished() {
        tokio::select! {
            _ = turns.tick() => asking.push(trouble(&url)),
            Some(message) = asking.next() => {
                said = said.or(message.filter(|message| message.contains(part)));
            }
        }
    }
    writing.abort();
    let (status, took) = ended.await.unwrap();
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(status.code(), Some(1), "{how} {part}: {log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("coir: the ") && last.contains(part), "{how} {part}: {log}");
    // Without its HTTP server, nobody can ask for readiness.
    assert!(
        said.is_some() || (how, part) == ("panic", "HTTP server"),
        "{how} {part}: readiness did not say so: {log}"
    );
    println!("{how} {part}: {took:?}, {said:?}");
}

async fn fail_all(database: Database, how: &str, parts: &[&str]) {
    join_all(parts.iter().map(|part| fail(database, how, part))).await;
}

/// Only a debug build can be asked to fail.
fn can_fail() -> bool {
    cfg!(debug_assertions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_panics_ends_the_process() {
    if can_fail() {
        fail_all(Database::Sqlite, "panic", &["writer", "relay", "indexer"]).await;
        fail_all(Database::Sqlite, "panic", &["hub task", "shard", "HTTP server"]).await;
        fail_all(Database::Postgres, "panic", &["writer", "relay", "indexer"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_returns_ends_the_process() {
    if can_fail() {
        fail_all(Database::Sqlite, "end", &["writer", "relay", "indexer"]).await;
        fail_all(Database::Postgres, "end", &["hub task", "shard"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_hangs_ends_the_process() {
    if can_fail() {
        fail_all(Database::Sqlite, "hang", &["writer", "relay"]).await;
        fail_all(Database::Sqlite, "hang", &["hub task", "shard", "worker thread 0"]).await;
        fail_all(Database::Sqlite, "hang", &["indexer", "HTTP server"]).await;
        fail_all(Database::Postgres, "hang", &["writer", "relay", "indexer"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_keeps_its_thread_ends_the_process() {
    if can_fail() {
        fail_all(Database::Sqlite, "block", &["writer", "relay"]).await;
        fail_all(Database::Sqlite, "block", &["hub task", "worker thread 1", "indexer"]).await;
    }
}
