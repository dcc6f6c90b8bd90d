//! What the log of the server says of an outage of its database: that it began, and that it ended, however many requests were
//! refused meanwhile.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    SECRET_KEY, Sql,
    postgres::Cluster,
    process::{self, Process},
};

/// How long a server may take to find its database again.
const NOTICE: Duration = Duration::from_secs(20);
/// Rounds of refused requests, and reads and writes of each.
const ROUNDS: usize = 10;
const EACH: usize = 10;
/// The most lines that may tell of an outage: what reads, writes and streams find, each in a few sentences.
const LINES: usize = 15;

async fn start(url: &str, log: &Path) -> Process {
    let mut command = process::command(&["serve"]);
    command.env("COIR_LOG", "info").stderr(fs::File::create(log).unwrap());
    let url = url.to_owned();
    tokio::task::spawn_blocking(move || Process::spawn(command, &url, "127.0.0.1:0")).await.unwrap()
}

async fn send(server: &Process, method: Method, path: &str, body: Option<Value>) -> u16 {
    let mut request =
        reqwest::Client::new().request(method, format!("{}{path}", server.url)).bearer_auth(SECRET_KEY);
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap().status().as_u16()
}

async fn read(server: &Process) -> u16 {
    send(server, Method::GET, "/collections/posts/a", None).await
}

async fn write(server: &Process) -> u16 {
    send(server, Method::PUT, "/collections/posts/a", Some(json!({}))).await
}

/// Sends requests, of which each must be refused.
async fn are_refused(server: &Process) {
    let begun = Instant::now();
    while (read(server).await, write(server).await) != (503, 503) {
        assert!(begun.elapsed() < NOTICE, "the database is still there");
    }
    for _ in 0..ROUNDS {
        let (reads, writes) = tokio::join!(
            join_all((0..EACH).map(|_| read(server))),
            join_all((0..EACH).map(|_| write(server)))
        );
        assert!(reads.into_iter().chain(writes).all(|status| status == 503));
    }
}

/// Waits until the server works again and its log says so.
async fn is_back(server: &Process, log: &Path) {
    let begun = Instant::now();
    loop {
        let works = (read(server).await, write(server).await) == (200, 200);
        let told = fs::read_to_string(log).unwrap();
        let says_so =
            ["the database can be read again", "writes succeed again"].iter().all(|text| told.contains(text));
        if works && says_so {
            break;
        }
        assert!(begun.elapsed() < NOTICE, "works: {works}\n{told}");
    }
    let told = fs::read_to_string(log).unwrap();
    let lines: Vec<_> =
        told.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).collect();
    assert!(lines.len() <= LINES, "{} lines:\n{told}", lines.len());
    for text in ["the database can't be read", "writes fail"] {
        assert!(lines.iter().any(|line| line.contains(" ERROR ") && line.contains(text)), "{text}:\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_not_for_each_request_on_postgres() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("log");
    let server = start(&cluster.url(), &log).await;
    assert_eq!(write(&server).await, 201);
    let stop = move || {
        cluster.stop();
        cluster
    };
    let cluster = tokio::task::spawn_blocking(stop).await.unwrap();
    are_refused(&server).await;
    let start_again = move || {
        cluster.start_again();
        cluster
    };
    let cluster = tokio::task::spawn_blocking(start_again).await.unwrap();
    is_back(&server, &log).await;
    drop(server);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_not_for_each_request_on_sqlite() {
    let files = tempfile::tempdir().unwrap();
    let (log, url) =
        (files.path().join("log"), format!("sqlite://{}", files.path().join("coir.db").display()));
    let server = start(&url, &log).await;
    assert_eq!(write(&server).await, 201);
    let mut sql = Sql::connect(&url).await;
    sql.execute("ALTER TABLE documents RENAME TO lost").await;
    are_refused(&server).await;
    sql.execute("ALTER TABLE lost RENAME TO documents").await;
    is_back(&server, &log).await;
}
