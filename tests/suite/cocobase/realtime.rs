//! The WebSockets of the Cocobase client libraries, message by message: the messages that the Flutter and Go libraries send,
//! and invalid ones.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::harness::{PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, on_both_databases, process};

async fn open(app: &TestApp, path: &str) -> TestSocket {
    TestSocket::connect(&format!("{}/realtime/{path}", app.url.replace("http", "ws"))).await
}

/// Opens a socket and sends its first message. Returns the socket and the answer.
async fn begin(app: &TestApp, path: &str, mut first: Value) -> (TestSocket, Value) {
    let mut socket = open(app, path).await;
    if first.get("api_key").is_none() {
        first["api_key"] = PUBLISHABLE_KEY.into();
    }
    socket.send(first).await;
    let answer = socket.next().await;
    (socket, answer)
}

async fn close_code(socket: &mut TestSocket) -> CloseCode {
    match socket.next_frame().await {
        Message::Close(Some(frame)) => frame.code,
        other => panic!("expected a close frame, not {other:?}"),
    }
}

/// Returns the error that ends a socket, and asserts that the server then closes it with 1008.
async fn refusal(socket: &mut TestSocket) -> Value {
    let error = socket.next().await;
    assert!(error["error"].is_string(), "{error}");
    assert_eq!(close_code(socket).await, CloseCode::Policy, "{error}");
    error
}

