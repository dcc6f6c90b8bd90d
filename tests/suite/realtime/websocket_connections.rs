//! The life of a WebSocket connection: its keys, its failed attempts, its limit of subscriptions, and when the server
//! closes it.

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    client::IntoClientRequest, handshake::client::Request, http::HeaderValue,
    protocol::frame::coding::CloseCode,
};

use crate::harness::{
    Database, PUBLISHABLE_KEY, RawSocket, SECRET_KEY, TestApp, TestSocket, event, on_both_databases, process,
};

fn handshake(app: &TestApp, path: &str, header: Option<(&'static str, &str)>) -> Request {
    let mut request = format!("{}{path}", app.url.replace("http", "ws")).into_client_request().unwrap();
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// Runs a `coir` command on the server's database and returns the words that it printed.
pub(super) async fn run_beside(app: &TestApp, arguments: &[&str]) -> Vec<String> {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

on_both_databases! {
    async fn a_key_in_the_handshake_counts_as_an_auth_message(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let bearer = format!("Bearer {SECRET_KEY}");
        let with_token = format!("/realtime?token={PUBLISHABLE_KEY}");
        for request in [
            handshake(app, "/realtime", Some(("authorization", &bearer))),
            handshake(app, "/realtime", Some(("x-api-key", PUBLISHABLE_KEY))),
            handshake(app, &with_token, None),
            handshake(app, &with_token, Some(("x-api-key", PUBLISHABLE_KEY))),
        ] {
            let mut socket = TestSocket::connect(request).await;
            socket.subscribe("posts", json!({})).await;
            let document = app.create("posts", json!({})).await;
            assert_eq!(socket.next().await, event("posts", "created", &document));
        }
    }

    async fn a_bad_key_in_the_handshake_is_an_error_on_a_connection_that_stays_open(app: &TestApp) {
        for (why, path, header) in [
            ("an unknown key", "/realtime", Some(("x-api-key", "pk_00000000000000000000"))),
            ("a secret key in a URL", &*format!("/realtime?token={SECRET_KEY}"), None),
            ("a user's token in a URL", "/realtime?token=aa.bb.cc", None),
            ("two keys", &*format!("/realtime?token={PUBLISHABLE_KEY}"), Some(("x-api-key", SECRET_KEY))),
        ] {
            let mut socket = TestSocket::connect(handshake(app, path, header)).await;
            let error = socket.next().await;
            assert_eq!(error["code"], "UNAUTHORIZED", "{why}: {error}");
            assert_eq!(error["message"], "Invalid or missing authentication token", "{why}");
            socket.authenticate(SECRET_KEY).await;
            socket.settle().await;
        }
    }

    async fn a_second_auth_may_change_the_key_but_not_the_project(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let words = run_beside(app, &["projects", "create", "other", "--open"]).await;
        let foreign = words.iter().find(|word| word.starts_with("pk_")).unwrap();

        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        socket.authenticate(PUBLISHABLE_KEY).await;
        socket.settle().await;
        socket.authenticate(foreign).await;
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");

        let document = app.create("posts", json!({})).await;
        assert_eq!(socket.next().await, event("posts", "created", &document));
    }

    async fn subscriptions_end_when_a_key_without_the_right_to_read_takes_over(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let limited = run_beside(app, &["keys", "create", "secret", "--scope", "documents:write"]).await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        socket.authenticate(&limited[0]).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");

        app.create("posts", json!({})).await;
        socket.settle().await;
        socket.send(json!({ "type": "subscribe", "collection": "posts" })).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");
    }

    async fn the_streams_of_a_revoked_key_are_told_and_closed(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let key = run_beside(app, &["keys", "create", "publishable"]).await.remove(0);
        let mut socket = app.anonymous_socket().await;
        socket.authenticate(&key).await;
        socket.subscribe("posts", json!({})).await;
        let request = app.request_as(&key, reqwest::Method::GET, "/realtime/sse/posts");
        let mut stream = crate::harness::TestStream::open(request).await;
        stream.opened().await;

        run_beside(app, &["keys", "revoke", &key]).await;
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
        assert_eq!(socket.next_close().await.code, CloseCode::Policy);
        let error = stream.next_event().await;
        assert_eq!((error.event.as_deref(), &error.json()["code"]), (Some("error"), &json!("UNAUTHORIZED")));
        assert_eq!(stream.try_next_block().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failed_auth_messages_close_the_connection() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut socket = app.anonymous_socket().await;
    for _ in 0..5 {
        socket.authenticate("pk_00000000000000000000").await;
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
    }
    assert_eq!(socket.next_close().await.code, CloseCode::Policy);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_authenticate_in_time_is_closed() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut known = app.socket().await;
    known.settle().await;
    let mut unknown = app.anonymous_socket().await;
    let mut wrong = app.anonymous_socket().await;
    wrong.authenticate("pk_00000000000000000000").await;
    assert_eq!(wrong.next_error().await.0, "UNAUTHORIZED");
    // The server waits 10 s; other messages do not extend that time.
    unknown.settle().await;
    assert_eq!(unknown.next_close().await.code, CloseCode::Policy);
    assert_eq!(wrong.next_close().await.code, CloseCode::Policy);
    known.settle().await;
    drop(known);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_has_the_whole_time_to_authenticate() {
    let app =
        TestApp::start_with(Database::Sqlite, |config| config.heartbeat = std::time::Duration::from_secs(1))
            .await;
    // The silent one is not read meanwhile, so it answers no ping for ten heartbeats.
    let mut silent = app.anonymous_socket().await;
    let mut answering = app.anonymous_socket().await;
    assert_eq!(answering.next_close().await.code, CloseCode::Policy);
    assert_eq!(silent.next_close().await.code, CloseCode::Policy);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_at_most_100_subscriptions() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut socket = app.socket().await;
    for n in 0..=100 {
        app.post("/collections", json!({ "name": format!("c{n}") })).await;
    }
    for n in 0..100 {
        socket.send(json!({ "type": "subscribe", "collection": format!("c{n}") })).await;
    }
    socket.settle().await;
    socket.send(json!({ "type": "subscribe", "collection": "c100" })).await;
    assert_eq!(socket.next_error().await.0, "OVERLOADED");
    // Replacing a subscription does not add one, and unsubscribing makes room for another.
    socket.subscribe("c0", json!({ "n": 1 })).await;
    socket.send(json!({ "type": "unsubscribe", "collection": "c1" })).await;
    socket.subscribe("c100", json!({})).await;
    let document = app.create("c100", json!({})).await;
    assert_eq!(socket.next().await, event("c100", "created", &document));
    drop(socket);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_closed_and_one_that_does_is_not() {
    let second = std::time::Duration::from_secs(1);
    let app = TestApp::start_with(Database::Sqlite, |config| config.heartbeat = second).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let mut answering = app.socket().await;
    answering.subscribe("posts", json!({})).await;
    let mut silent = RawSocket::connect(&app).await;
    let auth = json!({ "type": "auth", "token": SECRET_KEY }).to_string();
    silent.send(&crate::harness::raw::frame(0x81, auth.as_bytes())).await;

    let mut pings = 0;
    let close = async {
        loop {
            match silent.next_frame().await.expect("closed without a close frame") {
                (0x89, _) => pings += 1,
                (0x88, payload) => return u16::from_be_bytes([payload[0], payload[1]]),
                other => panic!("expected a ping or a close frame, not {other:?}"),
            }
        }
    };
    // The socket's library answers pings while it is read.
    let code = tokio::select! {
        code = close => code,
        frame = answering.next_frame() => panic!("the peer that answers pings received {frame:?}"),
    };
    assert_eq!(code, 1001);
    assert!((2..=4).contains(&pings), "{pings} pings");
    silent.closed().await;

    let document = app.create("posts", json!({})).await;
    assert_eq!(answering.next().await, event("posts", "created", &document));
    drop(answering);
    app.stop().await;
}
