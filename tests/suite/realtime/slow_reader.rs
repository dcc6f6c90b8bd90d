//! Readers that stop reading. They delay no other client, and when they continue they receive every event once and in order.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{TestApp, event, on_both_databases, socket::PATIENCE};

const DOCUMENTS: usize = 3000;
const WRITERS: usize = 30;

/// Writes documents of 2 KB; every second one has `half: true`.
async fn write_documents(app: &TestApp, count: usize) {
    let write = async |writer: usize| {
        for n in 0..count / WRITERS {
            let padding = "x".repeat(2000);
            app.create("posts", json!({ "writer": writer, "n": n, "half": n % 2 == 0, "padding": padding }))
                .await;
        }
    };
    join_all((0..WRITERS).map(write)).await;
}

on_both_databases! {
    async fn readers_that_stop_for_a_while_get_everything_once_and_in_order(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let (mut healthy, mut slow, mut slow_half) = (app.socket().await, app.socket().await, app.socket().await);
        healthy.subscribe("posts", json!({})).await;
        slow.subscribe("posts", json!({})).await;
        slow_half.subscribe("posts", json!({ "half": true })).await;
        let mut slow_stream = app.stream("/realtime/sse/posts", None).await;
        slow_stream.opened().await;
        let mut slow_half_stream = app.stream("/realtime/sse/posts?half=true", None).await;
        slow_half_stream.opened().await;

        let read = async {
            let mut events = Vec::new();
            while events.len() < DOCUMENTS {
                events.push(healthy.next().await);
            }
            events
        };
        let ((), all) = tokio::join!(write_documents(app, DOCUMENTS), read);
        let half: Vec<&Value> =
            all.iter().filter(|event| event["document"]["data"]["half"] == true).collect();
        assert_eq!(half.len(), DOCUMENTS / 2);

        for expected in &all {
            assert_eq!(&slow.next().await, expected);
            assert_eq!(&slow_stream.next_event().await.json(), expected);
        }
        for expected in half {
            assert_eq!(&slow_half.next().await, expected);
            assert_eq!(&slow_half_stream.next_event().await.json(), expected);
        }
        // All readers are live again: a new event is the next thing they receive, so nothing came twice.
        let last = app.create("posts", json!({ "half": true })).await;
        let last = event("posts", "created", &last);
        for socket in [&mut healthy, &mut slow, &mut slow_half] {
            assert_eq!(socket.next().await, last);
        }
        for stream in [&mut slow_stream, &mut slow_half_stream] {
            assert_eq!(stream.next_event().await.json(), last);
        }
    }

    async fn a_document_larger_than_the_outbox_is_still_delivered(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        for kilobytes in [20, 20, 20, 20, 20, 300, 1, 150, 150, 900, 1] {
            app.create("posts", json!({ "kilobytes": kilobytes, "padding": "x".repeat(kilobytes * 1000) })).await;
        }
        // A second node has none of these changes in memory, so it reads them from the log in one page.
        let other = app.start_second_node().await;
        let mut stream = other.stream("/realtime/sse/posts", Some(&begin)).await;
        for kilobytes in [20, 20, 20, 20, 20, 300, 1, 150, 150, 900, 1] {
            assert_eq!(stream.next_event().await.json()["document"]["data"]["kilobytes"], kilobytes);
        }
        drop(stream);
        other.stop().await;
    }

    async fn unsubscribing_while_catching_up_stops_the_events(app: &TestApp) {
        for name in ["posts", "notes"] {
            app.post("/collections", json!({ "name": name })).await;
        }
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        socket.subscribe("notes", json!({})).await;
        write_documents(app, 900).await;
        socket.send(json!({ "type": "unsubscribe", "collection": "posts" })).await;
        socket.send(json!({ "type": "ping" })).await;
        let mut count = 0;
        while socket.next().await != json!({ "type": "pong" }) {
            count += 1;
        }
        assert!(count < 900, "the reader was never behind, so this run proves nothing");
        let note = app.create("notes", json!({})).await;
        assert_eq!(socket.next().await, event("notes", "created", &note));
    }

    async fn replacing_filters_while_catching_up_loses_and_repeats_no_change(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        let mut live = app.socket().await;
        live.subscribe("posts", json!({ "half": true })).await;
        let read = async {
            let mut events = Vec::new();
            while events.len() < 450 {
                events.push(live.next().await);
            }
            events
        };
        let ((), expected) = tokio::join!(write_documents(app, 900), read);
        socket.send(json!({ "type": "subscribe", "collection": "posts", "filters": { "half": true } })).await;
        let mut half = Vec::new();
        while half.len() < 450 {
            let event = socket.next().await;
            if event["document"]["data"]["half"] == true {
                half.push(event);
            }
        }
        assert_eq!(half, expected);
        socket.settle().await;
    }

    async fn readers_that_disconnect_while_behind_delay_nobody(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut readers = Vec::new();
        for _ in 0..20 {
            let mut socket = app.socket().await;
            socket.subscribe("posts", json!({})).await;
            let mut stream = app.stream("/realtime/sse/posts", None).await;
            stream.opened().await;
            readers.push((socket, stream));
        }
        write_documents(app, 900).await;
        drop(readers);
        // Ten requests are enough to reach every worker thread, so none is stuck. `app.stop` waits for the connections to end.
        for _ in 0..10 {
            let http = reqwest::Client::new();
            let answer = http.get(format!("{}/health/live", app.url)).timeout(PATIENCE).send().await;
            assert_eq!(answer.unwrap().status(), 200);
        }
    }

    async fn a_collection_removed_while_its_reader_is_behind_ends_after_its_last_event(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;
        write_documents(app, 900).await;
        app.delete("/collections/posts").await;
        for n in 0..900 {
            assert_eq!(socket.next().await["type"], "event", "{n}");
            assert_eq!(stream.next_event().await.event, None, "{n}");
        }
        assert_eq!(socket.next_error().await.0, "INVALID_COLLECTION");
        socket.settle().await;
        assert_eq!(stream.next_event().await.json()["code"], "INVALID_COLLECTION");
        assert_eq!(stream.try_next_block().await, None);
    }
}
