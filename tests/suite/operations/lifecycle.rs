//! The server as a process: how it starts, what it prints, and how it stops.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    harness::{
        PUBLISHABLE_KEY, SECRET_KEY, TestSocket,
        process::{self, Process},
    },
    realtime::costly::{batch, subscribe_costly},
};

async fn start(directory: &Path) -> Process {
    let url = format!("sqlite://{}", directory.join("coir.db").display());
    tokio::task::spawn_blocking(move || Process::start(&url, "127.0.0.1:0")).await.unwrap()
}

async fn get(url: &str, path: &str) -> Value {
    let request = reqwest::Client::new().get(format!("{url}{path}")).bearer_auth(SECRET_KEY);
    request.send().await.unwrap().json().await.unwrap()
}

#[test]
fn a_wrong_setting_stops_the_start_with_a_sentence_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    for (setting, value) in [
        ("COIR_LISTEN", "8080x"),
        ("COIR_LISTEN", ""),
        ("COIR_LISTEN", "localhost"),
        ("COIR_DATA_DIR", " "),
        ("DATABASE_URL", "mysql://root@localhost/coir"),
        ("DATABASE_URL", ""),
        ("COIR_API_KEY", PUBLISHABLE_KEY),
        ("COIR_API_KEY", "sk_short"),
        ("COIR_PUBLISHABLE_KEY", "pk_with spaces in it"),
        ("COIR_DURABILITY", "maybe"),
        ("COIR_LOG", "coir=loud"),
        ("COIR_LOG_FORMAT", "xml"),
        ("COIR_ALLOWED_ORIGINS", "example.com"),
        ("COIR_WORKERS", "0"),
        ("COIR_HEARTBEAT_SECONDS", "soon"),
        ("COIR_MAX_BODY_BYTES", "8MB"),
        ("COIR_MAX_PAGE", "-1"),
    ] {
        let mut command = process::command(&["serve"]);
        command.env("COIR_LISTEN", "127.0.0.1:0").env(setting, value).current_dir(directory.path());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{setting}={value:?}");
        assert!(stderr.starts_with(&format!("coir: {setting}")), "{setting}={value:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!setting.ends_with("KEY") || !stderr.contains(value), "a key is not repeated: {stderr}");
    }
    assert_eq!(directory.path().read_dir().unwrap().count(), 0, "a failed start creates no files");
}

#[test]
fn an_unusable_database_or_address_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (why, settings, named) in [
        ("the address is taken", [("COIR_LISTEN", &*taken), ("DATABASE_URL", "sqlite://coir.db")], &*taken),
        (
            "no such directory",
            [("COIR_LISTEN", "127.0.0.1:0"), ("DATABASE_URL", "sqlite://none/coir.db")],
            "DATABASE_URL",
        ),
    ] {
        let output =
            process::command(&["serve"]).envs(settings).current_dir(directory.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{why}");
        assert!(stderr.contains(named), "{why}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_keeps_the_data_and_shows_no_keys() {
    let directory = tempfile::tempdir().unwrap();
    let first = start(directory.path()).await;
    let client = reqwest::Client::new();
    let put = client.put(format!("{}/collections/posts/a", first.url)).bearer_auth(SECRET_KEY);
    assert_eq!(put.json(&json!({ "n": 1 })).send().await.unwrap().status(), 201);
    let stored = get(&first.url, "/collections/posts/a").await;
    drop(first); // kill -9

    let second = start(directory.path()).await;
    assert_eq!(get(&second.url, "/collections/posts/a").await, stored);
    for key in [SECRET_KEY, PUBLISHABLE_KEY] {
        assert!(!second.welcome.contains(key), "{}", second.welcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_requests_says_1001_and_ends_with_status_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = start(directory.path()).await;
    let url = process.url.clone();
    let mut socket = TestSocket::connect(&*format!("{}/realtime", url.replace("http", "ws"))).await;
    socket.authenticate(SECRET_KEY).await;
    socket.settle().await;

    // The server says `100 Continue` when it waits for the body: the request is in flight.
    let mut request = BufReader::new(TcpStream::connect(url.trim_start_matches("http://")).await.unwrap());
    let head = format!(
        "PUT /collections/posts/a HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET_KEY}\r\ncontent-length: 7\r\nexpect: 100-continue\r\n\r\n"
    );
    request.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    request.read_line(&mut line).await.unwrap();
    assert!(line.contains("100 Continue"), "{line}");

    let ended = tokio::task::spawn_blocking(move || process.terminate());
    assert_eq!(socket.next_close().await.code, CloseCode::Away);
    drop(socket);
    request.write_all(b"{\"n\":1}").await.unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 201"), "{answer}");
    assert!(ended.await.unwrap(), "the server did not end with status 0");

    let again = start(directory.path()).await;
    assert_eq!(get(&again.url, "/collections/posts/a").await["data"]["data"], json!({ "n": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_in_time_while_filters_take_long_to_match() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = start(directory.path()).await;
    let client = reqwest::Client::new();
    let url = format!("{}/collections/posts", process.url);
    let create = async |url: &str, body: Value| {
        let answer = client.post(url).bearer_auth(SECRET_KEY).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    create(&url, json!({ "n": 0 })).await;
    let costly = subscribe_costly(&process.url).await;
    for n in 0..10 {
        create(&format!("{url}/batch"), batch(n * 1000)).await;
    }
    let begun = Instant::now();
    assert!(tokio::task::spawn_blocking(move || process.terminate()).await.unwrap());
    // 10 s, and some for a machine that has other things to do.
    assert!(begun.elapsed() < Duration::from_secs(13), "it took {:?}", begun.elapsed());
    drop(costly);
}

/// Returns the resident memory of a process in bytes.
fn resident_bytes(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_join_behind_large_documents_take_a_bounded_amount_of_memory() {
    const LIMIT: usize = 300 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let process = start(directory.path()).await;
    let client = reqwest::Client::new();
    let url = format!("{}/collections/posts", process.url);
    let create = async |document: Value| {
        let answer = client.post(&url).bearer_auth(SECRET_KEY).json(&document).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.headers()["x-cursor"].to_str().unwrap().to_owned()
    };
    let cursor = create(json!({})).await;
    for n in 0..12 {
        create(json!({ "n": n, "body": "x".repeat(500_000) })).await;
    }
    // They never read, so what they were sent stays where it is.
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket =
            TestSocket::connect(&*format!("{}/realtime", process.url.replace("http", "ws"))).await;
        socket.authenticate(PUBLISHABLE_KEY).await;
        for n in 0..100 {
            let id = format!("s{n}");
            socket
                .send(json!({ "type": "subscribe", "collection": "posts", "id": id, "since": cursor }))
                .await;
        }
        sockets.push(socket);
    }
    // A reader comes after them, and has everything when they have asked for it.
    let mut reader = TestSocket::connect(&*format!("{}/realtime", process.url.replace("http", "ws"))).await;
    reader.authenticate(PUBLISHABLE_KEY).await;
    reader.subscribe_named("all", "posts", json!({ "since": cursor })).await;
    for n in 0..12 {
        assert_eq!(reader.next().await["document"]["data"]["n"], n);
        let resident = resident_bytes(&process);
        assert!(resident < LIMIT, "{} MiB", resident / 1024 / 1024);
    }
}
