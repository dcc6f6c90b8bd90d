//! Subscriptions to a collection that doesn't exist yet: they wait, and hear of everything from the first write on.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Block, Database, PUBLISHABLE_KEY, TestApp, TestSocket, TestStream, event, on_both_databases, path_with,
};

const ERROR: &str = r#"{"type":"error","code":"INVALID_COLLECTION","message":"Collection does not exist"}"#;

/// Reads the beginning of a stream that waits, and returns its cursor.
async fn waits(stream: &mut TestStream) -> String {
    let error = stream.next_block().await;
    let id = error.id.clone().unwrap();
    let expected = Block {
        id: Some(id.clone()),
        event: Some("error".to_owned()),
        data: Some(ERROR.to_owned()),
        retry: Some(std::time::Duration::from_secs(1)),
        ..Block::default()
    };
    assert_eq!(error, expected);
    id
}

/// Creates three documents in one request, which creates the collection.
async fn write_three(app: &TestApp) -> Vec<Value> {
    let documents = json!({ "documents": [{ "n": 1 }, { "n": 2 }, { "n": 3 }] });
    app.post("/collections/posts/batch", documents).await.data().as_array().unwrap().clone()
}

/// Subscribes without an id, which must be answered with the error of an unknown collection.
async fn wait_plainly(socket: &mut TestSocket, collection: &str, filters: Value) {
    socket.send(json!({ "type": "subscribe", "collection": collection, "filters": filters })).await;
    assert_eq!(socket.next_text().await, ERROR);
}

async fn next_numbers(socket: &mut TestSocket, count: usize) -> Vec<Value> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(socket.next().await["document"]["data"]["n"].clone());
    }
    numbers
}

