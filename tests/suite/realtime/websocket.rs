//! WebSocket `/realtime`: the exact text of its messages, and which changes cause events.

use futures_util::{SinkExt, future::join_all};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{PUBLISHABLE_KEY, SECRET_KEY, TestSocket, event, on_both_databases};

const REMOVED: &str =
    "the collection was removed, and the subscription has ended; subscribe again to wait for a new one";

on_both_databases! {
    async fn a_subscription_is_served_with_exactly_these_messages(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.anonymous_socket().await;
        // The client sends all messages at once; it need not wait for an answer in between.
        for text in [
            &format!(r#"{{"type":"auth","token":"{SECRET_KEY}"}}"#),
            r#"{"type":"subscribe","collection":"posts","filters":{"status":"published"}}"#,
            r#"{"type":"ping"}"#,
        ] {
            socket.inner.feed(Message::text(text)).await.unwrap();
        }
        socket.inner.flush().await.unwrap();
        assert_eq!(socket.next_text().await, r#"{"type":"pong"}"#, "a successful message has no answer");

        let made = app.create("posts", json!({ "title": "Hello \"you\"", "status": "published" })).await;
        let path = format!("/collections/posts/{}", made["id"].as_str().unwrap());
        app.patch(&path, json!({ "n": 1.5 })).await;
        app.delete(&path).await;

        let text = |kind: &str, data: &str| {
            let (id, at) = (made["id"].as_str().unwrap(), made["createdAt"].as_str().unwrap());
            format!(
                r#"{{"type":"event","collection":"posts","event":"{kind}","document":{{"id":"{id}","data":{data},"createdAt":"{at}"}}}}"#
            )
        };
        let first = r#"{"status":"published","title":"Hello \"you\""}"#;
        let second = r#"{"n":1.5,"status":"published","title":"Hello \"you\""}"#;
        assert_eq!(socket.next_text().await, text("created", first));
        assert_eq!(socket.next_text().await, text("updated", second));
        assert_eq!(socket.next_text().await, text("deleted", second));

        socket.send_text(r#"{"type":"unsubscribe","collection":"posts"}"#).await;
        socket.send_text(r#"{"type":"ping"}"#).await;
        assert_eq!(socket.next_text().await, r#"{"type":"pong"}"#, "a successful message has no answer");
    }

    async fn an_unknown_parameter_of_the_handshake_is_told_and_the_stream_goes_on(app: &TestApp) {
        let url = app.url.replacen("http", "ws", 1);
        let mut socket = TestSocket::connect(format!("{url}/realtime?collection=posts&token={PUBLISHABLE_KEY}")).await;
        let told = socket.next().await;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!("INVALID_FILTER")));
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("`collection`") && message.contains("subscribe"), "{message}");
        socket.send_text(r#"{"type":"ping"}"#).await;
        assert_eq!(socket.next_text().await, r#"{"type":"pong"}"#);
    }

    async fn the_two_errors_of_the_specification_have_exactly_these_texts(app: &TestApp) {
        // A hint may follow.
        const UNAUTHORIZED: &str =
            r#"{"type":"error","code":"UNAUTHORIZED","message":"Invalid or missing authentication token","hint":""#;
        let mut socket = app.anonymous_socket().await;
        for (why, text, hint) in [
            ("subscribe before authentication", r#"{"type":"subscribe","collection":"posts"}"#, "first"),
            ("unsubscribe from an unknown collection before authentication", r#"{"type":"unsubscribe","collection":"none"}"#, "first"),
            ("an unknown key", r#"{"type":"auth","token":"pk_00000000000000000000"}"#, "coir keys list"),
            ("no token", r#"{"type":"auth"}"#, "must have a member `token`"),
            ("a ticket that nobody has", r#"{"type":"auth","token":"a.b.c"}"#, "not a stream ticket"),
        ] {
            socket.send_text(text).await;
            let told = socket.next_text().await;
            assert!(told.starts_with(UNAUTHORIZED) && told.contains(hint), "{why}: {told}");
        }
        socket.authenticate(SECRET_KEY).await;
        socket.send_text(r#"{"type":"subscribe","collection":"none"}"#).await;
        let unknown = r#"{"type":"error","code":"INVALID_COLLECTION","message":"Collection does not exist"}"#;
        assert_eq!(socket.next_text().await, unknown);
    }

    async fn events_keep_a_view_equal_to_the_matching_documents(app: &TestApp) {
        let (inside, outside) = (json!({ "status": "in" }), json!({ "status": "out" }));
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", inside.clone()).await;

        let mut shown = Value::Null;
        for (why, method, body, kind) in [
            ("created outside the filter", Method::PUT, &outside, None),
            ("updated outside the filter", Method::PATCH, &json!({ "n": 1 }), None),
            ("starts to match", Method::PATCH, &inside, Some("created")),
            ("still matches", Method::PATCH, &json!({ "n": 2 }), Some("updated")),
            ("written with the same value", Method::PATCH, &json!({ "n": 2 }), Some("updated")),
            ("stops matching; the event does not show the new data", Method::PATCH, &json!({ "status": "out", "secret": 1 }), Some("deleted")),
            ("updated outside the filter again", Method::PATCH, &json!({ "n": 3 }), None),
            ("deleted outside the filter", Method::DELETE, &Value::Null, None),
            ("created inside the filter", Method::PUT, &inside, Some("created")),
            ("replaced and still matching", Method::PUT, &json!({ "status": "in", "n": 4 }), Some("updated")),
            ("deleted while it matched", Method::DELETE, &Value::Null, Some("deleted")),
        ] {
            let answer = app.send(app.request(method, "/collections/posts/a").json(body)).await;
            assert!(answer.status.is_success(), "{why}: {answer:?}");
            if let Some(kind) = kind {
                if kind != "deleted" {
                    shown = answer.data().clone();
                }
                assert_eq!(socket.next().await, event("posts", kind, &shown), "{why}");
            }
        }
        socket.settle().await;
    }

    async fn a_filter_compares_values_of_the_same_type_only(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        for (why, filter, data, matches) in [
            ("the same number", json!({ "room": 7 }), json!({ "room": 7 }), true),
            ("the number in another spelling", json!({ "room": 7 }), json!({ "room": 7.0 }), true),
            ("text is not a number", json!({ "room": 7 }), json!({ "room": "7" }), false),
            ("a number is not text", json!({ "room": "7" }), json!({ "room": 7 }), false),
            ("true is not 1", json!({ "room": 1 }), json!({ "room": true }), false),
            ("true is not text", json!({ "room": true }), json!({ "room": "true" }), false),
            ("null matches a missing field", json!({ "room": null }), json!({}), true),
            ("letter case matters", json!({ "room": "a" }), json!({ "room": "A" }), false),
            ("both terms match", json!({ "a": 1, "b": 2 }), json!({ "a": 1, "b": 2, "c": 3 }), true),
            ("only one of two terms matches", json!({ "a": 1, "b": 2 }), json!({ "a": 1 }), false),
            ("an empty filter matches everything", json!({}), json!({ "x": 1 }), true),
        ] {
            let mut socket = app.socket().await;
            socket.subscribe("posts", filter.clone()).await;
            let document = app.create("posts", data).await;
            if matches {
                assert_eq!(socket.next().await, event("posts", "created", &document), "{why}");
                continue;
            }
            // This document matches. Its event comes next, so the one before caused none.
            let certain = app.create("posts", filter).await;
            assert_eq!(socket.next().await, event("posts", "created", &certain), "{why}");
        }
    }

    async fn replacing_filters_loses_and_repeats_no_change(app: &TestApp) {
        const WRITERS: usize = 4;
        const EACH: usize = 100;
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        let filters = [json!({ "a": 1 }), json!({ "b": 2 })];
        socket.subscribe("posts", filters[0].clone()).await;

        // Every document matches both filters.
        let write = async |writer: usize| {
            for n in 0..EACH {
                app.create("posts", json!({ "a": 1, "b": 2, "writer": writer, "n": n })).await;
            }
        };
        let read = async {
            let mut next = [0; WRITERS];
            for count in 0..WRITERS * EACH {
                let filters = &filters[count % 2];
                socket.send(json!({ "type": "subscribe", "collection": "posts", "filters": filters })).await;
                let event = socket.next().await;
                let data = &event["document"]["data"];
                let writer = data["writer"].as_u64().unwrap() as usize;
                assert_eq!(data["n"], next[writer], "of writer {writer}");
                next[writer] += 1;
            }
        };
        tokio::join!(join_all((0..WRITERS).map(write)), read);
        socket.settle().await;
    }

    async fn a_subscription_that_was_ended_sends_no_events(app: &TestApp) {
        for name in ["posts", "notes"] {
            app.post("/collections", json!({ "name": name })).await;
        }
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        socket.subscribe("notes", json!({})).await;
        socket.send(json!({ "type": "unsubscribe", "collection": "posts" })).await;
        socket.settle().await;

        app.create("posts", json!({})).await;
        let note = app.create("notes", json!({})).await;
        assert_eq!(socket.next().await, event("notes", "created", &note));
    }

    async fn a_subscription_keeps_the_name_it_was_asked_with_until_its_collection_is_removed(app: &TestApp) {
        let id = app.post("/collections", json!({ "name": "posts" })).await.data()["id"].as_str().unwrap().to_owned();
        app.post("/collections", json!({ "name": "notes" })).await;
        let (mut by_name, mut by_id) = (app.socket().await, app.socket().await);
        by_name.subscribe("posts", json!({})).await;
        by_name.subscribe("notes", json!({})).await;
        by_id.subscribe(&id, json!({})).await;

        let renamed = app.patch("/collections/posts/settings", json!({ "name": "articles" })).await;
        assert_eq!(renamed.status, StatusCode::OK);
        // A new collection with the old name is a different collection.
        app.create("posts", json!({ "n": 0 })).await;
        let document = app.create("articles", json!({ "n": 1 })).await;
        assert_eq!(by_name.next().await, event("posts", "created", &document));
        assert_eq!(by_id.next().await, event(&id, "created", &document));

        app.delete("/collections/articles").await;
        for socket in [&mut by_name, &mut by_id] {
            let ended = json!({ "type": "error", "code": "INVALID_COLLECTION", "message": REMOVED });
            assert_eq!(socket.next().await, ended);
        }
        let note = app.create("notes", json!({})).await;
        assert_eq!(by_name.next().await, event("notes", "created", &note), "other subscriptions continue");
        by_id.settle().await;
    }

    async fn an_invalid_message_is_answered_with_an_error_and_harms_nothing(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        for (why, text, code, id) in [
            ("text that is not JSON", "{", "INVALID_BODY", None),
            ("an empty message", "", "INVALID_BODY", None),
            ("an array", "[]", "INVALID_BODY", None),
            ("no type", r#"{"id":7}"#, "INVALID_BODY", Some(json!(7))),
            ("a type that is not text", r#"{"type":1,"id":"a"}"#, "INVALID_BODY", Some(json!("a"))),
            ("an unknown type", r#"{"type":"publish","id":"\"b"}"#, "INVALID_BODY", Some(json!("\"b"))),
            ("no token", r#"{"type":"auth"}"#, "UNAUTHORIZED", None),
            ("a token that is not text", r#"{"type":"auth","token":["x"]}"#, "UNAUTHORIZED", None),
            ("a bad token", r#"{"type":"auth","token":"x","id":"c"}"#, "UNAUTHORIZED", Some(json!("c"))),
            ("no collection", r#"{"type":"subscribe"}"#, "INVALID_BODY", None),
            ("a collection that is not text", r#"{"type":"subscribe","collection":{}}"#, "INVALID_BODY", None),
            ("filters that are a list", r#"{"type":"subscribe","collection":"posts","filters":[1]}"#, "INVALID_FILTER", None),
            ("filters that are text", r#"{"type":"subscribe","collection":"posts","filters":"{}"}"#, "INVALID_FILTER", None),
            ("an unknown collection", r#"{"type":"subscribe","collection":"x"}"#, "INVALID_COLLECTION", None),
            ("unsubscribe from an unknown collection", r#"{"type":"unsubscribe","collection":"y"}"#, "INVALID_COLLECTION", None),
        ] {
            socket.send_text(text).await;
            assert_eq!(socket.next_error().await, (code.to_owned(), id), "{why}");
        }
        socket.inner.send(Message::binary(r#"{"type":"ping"}"#)).await.unwrap();
        assert_eq!(socket.next_error().await.0, "INVALID_BODY", "a binary frame");

        let document = app.create("posts", json!({})).await;
        assert_eq!(socket.next().await, event("posts", "created", &document));
    }

    async fn an_unknown_member_is_refused_with_the_nearest_known_one(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut socket = app.socket().await;
        for (text, part) in [
            (r#"{"type":"subscribe","collection":"posts","filter":{"n":1}}"#, "`filter`; did you mean `filters`?"),
            (r#"{"type":"subscribe","collections":["posts"]}"#, "`collections`; did you mean `collection`?"),
            (r#"{"type":"subscribe","collection":"posts","where":{"n":1}}"#, "it may have type, collection, filters"),
            (r#"{"type":"subscribe","id":"s","collection":"posts","snapshots":true}"#, "did you mean `snapshot`?"),
            (r#"{"type":"subscribe","id":"s","collection":"posts","Since":"x"}"#, "did you mean `since`?"),
            (r#"{"type":"unsubscribe","name":"posts"}"#, "it may have type, collection, id"),
            (r#"{"type":"ping","time":1}"#, "it may have type, id"),
            (r#"{"type":"auth","token":"x","key":"y"}"#, "it may have type, token, user, id"),
        ] {
            socket.send_text(text).await;
            let error = socket.next().await;
            assert_eq!(error["code"], "INVALID_BODY", "{text}");
            assert!(error["message"].as_str().unwrap().contains(part), "{text}: {error}");
        }
        // Nothing was subscribed to.
        app.create("posts", json!({ "n": 2 })).await;
        socket.send_text(r#"{"type":"ping","note":null}"#).await;
        assert_eq!(socket.next().await, json!({ "type": "pong" }));
    }
}
