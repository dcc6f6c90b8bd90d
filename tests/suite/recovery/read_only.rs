//! A database that can't be written any more: the file system of SQLite's file becomes read-only, as that of a disk that fails,
//! or PostgreSQL is told to be read-only. Readiness names the cause, and writes succeed again without a restart.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{
    SECRET_KEY, Sql,
    postgres::Cluster,
    process::{self, Process},
};

/// How long a server may take to notice something.
const NOTICE: Duration = Duration::from_secs(20);

/// Waits until readiness has or lacks a cause that says that the database is read-only.
async fn becomes(server: &Process, is_read_only: bool) {
    let begun = Instant::now();
    loop {
        let answer = reqwest::get(format!("{}/health/ready", server.url)).await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        let message = body["error"]["message"].as_str().unwrap_or_default();
        if (status == 503 && message.starts_with("the database is read-only")) == is_read_only
            && (is_read_only || status == 200)
        {
            return;
        }
        assert!(begun.elapsed() < NOTICE, "{body}");
    }
}

async fn write(server: &Process) -> u16 {
    let create = Client::new().post(format!("{}/collections/posts", server.url)).bearer_auth(SECRET_KEY);
    create.json(&json!({})).send().await.unwrap().status().as_u16()
}

async fn count(server: &Process) -> usize {
    let list = Client::new().get(format!("{}/collections/posts", server.url)).bearer_auth(SECRET_KEY);
    let body: Value = list.send().await.unwrap().json().await.unwrap();
    body["data"].as_array().unwrap_or_else(|| panic!("{body}")).len()
}

/// Lets a database become read-only and writable again under a server. A read-only PostgreSQL may be one whose place another one has
/// taken, so that its data is old, and nothing is read from it.
async fn claim(server: &Process, has_reads: bool, set: impl AsyncFn(bool)) {
    assert_eq!(write(server).await, 201);
    for round in 1..=2 {
        set(true).await;
        let begun = Instant::now();
        while write(server).await != 503 {
            assert!(begun.elapsed() < NOTICE, "writes go on");
        }
        becomes(server, true).await;
        if has_reads {
            assert_eq!(count(server).await, round, "reads go on");
        }
        set(false).await;
        becomes(server, false).await;
        assert_eq!(write(server).await, 201);
        assert_eq!(count(server).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_that_the_disk_of_sqlite_is_read_only() {
    let files = tempfile::tempdir().unwrap();
    let (library, flag) = (files.path().join("read_only.so"), files.path().join("is-read-only"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/recovery/read_only.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.unwrap().success());
    let mut command = process::command(&["serve"]);
    command.env("LD_PRELOAD", &library).env("TEST_READ_ONLY_FILE", &flag);
    let url = format!("sqlite://{}", files.path().join("coir.db").display());
    let start = move || Process::spawn(command, &url, "127.0.0.1:0");
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let set = async |is_read_only| match is_read_only {
        true => fs::write(&flag, "").unwrap(),
        false => fs::remove_file(&flag).unwrap(),
    };
    claim(&server, true, set).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_that_postgresql_is_read_only() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let url = cluster.url();
    let start = {
        let url = url.clone();
        move || Process::start(&url, "127.0.0.1:0")
    };
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let set = async |is_read_only| {
        let mut sql = Sql::connect(&url).await;
        // One by one, because ALTER SYSTEM refuses to run in a transaction.
        sql.execute("SET default_transaction_read_only = off").await;
        sql.execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {is_read_only}")).await;
        sql.execute("SELECT pg_reload_conf()").await;
    };
    claim(&server, false, set).await;
    drop(server);
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}
