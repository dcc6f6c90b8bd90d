//! An unusable cursor is answered by a resync on each kind of stream, and the events after it are complete.

use std::{fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    SECRET_KEY, TestApp, TestSocket, TestStream, alter_cursor, on_both_databases, process, process::Process,
    sequence_of,
};

/// Returns a cursor of another project, which has a collection of the same name.
async fn foreign_cursor(app: &TestApp) -> String {
    let mut command = process::command(&["projects", "create", "other", "--open"]);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let key = output.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
    let create = app.request_as(key, Method::POST, "/collections").json(&json!({ "name": "posts" }));
    app.send(create).await.header("x-cursor").to_owned()
}

/// Reads messages up to the first one of this type, and returns them all.
async fn read_until(socket: &mut TestSocket, kind: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        messages.push(socket.next().await);
        if messages.last().unwrap()["type"] == kind {
            return messages;
        }
    }
}

on_both_databases! {
    async fn an_unusable_cursor_is_answered_by_a_resync_and_a_snapshot(app: &TestApp) {
        let good = app.put("/collections/posts/a", json!({ "n": 1 })).await.header("x-cursor").to_owned();
        let foreign = foreign_cursor(app).await;
        for (why, cursor, code, words) in [
            ("garbled", "abc".to_owned(), "INVALID_CURSOR", "not a valid cursor"),
            ("one letter changed", good.replacen('A', "B", 1), "INVALID_CURSOR", "not a valid cursor"),
            ("a cursor of another project", foreign, "INVALID_CURSOR", "another project"),
            ("beyond the end of the log", alter_cursor(&good, |bytes| bytes[20] += 77), "CURSOR_EXPIRED", "beyond the end"),
            ("a cursor of another history", alter_cursor(&good, |bytes| bytes[5] ^= 1), "CURSOR_EXPIRED", "another history"),
            ("a cursor of another change", alter_cursor(&good, |bytes| bytes[28] ^= 1), "CURSOR_EXPIRED", "another change"),
        ] {
            let mut socket = app.socket().await;
            socket.send(json!({ "type": "subscribe", "id": "s", "collection": "posts", "since": cursor, "snapshot": true })).await;
            let messages = read_until(&mut socket, "ready").await;
            let resyncs: Vec<_> = messages.iter().filter(|message| message["type"] == "resync").collect();
            assert_eq!(resyncs.len(), 1, "{why}: {messages:?}");
            assert_eq!((&resyncs[0]["code"], &resyncs[0]["id"]), (&json!(code), &json!("s")), "{why}");
            assert!(resyncs[0]["message"].as_str().unwrap().contains(words), "{why}: {resyncs:?}");
            let page = messages.iter().find(|message| message["type"] == "snapshot").unwrap();
            assert_eq!(page["documents"][0]["id"], "a", "{why}");

            // Without a snapshot the resync ends the subscription, and its id can be used again.
            socket.send(json!({ "type": "subscribe", "id": "t", "collection": "posts", "since": cursor })).await;
            assert_eq!(read_until(&mut socket, "resync").await.last().unwrap()["code"], code, "{why}");
            socket.send(json!({ "type": "subscribe", "id": "t", "collection": "posts", "since": good })).await;
            assert_eq!(read_until(&mut socket, "subscribed").await.last().unwrap()["cursor"], json!(good), "{why}");

            let mut stream = app.stream("/realtime/sse/posts?snapshot=true", Some(&cursor)).await;
            let resync = stream.next_event().await;
            assert_eq!((resync.event.as_deref(), &resync.json()["code"]), (Some("resync"), &json!(code)), "{why}");
            assert_eq!(resync.id.as_deref(), Some(""), "{why}: a stream that is cut here must start anew");
            assert_eq!(stream.next_event().await.json()["documents"][0]["id"], "a", "{why}");
            assert_eq!(stream.next_event().await.event.as_deref(), Some("ready"), "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_before_an_older_copy_was_restored_gets_a_resync() {
    let directory = tempfile::tempdir().unwrap();
    let (file, copy) = (directory.path().join("coir.db"), directory.path().join("older.db"));
    let start = || {
        let url = format!("sqlite://{}", file.display());
        async move { tokio::task::spawn_blocking(move || Process::start(&url, "127.0.0.1:0")).await.unwrap() }
    };
    let http = reqwest::Client::new();
    let put = async |server: &Process, id: &str| {
        let request = http.put(format!("{}/collections/posts/{id}", server.url)).bearer_auth(SECRET_KEY);
        let answer = request.json(&json!({})).send().await.unwrap();
        answer.headers()["x-cursor"].to_str().unwrap().to_owned()
    };
    let open = async |server: &Process, cursor: &str| {
        let request =
            http.get(format!("{}/realtime/sse/posts?snapshot=true", server.url)).bearer_auth(SECRET_KEY);
        TestStream::open(request.header("Last-Event-ID", cursor)).await
    };
    let is_whole = |file: &Path| !file.with_extension("db-wal").exists();

    let mut server = start().await;
    let kept = put(&server, "kept").await;
    // After an orderly stop the database is one file, so a copy of it is complete.
    assert!(server.terminate() && is_whole(&file));
    fs::copy(&file, &copy).unwrap();
    let mut server = start().await;
    let mut lost = String::new();
    for id in ["lost-1", "lost-2"] {
        lost = put(&server, id).await;
    }
    assert!(server.terminate() && is_whole(&file));
    fs::copy(&copy, &file).unwrap();

    let server = start().await;
    let mut stream = open(&server, &lost).await;
    assert_eq!(stream.next_event().await.json()["code"], "CURSOR_EXPIRED", "beyond the end");
    assert_eq!(stream.next_event().await.json()["documents"].as_array().unwrap().len(), 1);
    assert_eq!(stream.next_event().await.event.as_deref(), Some("ready"));
    let mut last = String::new();
    for id in ["new-1", "new-2", "new-3"] {
        last = put(&server, id).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], id);
    }
    assert!(sequence_of(&last) > sequence_of(&lost));
    // The log has a change with this sequence again, but it is another change.
    let mut stream = open(&server, &lost).await;
    assert_eq!(stream.next_event().await.json()["code"], "CURSOR_EXPIRED");
    // A cursor of a change that both histories have is good.
    let mut stream = open(&server, &kept).await;
    for id in ["new-1", "new-2", "new-3"] {
        assert_eq!(stream.next_event().await.json()["document"]["id"], id);
    }
}
