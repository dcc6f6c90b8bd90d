//! Named subscriptions on WebSocket. A collection may have many on one connection; each receives its own cursors and can
//! resume from them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Database, Replica, TestApp, TestSocket, event, on_both_databases, sequence_of};

/// Returns the event that a named subscription must receive for a write that answered `document` and `cursor`.
fn named(id: &str, kind: &str, reason: &str, cursor: &str, document: &Value) -> Value {
    let mut document = document.clone();
    document.as_object_mut().unwrap().remove("collection");
    json!({
        "type": "event", "id": id, "collection": "posts", "event": kind, "reason": reason, "cursor": cursor,
        "document": document,
    })
}

/// Reads `progress` messages up to the one whose cursor is `until`.
async fn progress(socket: &mut TestSocket, id: &str, until: &str) {
    loop {
        let message = socket.next().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("progress"), &json!(id)), "{message}");
        if message["cursor"] == until {
            return;
        }
    }
}

on_both_databases! {
    async fn a_named_subscription_is_served_with_exactly_these_messages(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut socket = app.socket().await;
        socket.send_text(r#"{"type":"subscribe","id":"s \"1\"","collection":"posts","filters":{"n":1}}"#).await;
        let subscribed =
            format!(r#"{{"type":"subscribed","id":"s \"1\"","collection":"posts","cursor":"{begin}"}}"#);
        assert_eq!(socket.next_text().await, subscribed);

        let answer = app.put("/collections/posts/a", json!({ "n": 1, "text": "x\ny" })).await;
        let (at, cursor) = (answer.data()["createdAt"].as_str().unwrap(), answer.header("x-cursor"));
        let expected = format!(
            r#"{{"type":"event","id":"s \"1\"","collection":"posts","event":"created","reason":"written","cursor":"{cursor}","document":{{"id":"a","data":{{"n":1,"text":"x\ny"}},"createdAt":"{at}","updatedAt":"{at}","version":1}}}}"#
        );
        assert_eq!(socket.next_text().await, expected);
        socket.send_text(r#"{"type":"unsubscribe","id":"s \"1\""}"#).await;
        socket.settle().await;
        app.put("/collections/posts/b", json!({ "n": 1 })).await;
        socket.settle().await;
    }

    async fn a_reason_distinguishes_a_write_from_starting_to_match(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "posts", json!({ "filters": { "in": true } })).await;
        let mut shown = Value::Null;
        for (method, body, kind, reason) in [
            (Method::PUT, json!({ "in": true }), "created", "written"),
            (Method::PATCH, json!({ "n": 1 }), "updated", "written"),
            (Method::PATCH, json!({ "in": false }), "deleted", "left"),
            (Method::PATCH, json!({ "in": true }), "created", "entered"),
            (Method::DELETE, Value::Null, "deleted", "removed"),
        ] {
            let answer = app.send(app.request(method, "/collections/posts/a").json(&body)).await;
            if kind != "deleted" {
                shown = answer.data().clone();
            }
            assert_eq!(socket.next().await, named("s", kind, reason, answer.header("x-cursor"), &shown));
        }
    }

    async fn named_subscriptions_share_a_collection_with_the_plain_one(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        for n in 0..40 {
            let filters = json!({ "filters": { "n": n % 20 } });
            assert_eq!(socket.subscribe_named(&n.to_string(), "posts", filters).await["type"], "subscribed");
        }
        socket.subscribe("posts", json!({ "n": 7 })).await;
        let answer = app.put("/collections/posts/a", json!({ "n": 7 })).await;
        let mut messages = [socket.next().await, socket.next().await, socket.next().await];
        messages.sort_by_key(|message| message["id"].to_string());
        let expected = |id| named(id, "created", "written", answer.header("x-cursor"), answer.data());
        assert_eq!(messages, [expected("27"), expected("7"), event("posts", "created", answer.data())]);

        // An `unsubscribe` ends only the subscription that it names; an unknown id is ignored.
        socket.send(json!({ "type": "unsubscribe", "collection": "posts" })).await;
        socket.send(json!({ "type": "unsubscribe", "id": "27" })).await;
        socket.send(json!({ "type": "unsubscribe", "id": "nobody" })).await;
        socket.settle().await;
        let answer = app.delete("/collections/posts/a").await;
        assert_eq!(socket.next().await["cursor"], answer.header("x-cursor"));
        socket.settle().await;
    }

    async fn a_cursor_replays_later_changes_on_another_connection(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut expected = Vec::new();
        for n in 0..400 {
            let answer = app.post("/collections/posts", json!({ "n": n })).await;
            expected.push(named("s", "created", "written", answer.header("x-cursor"), answer.data()));
        }
        for (from, since) in [(0, &begin[..]), (1, expected[0]["cursor"].as_str().unwrap()), (397, expected[396]["cursor"].as_str().unwrap())] {
            let mut socket = app.socket().await;
            let subscribed = socket.subscribe_named("s", "posts", json!({ "since": since })).await;
            assert_eq!(subscribed["cursor"], since);
            for expected in &expected[from..] {
                assert_eq!(&socket.next().await, expected);
            }
            socket.settle().await;
        }
    }

    async fn an_unusable_cursor_ends_only_its_own_subscription(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        let good = socket.subscribe_named("good", "posts", json!({})).await["cursor"].clone();
        let resync = socket.subscribe_named("bad", "posts", json!({ "since": "abc" })).await;
        let message = "this is not a valid cursor; send the text of a cursor exactly as the server gave it";
        let expected = json!({ "type": "resync", "id": "bad", "code": "INVALID_CURSOR", "message": message, "cursor": good });
        assert_eq!(resync, expected);
        let answer = app.put("/collections/posts/a", json!({})).await;
        assert_eq!(socket.next().await, named("good", "created", "written", answer.header("x-cursor"), answer.data()));
        socket.settle().await;
        // An empty cursor counts as no cursor.
        assert_eq!(socket.subscribe_named("bad", "posts", json!({ "since": "" })).await["type"], "subscribed");
    }

    async fn an_error_carries_the_id_and_leaves_the_others_alone(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("good", "posts", json!({})).await;
        let long = "x".repeat(129);
        for (why, message, code, id) in [
            ("a name that no collection can have", json!({ "id": "s", "collection": "1none" }), "INVALID_COLLECTION", json!("s")),
            ("a bad filter", json!({ "id": "s", "collection": "posts", "filters": [] }), "INVALID_FILTER", json!("s")),
            ("no collection", json!({ "id": "s" }), "INVALID_BODY", json!("s")),
            ("an id that is a number", json!({ "id": 7, "collection": "posts" }), "INVALID_BODY", json!(7)),
            ("an empty id", json!({ "id": "", "collection": "posts" }), "INVALID_BODY", json!("")),
            ("an id that is too long", json!({ "id": long, "collection": "posts" }), "INVALID_BODY", json!(long)),
            ("`since` is a number", json!({ "id": "s", "collection": "posts", "since": 1 }), "INVALID_BODY", json!("s")),
            ("`snapshot` is text", json!({ "id": "s", "collection": "posts", "snapshot": "yes" }), "INVALID_BODY", json!("s")),
            // The existing subscription `good` continues unchanged.
            ("a bad filter for an existing subscription", json!({ "id": "good", "collection": "posts", "filters": 1 }), "INVALID_FILTER", json!("good")),
        ] {
            let mut message = message;
            message["type"] = json!("subscribe");
            socket.send(message).await;
            assert_eq!(socket.next_error().await, (code.to_owned(), Some(id)), "{why}");
        }
        for message in [
            json!({ "type": "subscribe", "collection": "posts", "snapshot": true }),
            json!({ "type": "subscribe", "collection": "posts", "since": "x" }),
        ] {
            socket.send(message).await;
            assert_eq!(socket.next_error().await, ("INVALID_BODY".to_owned(), None));
        }
        let answer = app.put("/collections/posts/a", json!({})).await;
        assert_eq!(socket.next().await["cursor"], answer.header("x-cursor"));
        app.delete("/collections/posts").await;
        // Removing the collection ends the subscription with an error that carries its id.
        assert_eq!(socket.next_error().await, ("INVALID_COLLECTION".to_owned(), Some(json!("good"))));
        socket.settle().await;
    }

    async fn subscribing_with_an_id_in_use_replaces_that_subscription(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        app.post("/collections", json!({ "name": "notes" })).await;
        let mut socket = app.socket().await;
        socket.subscribe_named("s", "posts", json!({ "filters": { "n": 1 } })).await;
        socket.subscribe_named("s", "posts", json!({ "filters": { "n": 2 } })).await;
        app.put("/collections/posts/a", json!({ "n": 1 })).await;
        let answer = app.put("/collections/posts/b", json!({ "n": 2 })).await;
        assert_eq!(socket.next().await, named("s", "created", "written", answer.header("x-cursor"), answer.data()));
        // The replacement may be on another collection.
        socket.subscribe_named("s", "notes", json!({})).await;
        app.put("/collections/posts/b", json!({ "n": 2 })).await;
        let answer = app.put("/collections/notes/a", json!({})).await;
        assert_eq!(socket.next().await["cursor"], answer.header("x-cursor"));
    }

    async fn a_log_that_goes_back_ends_or_restarts_a_named_subscription(app: &TestApp) {
        for n in 0..3 {
            app.put(&format!("/collections/posts/{n}"), json!({})).await;
        }
        let mut socket = app.socket().await;
        socket.subscribe_named("live", "posts", json!({})).await;
        let mut replica = Replica::default();
        let mut other = app.socket().await;
        replica.take(&other.subscribe_named("view", "posts", json!({ "snapshot": true })).await);
        while replica.cursor().is_none() {
            replica.take(&other.next().await);
        }
        assert_eq!(replica.len(), 3);

        let mut sql = app.sql().await;
        sql.execute("DELETE FROM documents WHERE id <> '0'").await;
        sql.execute("DELETE FROM changes WHERE sequence > 2").await;
        sql.execute("UPDATE heads SET head = 2, head_at = (SELECT at FROM changes WHERE sequence = 2)").await;

        let resync = socket.next().await;
        assert_eq!((&resync["type"], &resync["code"]), (&json!("resync"), &json!("CURSOR_EXPIRED")));
        assert_eq!(sequence_of(resync["cursor"].as_str().unwrap()), 2);
        while replica.counts().snapshots < 2 {
            replica.take(&other.next().await);
        }
        app.put("/collections/posts/new", json!({})).await;
        replica.take(&other.next().await);
        assert_eq!(replica.documents().keys().collect::<Vec<_>>(), ["0", "new"]);
        assert_eq!(replica.counts().resyncs, 1);
        socket.settle().await;
    }

    async fn a_client_that_stops_reading_gets_everything_on_the_same_connection(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        let mut replicas = [Replica::default(), Replica::default()];
        replicas[0].take(&socket.subscribe_named("0", "posts", json!({})).await);
        replicas[1].take(&socket.subscribe_named("1", "posts", json!({ "filters": { "half": true } })).await);
        let write = async |writer: usize| {
            for n in 0..200 {
                let padding = "x".repeat(2000);
                app.put(&format!("/collections/posts/{writer}-{}", n % 50), json!({ "n": n, "half": n % 2 == 0, "padding": padding })).await;
            }
        };
        futures_util::future::join_all((0..10).map(write)).await;
        let list = app.get("/collections/posts?limit=1000").await;
        let until = list.body["cursor"].as_str().unwrap().to_owned();
        app.put("/collections/posts/last", json!({ "half": true })).await;
        while !replicas.iter().all(|replica| replica.sequence() > Some(sequence_of(&until))) {
            let message = socket.next().await;
            replicas[usize::from(message["id"] == "1")].take(&message);
        }
        assert_eq!((replicas[0].counts().events, replicas[0].len()), (2001, 501));
        assert_eq!(replicas[1].len(), 251);
        socket.settle().await;
    }
}

async fn slow_heartbeat(database: Database) -> TestApp {
    TestApp::start_with(database, |config| config.heartbeat = Duration::from_secs(1)).await
}

async fn cursors_move_on_past_what_does_not_match(database: Database) {
    let app = slow_heartbeat(database).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let mut socket = app.socket().await;
    let first = socket.subscribe_named("s", "posts", json!({ "filters": { "n": "nothing" } })).await;
    let first = first["cursor"].as_str().unwrap();
    let mut stream = app.stream("/realtime/sse/posts?n=nothing", None).await;
    stream.opened().await;
    let mut end = String::new();
    for n in 0..60 {
        end = app.post("/collections/posts", json!({ "n": n })).await.header("x-cursor").to_owned();
    }
    progress(&mut socket, "s", &end).await;
    while stream.last_event_id.as_ref() != Some(&end) {
        stream.next_block().await;
    }
    drop((socket, stream));

    // The log is pruned past the first cursor, but not past the last one that both readers received.
    let floor = sequence_of(&end) - 1;
    let mut sql = app.sql().await;
    sql.execute(&format!(
        "UPDATE heads SET floor = {floor}, floor_at = (SELECT at FROM changes WHERE sequence = {floor}); \
         DELETE FROM changes WHERE sequence <= {floor}"
    ))
    .await;
    let mut socket = app.socket().await;
    let again = socket.subscribe_named("s", "posts", json!({ "since": end })).await;
    assert_eq!((&again["type"], &again["cursor"]), (&json!("subscribed"), &json!(end)));
    let mut stream = app.stream("/realtime/sse/posts", Some(&end)).await;
    assert_eq!(stream.opened().await, end);
    let expired = socket.subscribe_named("late", "posts", json!({ "since": first })).await;
    assert_eq!((&expired["type"], &expired["code"]), (&json!("resync"), &json!("CURSOR_EXPIRED")));
    drop((socket, stream));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_nothing_needs_no_resync_after_pruning_on_sqlite() {
    cursors_move_on_past_what_does_not_match(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_matches_nothing_needs_no_resync_after_pruning_on_postgres() {
    cursors_move_on_past_what_does_not_match(Database::Postgres).await;
}
