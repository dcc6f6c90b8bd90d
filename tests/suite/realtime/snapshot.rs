//! Subscriptions with a snapshot, on WebSocket and SSE: first the matching documents, then their changes. At `ready`, the
//! client's view equals the query's result.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{
    Replica, TestApp, TestSocket, TestStream, event, list_all, on_both_databases, replica::shown,
};

async fn listed(app: &TestApp) -> BTreeMap<String, Value> {
    list_all(&app.http, &app.url, "posts").await.values().map(shown).collect()
}

/// Removes the versions. SSE events have none, so a view from an event stream is compared without them.
fn without_versions(documents: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let strip = |(id, document): (&String, &Value)| {
        (id.clone(), json!({ "data": document["data"], "createdAt": document["createdAt"] }))
    };
    documents.iter().map(strip).collect()
}

async fn fill(app: &TestApp, count: usize, bytes: usize) {
    let write = async |n: usize| {
        let padding = "x".repeat(bytes);
        app.put(
            &format!("/collections/posts/{n:05}"),
            json!({ "n": n, "half": n.is_multiple_of(2), "padding": padding }),
        )
        .await;
    };
    for begin in (0..count).step_by(50) {
        futures_util::future::join_all((begin..count.min(begin + 50)).map(write)).await;
    }
}

/// Reads messages up to `ready`.
async fn read_snapshot(socket: &mut TestSocket, replica: &mut Replica) {
    while replica.cursor().is_none() {
        replica.take(&socket.next().await);
    }
}

async fn read_stream_snapshot(stream: &mut TestStream, replica: &mut Replica) {
    while replica.cursor().is_none() {
        replica.take_block(&stream.next_block().await);
    }
}

