//! Live streams of users: what they see, and when they end or pause.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{PASSWORD, Signed, ask, refresh, sign_in, sign_up, status_of};
use crate::harness::{
    PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, TestStream, event, on_both_databases,
};

pub fn sse(app: &TestApp, token: &str, collection: &str) -> RequestBuilder {
    app.request_as(token, Method::GET, &format!("/realtime/sse/{collection}"))
}

pub async fn ticket(app: &TestApp, token: &str) -> String {
    let answer = ask(app, token, Method::POST, "/realtime/tickets", json!({})).await;
    answer.data()["ticket"].as_str().unwrap().to_owned()
}

pub fn sse_by_ticket(app: &TestApp, ticket: &str, collection: &str) -> RequestBuilder {
    app.http.get(format!("{}/realtime/sse/{collection}?ticket={ticket}", app.url))
}

pub async fn socket(app: &TestApp, token: &str) -> TestSocket {
    let mut socket = app.anonymous_socket().await;
    socket.authenticate(token).await;
    socket
}

/// Every way to open a stream of `posts` as a user.
pub struct Streams {
    sockets: Vec<TestSocket>,
    streams: Vec<TestStream>,
}

impl Streams {
    pub async fn open(app: &TestApp, user: &Signed) -> Self {
        let ticket = ticket(app, &user.access).await;
        let mut sockets = vec![socket(app, &user.access).await, socket(app, &ticket).await];
        let mut with_key = app.anonymous_socket().await;
        with_key.send(json!({ "type": "auth", "token": PUBLISHABLE_KEY, "user": user.access })).await;
        let url = format!("{}/realtime?ticket={ticket}", app.url.replace("http", "ws"));
        sockets.extend([with_key, TestSocket::connect(url.into_client_request().unwrap()).await]);
        for socket in &mut sockets {
            socket.subscribe("posts", json!({})).await;
        }
        let mut streams = Vec::new();
        for request in [
            sse(app, &user.access, "posts"),
            sse(app, &user.access, "posts").header("x-api-key", SECRET_KEY),
            sse_by_ticket(app, &ticket, "posts"),
        ] {
            let mut stream = TestStream::open(request).await;
            stream.opened().await;
            streams.push(stream);
        }
        Self { sockets, streams }
    }

    async fn must_get(&mut self, document: &Value) {
        let expected = event("posts", "created", document);
        for socket in &mut self.sockets {
            assert_eq!(socket.next().await, expected);
        }
        for stream in &mut self.streams {
            assert_eq!(stream.next_event().await.json(), expected);
        }
    }

    /// Nothing comes but the error and the end.
    pub async fn must_end(mut self) {
        for socket in &mut self.sockets {
            must_close(socket, "the session has ended").await;
        }
        for stream in &mut self.streams {
            let error = stream.next_event().await;
            assert_eq!(
                (error.event.as_deref(), &error.json()["code"]),
                (Some("error"), &json!("UNAUTHORIZED"))
            );
            assert_eq!(stream.try_next_block().await, None);
        }
    }
}

pub async fn must_close(socket: &mut TestSocket, reason: &str) {
    assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
    let close = socket.next_close().await;
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, reason));
}

/// Waits until the access token is good for nothing any more.
async fn expire(app: &TestApp, token: &str) {
    let begun = Instant::now();
    while status_of(app, token).await != 401 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the token does not expire");
    }
}

