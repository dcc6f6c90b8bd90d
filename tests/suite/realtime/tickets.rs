//! Stream tickets. A browser's `EventSource` cannot set headers, so it puts a ticket in the URL. Tickets open streams and
//! nothing else.

use std::{
    io::Read,
    process::Stdio,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{
    Database, PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, TestStream, event, on_both_databases, process,
};

async fn ask_as(app: &TestApp, key: &str, wanted: Value) -> String {
    let answer = app.send(app.request_as(key, Method::POST, "/realtime/tickets").json(&wanted)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.data()["ticket"].as_str().unwrap().to_owned()
}

fn sse(app: &TestApp, collection: &str, ticket: &str) -> reqwest::RequestBuilder {
    app.http.get(format!("{}/realtime/sse/{collection}?ticket={ticket}", app.url))
}

async fn open_socket(app: &TestApp, ticket: &str) -> TestSocket {
    let url = format!("{}/realtime?ticket={ticket}", app.url.replace("http", "ws"));
    TestSocket::connect(url.into_client_request().unwrap()).await
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

async fn make_key(app: &TestApp, arguments: &[&str]) -> String {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

on_both_databases! {
    async fn a_ticket_opens_streams_again_and_again_on_every_transport_and_node(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let answer = app.send(app.request_as(PUBLISHABLE_KEY, Method::POST, "/realtime/tickets")).await;
        assert_eq!(answer.status, 201, "without a body: {answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        let ticket = answer.data()["ticket"].as_str().unwrap();
        let expires_at = answer.data()["expiresAt"].as_str().unwrap();
        let hour = (seconds() + 3590)..=(seconds() + 3600);
        let expires = time_of(expires_at);
        assert!(hour.contains(&expires), "{expires_at}");

        let other = app.start_second_node().await;
        let mut streams = Vec::new();
        let mut sockets = Vec::new();
        for node in [app, app, &other] {
            let mut stream = TestStream::open(sse(node, "posts", ticket)).await;
            stream.opened().await;
            streams.push(stream);
            let mut by_url = open_socket(node, ticket).await;
            by_url.subscribe("posts", json!({})).await;
            let mut by_message = node.anonymous_socket().await;
            by_message.authenticate(ticket).await;
            by_message.subscribe("posts", json!({})).await;
            sockets.extend([by_url, by_message]);
        }
        let document = app.create("posts", json!({})).await;
        for stream in &mut streams {
            assert_eq!(stream.next_event().await.json(), event("posts", "created", &document));
        }
        for socket in &mut sockets {
            assert_eq!(socket.next().await, event("posts", "created", &document));
        }
        // The ticket is valid for nothing else.
        for (method, path) in [(Method::GET, "/collections/posts"), (Method::POST, "/realtime/tickets")] {
            let refused = app.send(app.request_as(ticket, method.clone(), path)).await;
            assert_eq!(refused.error(), (401, "UNAUTHORIZED"), "{method} {path}");
            let refused = app.send(app.http.request(method, format!("{}{path}?ticket={ticket}", app.url))).await;
            assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
        }
        drop((streams, sockets));
        other.stop().await;
    }

    async fn a_ticket_for_one_collection_opens_no_other_and_stays_with_it_when_it_is_renamed(app: &TestApp) {
        for name in ["posts", "notes"] {
            app.post("/collections", json!({ "name": name })).await;
        }
        let ticket = ask_as(app, PUBLISHABLE_KEY, json!({ "collection": "posts" })).await;
        let refused = app.send(sse(app, "notes", &ticket)).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        TestStream::open(sse(app, "posts", &ticket)).await.opened().await;

        let mut socket = app.socket().await;
        for name in ["posts", "notes"] {
            socket.subscribe(name, json!({})).await;
        }
        // A subscription that the new principal may not watch ends.
        socket.authenticate(&ticket).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");
        socket.settle().await;
        socket.send(json!({ "type": "subscribe", "collection": "notes" })).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");
        app.create("notes", json!({})).await;
        let document = app.create("posts", json!({})).await;
        assert_eq!(socket.next().await, event("posts", "created", &document));
        // With a key, every collection can be watched again.
        socket.authenticate(PUBLISHABLE_KEY).await;
        socket.subscribe("notes", json!({})).await;

        let rename = app.request(Method::PATCH, "/collections/posts/settings").json(&json!({ "name": "articles" }));
        assert_eq!(app.send(rename).await.status, 200);
        TestStream::open(sse(app, "articles", &ticket)).await.opened().await;
    }

    async fn a_ticket_can_be_for_a_collection_that_does_not_exist_yet(app: &TestApp) {
        let ticket = ask_as(app, PUBLISHABLE_KEY, json!({ "collection": "later" })).await;
        let mut stream = TestStream::open(sse(app, "later", &ticket)).await;
        stream.opened().await;
        let mut socket = open_socket(app, &ticket).await;
        socket.send(json!({ "type": "subscribe", "collection": "later" })).await;
        assert_eq!(socket.next().await["code"], "INVALID_COLLECTION");
        assert_eq!(app.send(sse(app, "others", &ticket)).await.error(), (404, "INVALID_COLLECTION"));
        app.create("others", json!({})).await;
        assert_eq!(app.send(sse(app, "others", &ticket)).await.error(), (403, "FORBIDDEN"));

        let document = app.create("later", json!({ "n": 1 })).await;
        assert_eq!(stream.next_event().await.json(), event("later", "created", &document));
        assert_eq!(socket.next().await, event("later", "created", &document));
        // The collection exists now, and the same ticket opens it.
        let mut again = TestStream::open(sse(app, "later", &ticket)).await;
        again.opened().await;
        // The same credential again ends nothing.
        socket.authenticate(&ticket).await;
        let second = app.create("later", json!({ "n": 2 })).await;
        assert_eq!(again.next_event().await.json(), event("later", "created", &second));
        assert_eq!(socket.next().await, event("later", "created", &second));
    }

    async fn a_caller_who_may_not_watch_gets_an_explanation_and_no_ticket(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let scoped = make_key(app, &["keys", "create", "publishable", "--scope", "documents:read"]).await;
        for (why, key, body, expected) in [
            ("without the scope `realtime`", &*scoped, "{}", (403, "FORBIDDEN")),
            ("an unknown key", "pk_00000000000000000000", "{}", (401, "UNAUTHORIZED")),
            ("a collection that can't be", SECRET_KEY, r#"{"collection":"1none"}"#, (404, "INVALID_COLLECTION")),
            ("an unknown member", SECRET_KEY, r#"{"colection":"posts"}"#, (400, "INVALID_BODY")),
            ("a body that is not an object", SECRET_KEY, "[]", (400, "INVALID_BODY")),
            ("a collection that is a number", SECRET_KEY, r#"{"collection":7}"#, (400, "INVALID_BODY")),
        ] {
            let request = app.request_as(key, Method::POST, "/realtime/tickets").body(body);
            assert_eq!(app.send(request).await.error(), expected, "{why}");
        }
        let nobody = app.send(app.http.post(format!("{}/realtime/tickets", app.url))).await;
        assert_eq!(nobody.error(), (401, "UNAUTHORIZED"));
        assert_eq!(app.get("/realtime/tickets").await.error(), (405, "METHOD_NOT_ALLOWED"));
    }

    async fn an_invalid_ticket_opens_nothing(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let good = ask_as(app, SECRET_KEY, json!({})).await;
        let [head, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
        let key_id = app.sql().await.texts("SELECT id FROM api_keys WHERE kind = 'secret'").await.remove(0);
        let secret = app.sql().await.texts("SELECT value FROM secrets WHERE name = 'tickets'").await.remove(0);
        let secret = EncodingKey::from_secret(&STANDARD.decode(secret).unwrap());
        let sign = |audience: &str, exp: u64, key: &str, secret: &EncodingKey| {
            let claims = json!({ "aud": audience, "iat": 0, "exp": exp, "key": key });
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, secret).unwrap()
        };
        let later = seconds() + 60;
        TestStream::open(sse(app, "posts", &sign("realtime", later, &key_id, &secret))).await.opened().await;
        let expired = sign("realtime", seconds() - 1, &key_id, &secret);
        let unsigned = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        for (why, ticket) in [
            ("expired", expired.clone()),
            ("a ticket for another audience", sign("login", later, &key_id, &secret)),
            ("a ticket of an unknown key", sign("realtime", later, "none", &secret)),
            ("a ticket of another server", sign("realtime", later, &key_id, &EncodingKey::from_secret(b"another"))),
            ("a ticket whose signature is cut off", format!("{head}.{claims}.")),
            ("a ticket with altered claims", format!("{head}.{}.{signature}", claims.replacen('a', "b", 1))),
            ("a ticket whose header says that it is unsigned", format!("{unsigned}.{claims}.")),
            ("garbled", "a.b.c".to_owned()),
            ("empty", String::new()),
            ("a key", PUBLISHABLE_KEY.to_owned()),
            ("a secret key", SECRET_KEY.to_owned()),
        ] {
            let refused = app.send(sse(app, "posts", &ticket)).await;
            assert_eq!(refused.error(), (401, "UNAUTHORIZED"), "{why}");
            assert_eq!(refused.body["error"]["message"], "Invalid or missing authentication token", "{why}");
            let mut socket = open_socket(app, &ticket).await;
            let exact = r#"{"type":"error","code":"UNAUTHORIZED","message":"Invalid or missing authentication token","hint":""#;
            assert!(socket.next_text().await.starts_with(exact), "{why}");
        }
        let refused = app.send(sse(app, "posts", &expired)).await;
        assert!(refused.body["error"]["hint"].as_str().unwrap().contains("has expired"));
        let refused = app.send(sse(app, "posts", SECRET_KEY)).await;
        assert!(refused.body["error"]["hint"].as_str().unwrap().contains("must not be in a URL"));
        let twice = app.http.get(format!("{}/realtime/sse/posts?ticket={good}&token={PUBLISHABLE_KEY}", app.url));
        assert_eq!(app.send(twice).await.error(), (401, "UNAUTHORIZED"), "two credentials");
        // A ticket in `?token=` is refused, and the message names `?ticket=`.
        let misplaced = app.send(app.http.get(format!("{}/realtime/sse/posts?token={good}", app.url))).await;
        assert!(misplaced.body["error"]["hint"].as_str().unwrap().contains("?ticket="));
    }

    async fn a_ticket_and_its_streams_end_with_the_key_that_asked_for_it(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let key = make_key(app, &["keys", "create", "publishable"]).await;
        let ticket = ask_as(app, &key, json!({ "collection": "posts" })).await;
        let mut stream = TestStream::open(sse(app, "posts", &ticket)).await;
        stream.opened().await;
        let mut socket = open_socket(app, &ticket).await;
        socket.subscribe("posts", json!({})).await;
        make_key(app, &["keys", "revoke", &key]).await;
        assert_eq!(stream.next_event().await.json()["code"], "UNAUTHORIZED");
        assert_eq!(stream.try_next_block().await, None);
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
        assert_eq!(u16::from(socket.next_close().await.code), 1008);
        assert_eq!(app.send(sse(app, "posts", &ticket)).await.error(), (401, "UNAUTHORIZED"));
    }
}

/// Parses an RFC 3339 time in UTC into seconds since the epoch.
fn time_of(text: &str) -> u64 {
    coir::domain::Timestamp::parse(text).unwrap().floor.0 as u64 / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_after_a_restart() {
    let app = TestApp::start(Database::Sqlite).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let ticket = ask_as(&app, PUBLISHABLE_KEY, json!({})).await;
    let app = app.restart().await;
    TestStream::open(sse(&app, "posts", &ticket)).await.opened().await;
    app.stop().await;
}

#[test]
fn the_log_contains_no_ticket_and_no_key_even_at_trace_level() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let mut child = process::command(&["serve"])
        .env("DATABASE_URL", &url)
        .env("COIR_LISTEN", "127.0.0.1:0")
        .env("COIR_LOG", "coir=trace,trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    // A thread reads the log all the time; otherwise the server would block on a full pipe.
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut log, mut part) = (String::new(), [0; 4096]);
        loop {
            let count = stderr.read(&mut part).unwrap();
            if count == 0 {
                return log;
            }
            log.push_str(&String::from_utf8_lossy(&part[..count]));
            if let Some((_, rest)) = log.split_once("serving on ")
                && let Some((address, _)) = rest.split_once(',')
            {
                let _ = sender.send(address.to_owned());
            }
        }
    });
    let url = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    let ticket = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let http = reqwest::Client::new();
        let answer =
            http.post(format!("{url}/realtime/tickets")).bearer_auth(PUBLISHABLE_KEY).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let ticket = answer["data"]["ticket"].as_str().unwrap().to_owned();
        http.post(format!("{url}/collections"))
            .bearer_auth(SECRET_KEY)
            .json(&json!({ "name": "posts" }))
            .send()
            .await
            .unwrap();
        let streams = [
            format!("ticket={ticket}"),
            format!("token={PUBLISHABLE_KEY}"),
            format!("token={SECRET_KEY}"),
            format!("ticket={ticket}x"),
        ];
        for parameters in streams {
            http.get(format!("{url}/realtime/sse/posts?{parameters}")).send().await.unwrap();
        }
        ticket
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let log = reader.join().unwrap();
    for secret in [&*ticket, PUBLISHABLE_KEY, SECRET_KEY] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