on_both_databases! {
    async fn a_snapshot_has_exactly_these_messages(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut socket = app.socket().await;
        let subscribe = r#"{"type":"subscribe","id":"s","collection":"posts","filters":{"n":1},"snapshot":true}"#;
        socket.send_text(subscribe).await;
        assert_eq!(socket.next_text().await, r#"{"type":"subscribed","id":"s","collection":"posts"}"#);
        assert_eq!(socket.next_text().await, r#"{"type":"snapshot","id":"s","documents":[]}"#);
        assert_eq!(socket.next_text().await, format!(r#"{{"type":"ready","id":"s","cursor":"{begin}"}}"#));

        app.put("/collections/posts/b", json!({ "n": 2 })).await;
        let made = app.put("/collections/posts/a", json!({ "n": 1, "text": "\u{2028}" })).await;
        assert_eq!(socket.next().await["event"], "created");
        let at = made.data()["createdAt"].as_str().unwrap();
        let documents = format!(
            "[{{\"id\":\"a\",\"data\":{{\"n\":1,\"text\":\"\u{2028}\"}},\"createdAt\":\"{at}\",\"updatedAt\":\"{at}\",\"version\":1}}]"
        );
        socket.send_text(subscribe).await;
        assert_eq!(socket.next().await["type"], "subscribed");
        assert_eq!(socket.next_text().await, format!(r#"{{"type":"snapshot","id":"s","documents":{documents}}}"#));
        let cursor = made.header("x-cursor");
        assert_eq!(socket.next_text().await, format!(r#"{{"type":"ready","id":"s","cursor":"{cursor}"}}"#));

        let mut stream = app.stream("/realtime/sse/posts?n=1&snapshot=true", None).await;
        let page = stream.next_block().await;
        assert_eq!(page.retry, Some(Duration::from_secs(1)));
        assert_eq!((page.event.as_deref(), &page.id), (Some("snapshot"), &None));
        assert_eq!(page.data, Some(format!(r#"{{"type":"snapshot","documents":{documents}}}"#)));
        let ready = stream.next_block().await;
        assert_eq!((ready.event.as_deref(), ready.id.as_deref()), (Some("ready"), Some(cursor)));
        assert_eq!(ready.data, Some(format!(r#"{{"type":"ready","cursor":"{cursor}"}}"#)));
    }

    async fn a_snapshot_of_many_pages_waits_for_its_reader_and_is_right_when_it_is_ready(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        fill(app, 2000, 2000).await;
        let (mut socket, mut replica) = (app.socket().await, Replica::default());
        replica.take(&socket.subscribe_named("s", "posts", json!({ "snapshot": true })).await);
        let (mut stream, mut half) = (app.stream("/realtime/sse/posts?half=true&snapshot=true", None).await, Replica::default());
        half.reconnect();
        // Nobody reads yet. The sockets and queues are full, so the server has not read the last ids of the snapshot.
        for n in (0..2000).step_by(7) {
            let path = format!("/collections/posts/{n:05}");
            match n % 3 {
                0 => app.delete(&path).await,
                1 => app.patch(&path, json!({ "half": n % 2 == 1 })).await,
                _ => app.put(&path, json!({ "half": true })).await,
            };
        }
        for place in ["", "01000-", "zzz"] {
            app.put(&format!("/collections/posts/{place}new"), json!({ "half": true })).await;
        }
        read_snapshot(&mut socket, &mut replica).await;
        read_stream_snapshot(&mut stream, &mut half).await;
        assert_eq!(replica.documents(), listed(app).await);
        let mut expected = listed(app).await;
        expected.retain(|_, document| document["data"]["half"] == true);
        assert_eq!(without_versions(&half.documents()), without_versions(&expected));

        let last = app.put("/collections/posts/last", json!({ "half": true })).await;
        let message = socket.next().await;
        assert_eq!(message["cursor"], last.header("x-cursor"));
        assert_eq!(stream.next_event().await.json(), event("posts", "created", last.data()));
    }

    async fn writes_to_other_collections_do_not_disturb_a_snapshot(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        fill(app, 600, 100).await;
        let is_over = AtomicBool::new(false);
        let write = async || {
            while !is_over.load(Ordering::Relaxed) {
                app.create("others", json!({})).await;
            }
        };
        let read = async {
            let mut socket = app.socket().await;
            for round in 0..30 {
                let (id, mut replica) = (round.to_string(), Replica::default());
                replica.take(&socket.subscribe_named(&id, "posts", json!({ "snapshot": true })).await);
                read_snapshot(&mut socket, &mut replica).await;
                assert_eq!((replica.len(), replica.counts().resyncs), (600, 0), "round {round}");
                socket.send(json!({ "type": "unsubscribe", "id": id })).await;
                socket.settle().await;
            }
            is_over.store(true, Ordering::Relaxed);
        };
        tokio::join!(write(), write(), read);
    }

    async fn a_usable_since_cursor_is_resumed_and_an_unusable_one_gets_the_snapshot(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        app.put("/collections/posts/a", json!({})).await;
        let mut socket = app.socket().await;
        let subscribed = socket.subscribe_named("s", "posts", json!({ "since": begin, "snapshot": true })).await;
        assert_eq!((&subscribed["type"], &subscribed["cursor"]), (&json!("subscribed"), &json!(begin)));
        assert_eq!(socket.next().await["event"], "created");

        let subscribed = socket.subscribe_named("t", "posts", json!({ "since": "abc", "snapshot": true })).await;
        assert_eq!(subscribed, json!({ "type": "subscribed", "id": "t", "collection": "posts" }));
        let resync = socket.next().await;
        let message = resync["message"].as_str().unwrap();
        assert_eq!(resync, json!({ "type": "resync", "id": "t", "code": "INVALID_CURSOR", "message": message }));
        assert_eq!(socket.next().await["documents"].as_array().unwrap().len(), 1);
        assert_eq!(socket.next().await["type"], "ready");
    }

    async fn a_stream_with_a_snapshot_resumes_from_its_last_event_id(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        app.put("/collections/posts/a", json!({})).await;
        let path = "/realtime/sse/posts?snapshot=true";
        let mut stream = app.stream(path, None).await;
        let mut replica = Replica::default();
        replica.reconnect();
        read_stream_snapshot(&mut stream, &mut replica).await;
        let cursor = stream.last_event_id.clone();

        let second = app.put("/collections/posts/b", json!({})).await;
        let mut again = app.stream(path, cursor.as_deref()).await;
        assert_eq!(again.opened().await, cursor.unwrap());
        assert_eq!(again.next_event().await.json(), event("posts", "created", second.data()));

        // The server cannot replay from this cursor, so it clears the event id until the new view is complete.
        let mut lost = app.stream(path, Some("garbled")).await;
        let resync = lost.next_block().await;
        assert_eq!(resync.retry, Some(Duration::from_secs(1)));
        assert_eq!((resync.event.as_deref(), resync.id.as_deref()), (Some("resync"), Some("")));
        assert_eq!((&resync.json()["code"], &resync.json()["cursor"]), (&json!("INVALID_CURSOR"), &json!(null)));
        let page = lost.next_block().await;
        assert_eq!((page.event.as_deref(), page.id), (Some("snapshot"), None));
        assert_eq!(lost.next_block().await.id.as_deref(), Some(second.header("x-cursor")));

        let answer = app.get("/realtime/sse/posts?snapshot=perhaps").await;
        assert_eq!(answer.error(), (400, "INVALID_FILTER"));
    }

    async fn a_collection_removed_in_the_middle_of_a_snapshot_ends_it(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        fill(app, 1000, 4000).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "posts", json!({ "snapshot": true })).await;
        app.delete("/collections/posts").await;
        loop {
            let message = socket.next().await;
            if message["type"] == "error" {
                assert_eq!((&message["code"], &message["id"]), (&json!("INVALID_COLLECTION"), &json!("s")));
                break;
            }
            assert!(message["type"] == "snapshot" || message["type"] == "ready", "{message}");
        }
        socket.settle().await;
    }

    async fn a_snapshot_that_is_given_up_in_the_middle_sends_nothing_more(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        fill(app, 1000, 4000).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "posts", json!({ "snapshot": true })).await;
        socket.send(json!({ "type": "unsubscribe", "id": "s" })).await;
        socket.send(json!({ "type": "ping" })).await;
        let mut count = 0;
        loop {
            let message = socket.next().await;
            if message["type"] == "pong" {
                break;
            }
            count += message["documents"].as_array().unwrap().len();
        }
        assert!(count < 1000, "the snapshot was complete before the unsubscribe, so this run proves nothing");
        socket.settle().await;
    }
}
