//! `/health/live` says that the process runs, and `/health/ready` that it can do its work.

use std::{
    fs,
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{
    Database, SECRET_KEY, TestApp, app::config, fresh_database, on_both_databases, postgres::Cluster,
    process, process::Process,
};

/// How long a server may take to notice something.
const NOTICE: Duration = Duration::from_secs(30);

/// Waits until a server is not ready for a reason that has these words; without words, until it is ready.
async fn becomes(http: &Client, url: &str, words: Option<&str>) {
    let begun = Instant::now();
    loop {
        let answer = http.get(format!("{url}/health/ready")).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        let message = body["error"]["message"].as_str();
        let is_there = match (message, words) {
            (Some(message), Some(words)) => message.contains(words),
            (message, words) => message.is_none() && words.is_none(),
        };
        if is_there {
            return;
        }
        assert!(begun.elapsed() < NOTICE, "{body} and not {words:?}");
    }
}

async fn create(http: &Client, url: &str) -> u16 {
    try_to_create(http, url).await.0
}

/// Returns the status, and the message of an error.
async fn try_to_create(http: &Client, url: &str) -> (u16, String) {
    let request = http.post(format!("{url}/collections/posts")).bearer_auth(SECRET_KEY);
    let answer = request.json(&json!({ "text": "x".repeat(50_000) })).send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["error"]["message"].as_str().unwrap_or_default().to_owned())
}

on_both_databases! {
    async fn readiness_says_that_others_hold_the_lock_for_writing(app: &TestApp) {
        app.create("posts", json!({})).await;
        let mut sql = app.sql().await;
        sql.lock().await;
        let wait = async {
            let answer = app.post("/collections/posts", json!({})).await;
            assert_eq!(answer.error(), (503, "OVERLOADED"));
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with("the database is busy: others hold"), "{message}");
        };
        tokio::join!(wait, becomes(&app.http, &app.url, Some("the database is busy")));
        sql.unlock().await;
        becomes(&app.http, &app.url, None).await;
        app.create("posts", json!({})).await;
    }

    async fn a_server_that_has_started_is_live_and_ready_without_a_key(app: &TestApp) {
        for (path, status) in [("/health/live", "live"), ("/health/ready", "ready")] {
            let answer = app.send(app.http.get(format!("{}{path}", app.url))).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({ "status": status })));
            assert_eq!(app.post(path, json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_server_is_live_but_not_ready_until_it_is_back() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let answer = app.get("/health/ready").await;
    assert_eq!(answer.error(), (503, "OVERLOADED"));
    assert_eq!(answer.body["error"]["message"], "the database does not answer");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(app.get("/health/live").await.status, 200);

    let cluster = tokio::task::spawn_blocking(move || {
        cluster.start_again();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let begun = Instant::now();
    while app.get("/health/ready").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server doesn't find its database again");
    }
    app.stop().await;
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}

/// Sets the number of files that a process may have open.
fn limit_files(process: &Process, count: &str) {
    let limit = format!("--nofile={count}:");
    let set = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status().unwrap();
    assert!(set.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_that_no_descriptors_are_left() {
    let (database, _directory) = fresh_database(Database::Sqlite).await;
    let start = move || Process::start(&database, "127.0.0.1:0");
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    // The one connection, since no other one could be accepted.
    let http = Client::new();
    becomes(&http, &server.url, None).await;
    limit_files(&server, "3");
    becomes(&http, &server.url, Some("no file descriptors are left")).await;
    limit_files(&server, "1024");
    becomes(&http, &server.url, None).await;
}

/// The file system of the database is in memory and small. A user who may not mount it can't run this test.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_that_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mount = format!("mount -t tmpfs -o size=24m tmpfs '{}'", path.display());
    let may_mount = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        println!("this user may not mount a file system, so nothing was tested");
        return;
    }
    let serve = process::command(&[]);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &format!("{mount} && exec \"$0\" serve")]).arg(serve.get_program());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let database = format!("sqlite://{}", path.join("coir.db").display());
    let start = move || Process::spawn(command, &database, "127.0.0.1:0");
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let http = Client::new();
    assert_eq!(create(&http, &server.url).await, 201);

    let inside = format!("/proc/{}/root{}", server.id(), path.join("filler").display());
    let mut filler = fs::File::create(&inside).unwrap();
    while filler.write_all(&[7; 4096]).is_ok() {}
    let begun = Instant::now();
    // The log has some room of its own before it must grow.
    let refused = loop {
        let (status, message) = try_to_create(&http, &server.url).await;
        if status == 503 {
            break message;
        }
        assert!(begun.elapsed() < NOTICE, "writes go on");
    };
    assert_eq!(refused, "the disk of the database is full; writes fail until there is room; try again");
    becomes(&http, &server.url, Some("the disk of the database is full")).await;
    fs::remove_file(&inside).unwrap();
    drop(filler);
    becomes(&http, &server.url, None).await;
    assert_eq!(create(&http, &server.url).await, 201);
}