on_both_databases! {
    async fn a_stream_of_users_shows_the_one_who_watches(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let mut watch = socket(app, &ada.access).await;
        let since = watch.subscribe_named("since", "_users", json!({})).await["cursor"].clone();
        watch.subscribe_named("s", "_users", json!({ "filters": { "emailVerified": false }, "snapshot": true })).await;
        let snapshot = watch.next().await;
        let documents = snapshot["documents"].as_array().unwrap();
        assert_eq!(documents.len(), 1, "{snapshot}");
        assert_eq!(documents[0]["id"], ada.id);
        assert_eq!(watch.next().await["type"], "ready");
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("_users", json!({ "$or": [{ "id": bob.id }, { "id": ada.id }] })).await;
        let mut stream = TestStream::open(sse(app, &ada.access, "_users")).await;
        stream.opened().await;
        let ticket = ticket(app, &ada.access).await;
        let mut by_ticket = TestStream::open(sse_by_ticket(app, &ticket, "_users")).await;
        by_ticket.opened().await;

        for user in [&bob, &ada] {
            app.patch(&format!("/users/{}", user.id), json!({ "profile": { "seen": user.id } })).await;
        }
        sign_up(app, "eve@example.com").await;
        for _ in ["since", "s"] {
            assert_eq!(watch.next().await["document"]["data"]["profile"]["seen"], ada.id);
        }
        assert_eq!(plain.next().await["document"]["data"]["profile"]["seen"], ada.id);
        for stream in [&mut stream, &mut by_ticket] {
            assert_eq!(stream.next_event().await.json()["document"]["data"]["profile"]["seen"], ada.id);
        }
        // A replay shows the same, whoever left the cursor.
        let mut back = socket(app, &bob.access).await;
        let begun = back.subscribe_named("back", "_users", json!({ "since": since })).await;
        assert_eq!(begun["type"], "subscribed", "{begun}");
        assert_eq!(back.next().await["document"]["data"]["profile"]["seen"], bob.id);
        for socket in [&mut watch, &mut plain, &mut back] {
            socket.settle().await;
        }
        let mut guest = socket(app, PUBLISHABLE_KEY).await;
        guest.send(json!({ "type": "subscribe", "collection": "_users" })).await;
        assert_eq!(guest.next_error().await.0, "FORBIDDEN");
    }

    async fn streams_end_with_their_session_and_others_go_on(app: &TestApp) {
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        let other = sign_in(app, "ada@example.com").await;
        let bob = sign_up(app, "bob@example.com").await;
        let mut ended = Streams::open(app, &ada).await;
        let (mut going_on, mut of_bob) = (Streams::open(app, &other).await, Streams::open(app, &bob).await);
        let ticket = ticket(app, &ada.access).await;
        let document = app.create("posts", json!({ "n": 1 })).await;
        for streams in [&mut ended, &mut going_on, &mut of_bob] {
            streams.must_get(&document).await;
        }
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        let document = app.create("posts", json!({ "n": 2 })).await;
        ended.must_end().await;
        going_on.must_get(&document).await;
        of_bob.must_get(&document).await;
        let refused = app.send(sse_by_ticket(app, &ticket, "posts")).await;
        assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
        let mut refused = socket(app, &ticket).await;
        assert_eq!(refused.next_error().await.0, "UNAUTHORIZED");
    }

    async fn every_end_of_a_session_ends_its_streams(app: &TestApp) {
        app.create("posts", json!({})).await;
        for way in ["revoke", "password", "server", "deleted", "delete me", "stolen"] {
            let email = format!("{}@example.com", way.replace(' ', "-"));
            let user = sign_up(app, &email).await;
            let other = sign_in(app, &email).await;
            let next = if way == "stolen" { refresh(app, &user.refresh).await } else { app.get("/users").await };
            let streams = Streams::open(app, &user).await;
            let path = format!("/users/{}", user.id);
            let status = match way {
                "revoke" => {
                    let mine = ask(app, &other.access, Method::GET, "/users/me/sessions", Value::Null).await;
                    let all = mine.data().as_array().unwrap();
                    let id = all.iter().find(|one| one["current"] == false).unwrap()["id"].as_str().unwrap();
                    let path = format!("/users/me/sessions/{id}");
                    ask(app, &other.access, Method::DELETE, &path, Value::Null).await.status
                }
                "password" => {
                    let body = json!({ "current": PASSWORD, "new": "battery staple" });
                    ask(app, &other.access, Method::POST, "/users/me/password", body).await.status
                }
                "server" => app.post(&format!("{path}/logout"), Value::Null).await.status,
                "deleted" => app.delete(&path).await.status,
                "delete me" => ask(app, &other.access, Method::DELETE, "/users/me", Value::Null).await.status,
                _ => {
                    refresh(app, &Signed::read(&next).refresh).await;
                    assert_eq!(refresh(app, &user.refresh).await.error(), (401, "UNAUTHORIZED"));
                    reqwest::StatusCode::OK
                }
            };
            assert_eq!(status, 200, "{way}");
            app.create("posts", json!({ "after": way })).await;
            streams.must_end().await;
        }
    }

    /// The earlier audience, with a user, and the later one without, are none of ours.
    async fn a_ticket_is_of_a_user_or_of_none(app: &TestApp) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        app.create("posts", json!({})).await;
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let secret = app.sql().await.texts("SELECT value FROM secrets WHERE name = 'tickets'").await.remove(0);
        let secret = jsonwebtoken::EncodingKey::from_secret(&STANDARD.decode(secret).unwrap());
        let key = app.sql().await.texts("SELECT id FROM api_keys WHERE kind = 'publishable'").await.remove(0);
        let claims = |user: &Signed| {
            let part = user.access.split('.').nth(1).unwrap();
            let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()
        };
        let session = claims(&ada)["sid"].clone();
        let exp = claims(&ada)["exp"].clone();
        for (why, audience, key, user, session, is_good) in [
            ("the user and the session", "realtime-user", &*key, json!(ada.id), session.clone(), true),
            ("without a key", "realtime-user", "users", json!(ada.id), session.clone(), true),
            ("without a user", "realtime-user", &*key, Value::Null, Value::Null, false),
            ("without a session", "realtime-user", &*key, json!(ada.id), Value::Null, false),
            ("another user", "realtime-user", &*key, json!(bob.id), session.clone(), false),
            ("the audience of keys", "realtime", &*key, json!(ada.id), session.clone(), false),
            ("neither key nor user", "realtime", "users", Value::Null, Value::Null, false),
            ("an unknown key", "realtime-user", "none", json!(ada.id), session.clone(), false),
        ] {
            let mut claims = json!({ "aud": audience, "iat": 0, "exp": exp, "key": key });
            for (name, value) in [("user", user), ("session", session)] {
                if !value.is_null() {
                    claims[name] = value;
                }
            }
            let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
            let ticket = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
            let answer = sse_by_ticket(app, &ticket, "posts").send().await.unwrap();
            assert_eq!(answer.status(), if is_good { 200 } else { 401 }, "{why}");
        }
    }

    async fn another_user_on_a_connection_ends_what_they_may_not_read(app: &TestApp) {
        app.create("posts", json!({})).await;
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let again = sign_in(app, "ada@example.com").await;
        let mut socket = socket(app, &ada.access).await;
        socket.subscribe("posts", json!({})).await;
        socket.subscribe("_users", json!({})).await;
        socket.subscribe_named("me", "_users", json!({})).await;
        // The same user with another session.
        socket.authenticate(&again.access).await;
        socket.settle().await;
        socket.authenticate(&bob.access).await;
        let mut ended = [socket.next_error().await, socket.next_error().await];
        ended.sort_by_key(|(_, id)| id.is_some());
        assert_eq!(ended, [("FORBIDDEN".to_owned(), None), ("FORBIDDEN".to_owned(), Some(json!("me")))]);
        app.patch(&format!("/users/{}", ada.id), json!({ "profile": { "seen": true } })).await;
        let document = app.create("posts", json!({})).await;
        assert_eq!(socket.next().await, event("posts", "created", &document), "the other one goes on");
        // Ada's session is no longer that of the connection.
        for token in [&ada.access, &again.access] {
            ask(app, token, Method::POST, "/users/logout", Value::Null).await;
        }
        socket.settle().await;
        ask(app, &bob.access, Method::POST, "/users/logout", Value::Null).await;
        must_close(&mut socket, "the session has ended").await;
    }

    async fn a_token_that_expires_pauses_a_socket_until_the_next_one(app: &TestApp, |config| config.access_token_seconds = 4) {
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        let mut own = app.socket().await;
        own.subscribe("posts", json!({})).await;
        let mut socket = socket(app, &ada.access).await;
        socket.subscribe("posts", json!({})).await;
        socket.subscribe_named("n", "posts", json!({})).await;
        socket.subscribe_named("s", "posts", json!({ "snapshot": true })).await;
        while socket.next().await["type"] != "ready" {}
        let mut renewed = app.anonymous_socket().await;
        renewed.authenticate(&ada.access).await;
        renewed.subscribe("posts", json!({})).await;
        let before = app.create("posts", json!({ "n": 0 })).await;
        for _ in 0..3 {
            assert_eq!(socket.next().await["document"]["id"], before["id"]);
        }
        own.next().await;
        let mut stream = TestStream::open(sse(app, &ada.access, "posts")).await;
        stream.opened().await;
        assert_eq!(renewed.next().await["document"]["id"], before["id"]);

        expire(app, &ada.access).await;
        let mut written = Vec::new();
        for n in 1..=3 {
            written.push(app.create("posts", json!({ "n": n })).await["id"].clone());
        }
        for id in &written {
            assert_eq!(&own.next().await["document"]["id"], id);
        }
        socket.settle().await;
        socket.send(json!({ "type": "subscribe", "collection": "posts" })).await;
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
        socket.authenticate(&ada.access).await;
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
        // An EventSource can't send another token.
        loop {
            let block = stream.next_event().await;
            if block.event.as_deref() == Some("error") {
                assert_eq!(block.json()["code"], "UNAUTHORIZED");
                break;
            }
        }
        assert_eq!(stream.try_next_block().await, None);

        let next = Signed::read(&refresh(app, &ada.refresh).await);
        for socket in [&mut socket, &mut renewed] {
            socket.authenticate(&next.access).await;
        }
        written.push(app.create("posts", json!({ "n": 4 })).await["id"].clone());
        let mut got = std::collections::BTreeMap::<String, Vec<Value>>::new();
        while got.values().map(Vec::len).sum::<usize>() < 12 {
            let message = socket.next().await;
            assert_eq!(message["type"], "event", "{message}");
            got.entry(message["id"].to_string()).or_default().push(message["document"]["id"].clone());
        }
        assert_eq!(got.len(), 3, "{got:?}");
        assert!(got.values().all(|ids| *ids == written), "each goes on without a gap: {got:?}");
        for id in &written {
            assert_eq!(&renewed.next().await["document"]["id"], id);
        }
    }

    async fn a_socket_whose_token_is_not_renewed_is_closed(app: &TestApp, |config| config.access_token_seconds = 4) {
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        let mut socket = socket(app, &ada.access).await;
        socket.subscribe("posts", json!({})).await;
        let next = Signed::read(&refresh(app, &ada.refresh).await);
        expire(app, &next.access).await;
        let begun = Instant::now();
        must_close(&mut socket, "the user token has expired").await;
        assert!(begun.elapsed() > Duration::from_secs(6), "it waits for another token: {:?}", begun.elapsed());
    }

    /// What is not in the log any more may have been the end of any session.
    async fn a_gap_in_the_log_ends_the_streams_of_users(app: &TestApp) {
        app.create("posts", json!({})).await;
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let mut of_ada = socket(app, &ada.access).await;
        of_ada.subscribe("posts", json!({})).await;
        let mut of_bob = socket(app, &bob.access).await;
        of_bob.subscribe("posts", json!({})).await;
        let mut stream = TestStream::open(sse(app, &ada.access, "posts")).await;
        stream.opened().await;
        // This is the state that another node leaves if it was busy while this node could not reach the database.
        let delete = format!(
            "BEGIN; DELETE FROM sessions WHERE user_id = '{}'; DELETE FROM changes; \
             UPDATE heads SET head = head + 1000, head_at = head_at + 1, floor = head + 1000, floor_at = head_at + 1, \
                              control = head + 1000, bytes = 0; COMMIT",
            ada.id
        );
        app.sql().await.execute(&delete).await;
        // The streams end by what they read themselves, or by what the relay finds.
        for (socket, codes) in [(&mut of_ada, [1008, 1013]), (&mut of_bob, [1013, 1013])] {
            let close = loop {
                match socket.next_frame().await {
                    tokio_tungstenite::tungstenite::Message::Close(close) => break close.unwrap(),
                    other => assert!(other.to_text().unwrap().contains("UNAUTHORIZED"), "{other:?}"),
                }
            };
            assert!(codes.contains(&u16::from(close.code)), "{close:?}");
        }
        while let Some(block) = stream.try_next_block().await {
            assert!(!block.data.is_some_and(|data| data.contains("\"event\"")));
        }
        assert_eq!(app.send(sse(app, &ada.access, "posts")).await.error(), (401, "UNAUTHORIZED"));
        let mut again = socket(app, &bob.access).await;
        again.subscribe("posts", json!({})).await;
        let document = app.create("posts", json!({})).await;
        assert_eq!(again.next().await, event("posts", "created", &document));
    }
}