on_both_databases! {
    async fn an_invalid_first_message_is_refused(app: &TestApp) {
        app.create("books", json!({})).await;
        let room = "rooms/lobby";
        let key = PUBLISHABLE_KEY;
        for (why, path, first, error) in [
            ("no key", "collections/books", json!({}), "API key is required"),
            ("an empty key", "broadcast", json!({ "api_key": "" }), "API key is required"),
            ("a key that is not text", room, json!({ "api_key": 7, "action": "create" }), "API key is required"),
            ("an unknown key", "collections/books", json!({ "api_key": "pk_0000000000000000nobody" }), "Invalid API key"),
            ("text that is not a key", "broadcast", json!({ "api_key": "x" }), "Invalid API key"),
            ("the key is checked before the room", room, json!({ "api_key": "x", "action": "join" }), "Invalid API key"),
            ("filters that are not an object", "collections/books", json!({ "api_key": key, "filters": 7 }), "filters must be"),
            ("an invalid filter term", "collections/books", json!({ "api_key": key, "filters": { "a..b": 1 } }), "filter term `a..b`"),
            ("an invalid collection name", "collections/no%20name", json!({ "api_key": key }), "Collection not found or access denied"),
            ("an unknown collection id", "collections/0190c0de-0000-7000-8000-000000000000", json!({ "api_key": key }), "Collection not found or access denied"),
            ("no action", room, json!({ "api_key": key }), "`action` is create or join"),
            ("an unknown action", room, json!({ "api_key": key, "action": "leave" }), "`action` is create or join"),
            ("a title that is not text", room, json!({ "api_key": key, "action": "create", "room_title": 7 }), "`room_title` is"),
            ("a title that is too long", room, json!({ "api_key": key, "action": "create", "room_title": "x".repeat(257) }), "`room_title` is"),
            ("a name that is too long", "broadcast", json!({ "api_key": key, "user_name": "x".repeat(129) }), "`user_name` is"),
            ("a user id that is an object", "broadcast", json!({ "api_key": key, "user_id": {} }), "`user_id` is"),
            ("an unknown room", room, json!({ "api_key": key, "action": "join" }), "Room not found"),
        ] {
            let mut socket = open(app, path).await;
            socket.send(first).await;
            let refused = refusal(&mut socket).await;
            assert!(refused["error"].as_str().unwrap().starts_with(error), "{why}: {refused}");
            assert_eq!(refused["room_id"].is_string(), error == "Room not found", "{why}");
        }
        for text in ["hello", "[1]", "{", "\"ping\"", "[\"pk\"]"] {
            let mut socket = open(app, "broadcast").await;
            socket.send_text(text).await;
            refusal(&mut socket).await;
        }
        let mut socket = open(app, "broadcast").await;
        socket.send_text(&format!("{{\"api_key\":\"{}\"}}", "x".repeat(17_000))).await;
        assert_eq!(close_code(&mut socket).await, CloseCode::Size);
        let (mut socket, _) = begin(app, "rooms/big", json!({ "action": "create" })).await;
        socket.next().await;
        socket.send_text(&json!({ "type": "message", "content": "x".repeat(70_000) }).to_string()).await;
        assert_eq!(close_code(&mut socket).await, CloseCode::Size);
    }

    async fn a_socket_without_a_first_message_is_closed_after_10_seconds(app: &TestApp) {
        let begun = Instant::now();
        let mut watcher = open(app, "collections/books").await;
        let mut room = open(app, "rooms/lobby").await;
        watcher.send_text("ping").await;
        assert_eq!(watcher.next().await, json!({ "event": "pong" }), "a ping is answered, but does not count as the first message");
        for socket in [&mut watcher, &mut room] {
            assert_eq!(refusal(socket).await, json!({ "error": "Authentication timeout" }));
        }
        assert!(begun.elapsed() > Duration::from_secs(9));
    }

    async fn both_kinds_of_ping_are_answered(app: &TestApp) {
        for (path, first) in [
            ("collections/books", json!({})),
            ("broadcast", json!({})),
        ] {
            let (mut socket, connected) = begin(app, path, first).await;
            assert_eq!(connected["event"], "connected");
            socket.send_text("ping").await;
            assert_eq!(socket.next().await, json!({ "event": "pong" }));
            socket.send(json!({ "type": "ping" })).await;
            assert_eq!(socket.next().await, json!({ "type": "pong" }));
            socket.send(json!({ "type": "nonsense" })).await;
            assert!(socket.next().await["error"].is_string(), "the socket gets an error and stays open");
            socket.send(json!({ "type": "ping" })).await;
            assert_eq!(socket.next().await, json!({ "type": "pong" }));
        }
    }

    async fn a_watcher_that_sends_its_cursor_gets_what_it_missed(app: &TestApp) {
        app.post("/collections/books", json!({ "title": "Old", "genre": "Fantasy" })).await;
        let first = |since: &str| json!({ "filters": { "genre": "Fantasy" }, "since": since });
        let (mut socket, connected) = begin(app, "collections/books", first("")).await;
        assert!(connected["cursor"].is_string() && connected.get("resumed").is_none(), "{connected}");
        app.create("books", json!({ "title": "Seen", "genre": "Fantasy" })).await;
        let seen = socket.next().await;
        assert_eq!(seen["data"]["data"]["title"], "Seen");
        drop(socket);

        let missed = app.create("books", json!({ "title": "Missed", "genre": "Fantasy" })).await;
        app.create("books", json!({ "title": "Other", "genre": "Novel" })).await;
        app.delete(&format!("/collections/books/{}", missed["id"].as_str().unwrap())).await;
        for cursor in [&seen["cursor"], &connected["cursor"]] {
            let (mut socket, again) = begin(app, "collections/books", first(cursor.as_str().unwrap())).await;
            assert_eq!((&again["resumed"], &again["cursor"]), (&json!(true), cursor));
            if cursor == &connected["cursor"] {
                assert_eq!(socket.next().await["data"]["data"]["title"], "Seen");
            }
            let [created, deleted] = [socket.next().await, socket.next().await];
            assert_eq!((&created["event"], &deleted["event"]), (&json!("create"), &json!("delete")));
            assert_eq!((&created["data"]["id"], &deleted["data"]["id"]), (&missed["id"], &missed["id"]));
            assert!(created["cursor"].is_string() && created["cursor"] != deleted["cursor"]);
        }
        let (mut lost, connected) = begin(app, "collections/books", first("of-no-log")).await;
        assert_eq!(connected["resumed"], false);
        app.create("books", json!({ "title": "Next", "genre": "Fantasy" })).await;
        assert_eq!(lost.next().await["data"]["data"]["title"], "Next");
    }

    async fn a_watcher_of_a_missing_collection_resumes_from_before_its_first_document(app: &TestApp) {
        let (socket, connected) = begin(app, "collections/todos", json!({ "since": "" })).await;
        drop(socket);
        app.create("todos", json!({ "text": "Milk" })).await;
        let since = json!({ "since": connected["cursor"] });
        let (mut socket, connected) = begin(app, "collections/todos", since).await;
        assert_eq!(connected["resumed"], true);
        assert_eq!(socket.next().await["data"]["data"]["text"], "Milk");
    }

    async fn flutter_and_go_watch_with_nothing_but_a_key(app: &TestApp) {
        let old = app.create("books", json!({ "title": "Old" })).await;
        let (mut socket, connected) = begin(app, "collections/books", json!({})).await;
        assert_eq!(connected, json!({ "event": "connected", "collection_id": "books" }));
        let document = app.create("books", json!({ "title": "Ubik" })).await;
        let event = socket.next().await;
        assert_eq!(event["event"], "create");
        assert_eq!(event["collection_id"], "books");
        assert_eq!(event["data"], event["document"]);
        // The Go library's `Event.Data` is a whole document, whose times have a zone.
        assert_eq!(event["data"]["id"], document["id"]);
        assert_eq!(event["data"]["data"], json!({ "title": "Ubik" }));
        assert_eq!(event["data"]["created_at"], document["createdAt"]);
        assert_eq!(event["data"]["updated_at"], document["updatedAt"]);
        assert_eq!(event["data"]["collection"]["name"], "books");
        let read = app.get(&format!("/collections/books/documents/{}", document["id"].as_str().unwrap())).await;
        assert_eq!(event["data"], read.body, "the event shows the document as a read does");
        app.delete(&format!("/collections/books/{}", old["id"].as_str().unwrap())).await;
        assert_eq!(socket.next().await["event"], "delete");
    }

    async fn old_data_is_only_what_the_watcher_could_see(app: &TestApp) {
        let (mut socket, _) = begin(app, "collections/books", json!({ "filters": { "shown": true } })).await;
        let document = app.create("books", json!({ "shown": false, "secret": 1 })).await;
        let path = format!("/collections/books/{}", document["id"].as_str().unwrap());
        for (change, kind, old) in [
            (json!({ "shown": true, "secret": 2 }), "create", Value::Null),
            (json!({ "secret": 3 }), "update", json!({ "shown": true, "secret": 2 })),
            (json!({ "shown": false, "secret": 4 }), "delete", Value::Null),
        ] {
            app.patch(&path, change).await;
            let event = socket.next().await;
            assert_eq!((&event["event"], &event["old_data"]), (&json!(kind), &old));
        }
    }

    async fn a_watched_collection_may_be_created_later_and_removed(app: &TestApp) {
        let (mut socket, _) = begin(app, "collections/later", json!({ "filters": { "n_gt": 1 } })).await;
        app.create("books", json!({ "n": 2 })).await;
        app.post("/collections/later/batch", json!({ "documents": [{ "n": 1 }, { "n": 2 }, { "n": 3 }] })).await;
        for n in [2, 3] {
            let event = socket.next().await;
            assert_eq!((&event["event"], &event["data"]["data"]), (&json!("create"), &json!({ "n": n })));
        }
        app.delete("/collections/later").await;
        assert_eq!(refusal(&mut socket).await["error"], "Collection not found or access denied");
    }

    async fn a_watcher_hears_another_nodes_writes_from_the_first_document_on(app: &TestApp) {
        let other = app.start_second_node().await;
        let (mut early, _) = begin(&other, "collections/later", json!({})).await;
        app.create("later", json!({ "n": 1 })).await;
        let (mut late, _) = begin(&other, "collections/later", json!({})).await;
        app.create("later", json!({ "n": 2 })).await;
        for n in [1, 2] {
            assert_eq!(early.next().await["data"]["data"], json!({ "n": n }));
        }
        assert_eq!(late.next().await["data"]["data"], json!({ "n": 2 }), "changes before `connected` are not delivered");
        drop((early, late));
        other.stop().await;
    }

    async fn a_revoked_key_ends_its_sockets(app: &TestApp) {
        let coir = |arguments: Vec<String>| {
            let mut command = process::command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            command.env("DATABASE_URL", &app.config.database_url);
            async move { tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap() }
        };
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let key = String::from_utf8(coir(words("keys create publishable")).await.stdout).unwrap().trim().to_owned();
        let first = |action: &str| json!({ "api_key": key, "action": action });
        let (mut watcher, _) = begin(app, "collections/books", first("")).await;
        let (mut room, _) = begin(app, "rooms/lobby", first("create")).await;
        room.next().await;
        coir(words(&format!("keys revoke {key}"))).await;
        for socket in [&mut watcher, &mut room] {
            assert_eq!(refusal(socket).await["error"], "Invalid API key");
        }
    }

    async fn a_key_needs_the_realtime_scope(app: &TestApp) {
        let mut command = process::command(&["keys", "create", "publishable", "--scope", "documents:read"]);
        command.env("DATABASE_URL", &app.config.database_url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let key = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        for path in ["collections/books", "broadcast", "rooms/lobby"] {
            let mut socket = open(app, path).await;
            socket.send(json!({ "api_key": key, "action": "create" })).await;
            assert!(refusal(&mut socket).await["error_detail"].as_str().unwrap().contains("realtime"), "{path}");
        }
        let rooms = app.send(app.request_as(&key, Method::GET, "/realtime/rooms")).await;
        assert_eq!(rooms.status, 403);
        assert!(rooms.body["detail"].is_string());
    }

    async fn room_members_may_have_no_name_or_an_odd_one(app: &TestApp) {
        let (mut ada, connected) = begin(app, "broadcast", json!({ "user_id": 7, "user_name": "A\"d\u{1f600}a" })).await;
        assert_eq!((&connected["event"], &connected["user_id"]), (&json!("connected"), &json!(7)));
        assert!(connected["project_id"].is_string());
        let (mut nobody, connected) = begin(app, "broadcast", json!({})).await;
        assert_eq!(connected["user_id"], "anonymous");
        nobody.send(json!({ "type": "message", "data": null })).await;
        for socket in [&mut ada, &mut nobody] {
            let message = socket.next().await;
            assert_eq!((&message["user_name"], &message["data"]), (&json!("Anonymous"), &Value::Null));
        }
        ada.send_text("{\"type\":\"message\",\"data\":{\"big\":12345678901234567890,\"f\":1.0}}").await;
        assert!(nobody.next_text().await.contains("{\"big\":12345678901234567890,\"f\":1.0}"), "the text is passed on unchanged");
        for bad in [json!({ "type": "message" }), json!({ "type": "message", "content": 1 }), json!({ "data": 1 })] {
            ada.send(bad).await;
        }
        let mut errors = 0;
        while errors < 3 {
            errors += usize::from(ada.next().await["error"].is_string());
        }
        let deep = format!("{{\"type\":\"message\",\"data\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        nobody.send_text(&deep).await;
        assert!(nobody.next().await["error"].is_string());
    }

    async fn a_participant_who_takes_nothing_slows_nobody(app: &TestApp) {
        let (mut speaker, joined) = begin(app, "rooms/lobby", json!({ "action": "create", "user_name": "S" })).await;
        assert_eq!(joined["room_title"], "lobby");
        speaker.next().await;
        let (_slow, _) = begin(app, "rooms/lobby", json!({ "action": "join", "user_name": "Slow" })).await;
        assert_eq!(speaker.next().await["type"], "user_joined");
        let text = "x".repeat(60_000);
        let (mut said, mut left) = (0, false);
        // These messages first fill the socket buffers of both sides.
        while !left {
            speaker.send(json!({ "type": "message", "content": { "n": said, "text": text } })).await;
            loop {
                let message = speaker.next().await;
                if message["type"] == "user_left" {
                    assert_eq!((&message["user_name"], &message["room_info"]["participants"]), (&json!("Slow"), &json!(1)));
                    left = true;
                    continue;
                }
                assert_eq!(message["content"]["n"], said, "the other members miss no message");
                break;
            }
            said += 1;
            assert!(said < 2000, "the stalled reader must be removed");
        }
        let rooms = app.send(app.request_as(SECRET_KEY, Method::GET, "/realtime/rooms")).await;
        assert_eq!((&rooms.body["total"], &rooms.body["rooms"][0]["participants"]), (&json!(1), &json!(1)));
    }
}