on_both_databases! {
    async fn an_event_stream_says_that_the_collection_is_missing_and_waits_for_the_first_write(app: &TestApp) {
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        waits(&mut stream).await;
        app.create("notes", json!({})).await;
        for document in write_three(app).await {
            let seen = stream.next_event().await;
            assert_eq!((seen.event, seen.id.is_some()), (None, true));
            assert_eq!(seen.data.map(|data| serde_json::from_str::<Value>(&data).unwrap()), Some(event("posts", "created", &document)));
        }
        app.delete("/collections/posts").await;
        let end = stream.next_event().await;
        assert_eq!((end.event.as_deref(), end.json()["code"].as_str()), (Some("error"), Some("INVALID_COLLECTION")));
        // It waits no more, and says so.
        assert!(end.json()["message"].as_str().unwrap().starts_with("the collection was removed"), "{end:?}");
        assert_eq!(stream.try_next_block().await, None);
    }

    async fn an_event_stream_with_a_snapshot_begins_with_an_empty_one(app: &TestApp) {
        let mut stream = app.stream("/realtime/sse/posts?snapshot=true&n__gt=1", None).await;
        let page = stream.next_block().await;
        assert!(page.retry.is_some());
        assert_eq!((page.event.as_deref(), page.data.as_deref()), (Some("snapshot"), Some(r#"{"type":"snapshot","documents":[]}"#)));
        let ready = stream.next_block().await;
        let cursor = ready.id.unwrap();
        assert_eq!((ready.event.as_deref(), ready.data), (Some("ready"), Some(format!(r#"{{"type":"ready","cursor":"{cursor}"}}"#))));
        for document in &write_three(app).await[1..] {
            assert_eq!(stream.next_event().await.json(), event("posts", "created", document));
        }
    }

    async fn a_plain_subscription_gets_the_exact_error_and_then_every_event(app: &TestApp) {
        let mut socket = app.socket().await;
        wait_plainly(&mut socket, "posts", json!({ "n": 1 })).await;
        // To subscribe again replaces the filters.
        wait_plainly(&mut socket, "posts", json!({ "n__gt": 1 })).await;
        // A collection without documents is no news.
        app.post("/collections", json!({ "name": "posts" })).await;
        for document in &write_three(app).await[1..] {
            assert_eq!(socket.next().await, event("posts", "created", document));
        }
        socket.subscribe("posts", json!({})).await;
        let document = app.create("posts", json!({ "n": 1 })).await;
        assert_eq!(socket.next().await, event("posts", "created", &document));
        socket.settle().await;
    }

    async fn a_named_subscription_says_that_the_collection_does_not_exist(app: &TestApp) {
        let end = app.create("notes", json!({})).await;
        let begin = app.patch(&format!("/collections/notes/{}", end["id"].as_str().unwrap()), json!({})).await.header("x-cursor").to_owned();
        let mut socket = app.socket().await;
        socket.send(json!({ "type": "subscribe", "id": "a", "collection": "posts" })).await;
        let subscribed = format!(r#"{{"type":"subscribed","id":"a","collection":"posts","cursor":"{begin}","exists":false}}"#);
        assert_eq!(socket.next_text().await, subscribed);
        socket.send(json!({ "type": "subscribe", "id": "b", "collection": "posts", "snapshot": true })).await;
        assert_eq!(socket.next_text().await, r#"{"type":"subscribed","id":"b","collection":"posts","exists":false}"#);
        assert_eq!(socket.next_text().await, r#"{"type":"snapshot","id":"b","documents":[]}"#);
        assert_eq!(socket.next_text().await, format!(r#"{{"type":"ready","id":"b","cursor":"{begin}"}}"#));
        write_three(app).await;
        let mut seen = Vec::new();
        for _ in 0..6 {
            let message = socket.next().await;
            assert!(message["cursor"].is_string() && message["reason"] == "written", "{message}");
            seen.push((message["id"].as_str().unwrap().to_owned(), message["document"]["data"]["n"].as_u64().unwrap()));
        }
        seen.sort();
        let expected = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)];
        assert_eq!(seen, expected.map(|(id, n)| (id.to_owned(), n)));
    }

    async fn a_cut_before_the_first_write_loses_nothing(app: &TestApp) {
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        let cursor = waits(&mut stream).await;
        let mut socket = app.socket().await;
        let named = socket.subscribe_named("s", "posts", json!({})).await["cursor"].as_str().unwrap().to_owned();
        drop((stream, socket));
        // A client may come back before the first write, too.
        let mut again = app.stream("/realtime/sse/posts", Some(&cursor)).await;
        assert_eq!(waits(&mut again).await, cursor);
        let documents = write_three(app).await;
        let late = app.stream("/realtime/sse/posts", Some(&cursor)).await;
        for mut stream in [again, late] {
            for document in &documents {
                assert_eq!(stream.next_event().await.json(), event("posts", "created", document));
            }
        }
        let mut socket = app.socket().await;
        assert_eq!(socket.subscribe_named("s", "posts", json!({ "since": named })).await["cursor"], named);
        assert_eq!(next_numbers(&mut socket, 3).await, [1, 2, 3]);
    }

    async fn a_view_of_a_collection_that_was_removed_meanwhile_is_emptied(app: &TestApp) {
        app.create("posts", json!({})).await;
        let mut stream = app.stream("/realtime/sse/posts?snapshot=true", None).await;
        let cursor = stream.opened().await;
        drop(stream);
        app.delete("/collections/posts").await;
        let mut stream = app.stream("/realtime/sse/posts?snapshot=true", Some(&cursor)).await;
        let resync = stream.next_event().await;
        assert_eq!((resync.event.as_deref(), &resync.json()["code"]), (Some("resync"), &json!("CURSOR_EXPIRED")));
        assert_eq!(stream.next_event().await.json()["documents"], json!([]));
        assert_eq!(stream.next_event().await.event.as_deref(), Some("ready"));
        let document = app.create("posts", json!({ "n": 1 })).await;
        assert_eq!(stream.next_event().await.json(), event("posts", "created", &document));

        let mut plain = app.stream("/realtime/sse/none", Some("garbled")).await;
        let resync = plain.next_event().await;
        assert_eq!((resync.event.as_deref(), &resync.json()["code"]), (Some("resync"), &json!("INVALID_CURSOR")));
        assert_eq!(plain.next_event().await.data.as_deref(), Some(ERROR));
        app.create("none", json!({})).await;
        assert_eq!(plain.next_event().await.json()["event"], "created");
    }

    async fn unsubscribing_ends_the_waiting(app: &TestApp) {
        let mut socket = app.socket().await;
        wait_plainly(&mut socket, "posts", json!({})).await;
        socket.subscribe_named("a", "posts", json!({})).await;
        socket.subscribe_named("b", "posts", json!({ "filters": { "n": 2 } })).await;
        socket.send(json!({ "type": "unsubscribe", "collection": "posts" })).await;
        socket.send(json!({ "type": "unsubscribe", "id": "a" })).await;
        socket.settle().await;
        write_three(app).await;
        let only = socket.next().await;
        assert_eq!((&only["id"], &only["document"]["data"]["n"]), (&json!("b"), &json!(2)));
        socket.settle().await;
    }

    async fn the_first_write_may_be_made_on_another_node(app: &TestApp) {
        let other = app.start_second_node().await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        waits(&mut stream).await;
        let mut socket = app.socket().await;
        wait_plainly(&mut socket, "posts", json!({})).await;
        for document in write_three(&other).await {
            assert_eq!(stream.next_event().await.json(), event("posts", "created", &document));
            assert_eq!(socket.next().await, event("posts", "created", &document));
        }
        other.stop().await;
    }

    async fn a_named_subscription_that_is_live_may_be_replaced_by_one_that_waits(app: &TestApp) {
        app.post("/collections", json!({ "name": "notes" })).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "notes", json!({})).await;
        assert_eq!(socket.subscribe_named("s", "posts", json!({})).await["exists"], false);
        app.create("notes", json!({ "n": 0 })).await;
        write_three(app).await;
        assert_eq!(next_numbers(&mut socket, 3).await, [1, 2, 3]);
        assert_eq!(socket.subscribe_named("s", "drafts", json!({})).await["exists"], false);
        assert!(socket.subscribe_named("s", "notes", json!({})).await.get("exists").is_none());
        app.create("drafts", json!({ "n": 0 })).await;
        app.create("notes", json!({ "n": 7 })).await;
        assert_eq!(next_numbers(&mut socket, 1).await, [7]);
        socket.settle().await;
    }

    async fn a_collection_that_is_given_the_awaited_name_brings_its_documents(app: &TestApp) {
        app.create("drafts", json!({ "n": 1 })).await;
        let mut stream = app.stream("/realtime/sse/posts?snapshot=true", None).await;
        stream.opened().await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "posts", json!({})).await;
        app.patch("/collections/drafts/settings", json!({ "name": "posts" })).await;
        assert_eq!(stream.next_event().await.event.as_deref(), Some("resync"));
        assert_eq!(stream.next_event().await.json()["documents"][0]["data"], json!({ "n": 1 }));
        assert_eq!(stream.next_event().await.event.as_deref(), Some("ready"));
        let resync = socket.next().await;
        assert_eq!((&resync["type"], &resync["code"]), (&json!("resync"), &json!("CURSOR_EXPIRED")));
        let document = app.create("posts", json!({ "n": 2 })).await;
        assert_eq!(stream.next_event().await.json(), event("posts", "created", &document));
        socket.settle().await;
    }

    async fn nobody_waits_where_no_write_can_create_the_collection(app: &TestApp) {
        app.post("/collections", json!({ "name": "notes" })).await;
        let ask = app.request_as(PUBLISHABLE_KEY, Method::POST, "/realtime/tickets").json(&json!({ "collection": "notes" }));
        let ticket = app.send(ask).await.data()["ticket"].as_str().unwrap().to_owned();
        let mut socket = app.socket().await;
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        for name in ["1posts", "documents", uuid] {
            assert_eq!(app.get(&format!("/realtime/sse/{name}")).await.error(), (404, "INVALID_COLLECTION"), "{name}");
            wait_plainly(&mut socket, name, json!({})).await;
            socket.send(json!({ "type": "subscribe", "id": "s", "collection": name })).await;
            assert_eq!(socket.next_error().await, ("INVALID_COLLECTION".to_owned(), Some(json!("s"))), "{name}");
        }
        let with_ticket = app.http.get(format!("{}{}", app.url, path_with("/realtime/sse/posts", &[("ticket", &ticket)])));
        assert_eq!(app.send(with_ticket).await.error(), (404, "INVALID_COLLECTION"));

        // A principal that may watch one collection only does not go on waiting for another.
        wait_plainly(&mut socket, "posts", json!({})).await;
        socket.authenticate(&ticket).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");
        app.create("posts", json!({})).await;
        socket.settle().await;
    }

    async fn a_waiting_subscription_counts_as_any_other(app: &TestApp, |config| config.limits.subscriptions = 2) {
        let mut socket = app.socket().await;
        wait_plainly(&mut socket, "a", json!({})).await;
        socket.subscribe_named("s", "b", json!({})).await;
        socket.send(json!({ "type": "subscribe", "collection": "c" })).await;
        assert_eq!(socket.next_error().await.0, "OVERLOADED");
        app.create("d", json!({})).await;
        socket.send(json!({ "type": "subscribe", "collection": "d" })).await;
        assert_eq!(socket.next_error().await.0, "OVERLOADED");
        for name in ["a", "b"] {
            app.create(name, json!({ "n": 1 })).await;
            assert_eq!(next_numbers(&mut socket, 1).await, [1]);
        }
        socket.send(json!({ "type": "subscribe", "collection": "c" })).await;
        assert_eq!(socket.next_error().await.0, "OVERLOADED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_move_the_cursor_of_a_stream_that_waits() {
    let second = std::time::Duration::from_secs(1);
    let app = TestApp::start_with(Database::Sqlite, |config| config.heartbeat = second).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    waits(&mut stream).await;
    let mut socket = app.socket().await;
    socket.subscribe_named("s", "posts", json!({})).await;
    let end = app.post("/collections/notes", json!({ "n": 1 })).await.header("x-cursor").to_owned();
    let moved = async { while stream.next_block().await.id.as_ref() != Some(&end) {} };
    let (progress, ()) = tokio::join!(socket.next(), moved);
    assert_eq!((&progress["type"], &progress["cursor"]), (&json!("progress"), &json!(end)));
    drop((stream, socket));
    app.stop().await;
}
