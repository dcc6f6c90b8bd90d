//! The limits of reads, writes and streams.

use std::time::Instant;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, on_both_databases},
    users::{PASSWORD, limits::client_at, sign_up},
};

/// Begins a request from an address.
fn by(app: &TestApp, client: &Client, key: &str, method: Method, path: &str) -> RequestBuilder {
    client.request(method, format!("{}{path}", app.url)).bearer_auth(key)
}

/// Begins a read with the publishable key from an address.
fn read(app: &TestApp, client: &Client) -> RequestBuilder {
    by(app, client, PUBLISHABLE_KEY, Method::GET, "/collections/posts")
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(name).parse().unwrap()
}

/// Returns limit, remaining and reset.
fn standing(answer: &Answer) -> (u64, u64, u64) {
    let number = |name| number(answer, name);
    (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), number("x-ratelimit-reset"))
}

/// Sends a request until it is refused: after 20 of them, and those that came back since.
async fn exhaust(app: &TestApp, request: impl Fn() -> RequestBuilder) -> Answer {
    let begun = Instant::now();
    for answered in 0.. {
        let answer = app.send(request()).await;
        if answer.status == 429 {
            assert!(answered >= 20, "only {answered} were answered");
            assert!(answered <= 21 + begun.elapsed().as_secs(), "{answered} were answered");
            return answer;
        }
        assert!(answer.status.is_success(), "{answer:?}");
    }
    unreachable!()
}

fn documents(count: usize) -> Vec<Value> {
    vec![json!({ "n": 1 }); count]
}

on_both_databases! {
    async fn reads_are_limited_by_user_or_else_by_key_and_address(app: &TestApp, |config| {
        config.traffic.reads = 1;
        config.trusted_proxies = vec!["127.0.0.9/32".parse().unwrap()];
    }) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let (visitor, other) = (client_at(2), client_at(3));
        let first = app.send(read(app, &visitor)).await;
        assert_eq!(first.status, 200, "{first:?}");
        assert_eq!(standing(&first), (20, 19, 1), "{first:?}");
        let second = app.send(read(app, &other)).await;
        assert_eq!(standing(&second), (20, 19, 1), "{second:?}");

        // A first one was answered already.
        while app.send(read(app, &visitor)).await.status != 429 {}
        let refused = app.send(read(app, &visitor)).await;
        assert_eq!(refused.error(), (429, "RATE_LIMITED"));
        assert_eq!(number(&refused, "retry-after"), 1, "{refused:?}");
        let (limit, remaining, reset) = standing(&refused);
        assert!(limit == 20 && remaining == 0 && (19..=20).contains(&reset), "{refused:?}");

        exhaust(app, || read(app, &client_at(4))).await;
        let at_4 = client_at(4);
        for (method, path) in [
            (Method::GET, "/collections"),
            (Method::GET, "/collections/posts/documents"),
            (Method::POST, "/collections/posts/query"),
            (Method::GET, "/collections/posts/query/count"),
        ] {
            let request = by(app, &at_4, PUBLISHABLE_KEY, method, path).json(&json!({}));
            let answer = app.send(request).await;
            assert_eq!(answer.status, 429, "{path}: {answer:?}");
            assert!(answer.headers.contains_key("retry-after"), "{path}: {answer:?}");
            assert!(answer.headers.contains_key("x-ratelimit-limit"), "{path}: {answer:?}");
        }
        // Writes have another bucket, and a server has none.
        let write = by(app, &at_4, PUBLISHABLE_KEY, Method::POST, "/collections/posts").json(&json!({ "n": 1 }));
        assert_eq!(app.send(write).await.status, 201);
        let server = app.send(by(app, &at_4, SECRET_KEY, Method::GET, "/collections/posts")).await;
        assert_eq!(server.status, 200);
        assert!(!server.headers.contains_key("x-ratelimit-limit"), "{server:?}");

        // A user has buckets of their own, wherever they are and whatever key they send.
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        exhaust(app, || by(app, &at_4, &ada.access, Method::GET, "/collections/posts")).await;
        let elsewhere = by(app, &other, &ada.access, Method::GET, "/collections/posts");
        assert_eq!(app.send(elsewhere.header("x-api-key", SECRET_KEY)).await.status, 429);
        assert_eq!(app.send(by(app, &at_4, &bob.access, Method::GET, "/collections/posts")).await.status, 200);

        // A trusted proxy says who asks, and nobody else.
        let proxy = client_at(9);
        let through = |client: &Client, address| read(app, client).header("x-forwarded-for", address);
        exhaust(app, || through(&proxy, "198.51.100.7")).await;
        assert_eq!(app.send(through(&proxy, "198.51.100.8")).await.status, 200);
        assert_eq!(app.send(through(&at_4, "198.51.100.9")).await.status, 429);
    }

    async fn a_batch_counts_by_its_operations(app: &TestApp, |config| config.traffic.writes = 1) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let updates = json!({ "a": { "data": { "n": 2 } } });
        for id in ["a", "b"] {
            assert_eq!(app.put(&format!("/collections/posts/{id}"), json!({ "n": 1 })).await.status, 201);
        }
        let operations: Vec<_> =
            documents(31).iter().map(|data| json!({ "op": "create", "collection": "posts", "data": data })).collect();
        for (address, path, body, left) in [
            (10, "/collections/posts", json!({ "n": 1 }), 19),
            (11, "/collections/posts/batch", json!({ "documents": documents(10) }), 19),
            (12, "/collections/posts/batch", json!({ "documents": documents(11) }), 18),
            (13, "/transactions", json!({ "operations": operations }), 16),
            (14, "/collections/posts/batch/documents/create", json!({ "documents": documents(21) }), 17),
            (15, "/collections/posts/batch/documents/update", json!({ "updates": updates }), 19),
            (16, "/collections/posts/batch-delete", json!({ "ids": vec!["a"; 11] }), 18),
        ] {
            let request = by(app, &client_at(address), PUBLISHABLE_KEY, Method::POST, path);
            let answer = app.send(request.json(&body)).await;
            assert!(answer.status.is_success(), "{path}: {answer:?}");
            let (limit, remaining, _) = standing(&answer);
            // One comes back each second.
            assert!(limit == 20 && (left..left + 2).contains(&remaining), "{path}: {answer:?}");
        }
        // What is more than there is left is owed.
        let client = client_at(17);
        let write = |body: Value| by(app, &client, PUBLISHABLE_KEY, Method::POST, "/collections/posts/batch").json(&body);
        assert_eq!(app.send(write(json!({ "documents": documents(500) }))).await.status, 201);
        let refused = app.send(write(json!({ "documents": documents(1) }))).await;
        assert_eq!(refused.error(), (429, "RATE_LIMITED"));
        assert!((15..=31).contains(&number(&refused, "retry-after")), "{refused:?}");
        // A user of the library reads it in their own way.
        let library = by(app, &client, PUBLISHABLE_KEY, Method::POST, "/collections/posts/documents");
        let answer = app.send(library.json(&json!({ "data": { "n": 1 } }))).await;
        assert_eq!(answer.status, 429);
        assert!(answer.body["detail"].as_str().is_some_and(|text| text.contains("too many writes")), "{answer:?}");
    }

    async fn streams_and_subscriptions_are_limited(app: &TestApp, |config| config.traffic.streams = 1) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let base = app.url.replace("http", "ws");
        let url = format!("{base}/realtime?token={PUBLISHABLE_KEY}");
        let mut socket = TestSocket::connect(url.as_str()).await;
        let mut refused = None;
        for n in 0..60 {
            let message = json!({ "type": "subscribe", "collection": "posts", "id": format!("s{n}") });
            socket.send(message).await;
            let answer = socket.next().await;
            if answer["type"] == "error" {
                assert_eq!((&answer["code"], &answer["id"]), (&json!("RATE_LIMITED"), &json!(format!("s{n}"))));
                refused = Some(n);
                break;
            }
        }
        assert!(refused.is_some_and(|n| n >= 19), "{refused:?}");
        // The connection goes on.
        socket.settle().await;

        // Whoever opens another one comes back later.
        let mut second = TestSocket::connect(url.as_str()).await;
        assert_eq!(second.next_error().await.0, "RATE_LIMITED");
        assert_eq!(u16::from(second.next_close().await.code), 1013);
        let mut third = app.anonymous_socket().await;
        third.authenticate(PUBLISHABLE_KEY).await;
        assert_eq!(third.next_error().await.0, "RATE_LIMITED");
        assert_eq!(u16::from(third.next_close().await.code), 1013);
        let mut watcher = TestSocket::connect(format!("{base}/realtime/collections/posts").as_str()).await;
        watcher.send(json!({ "api_key": PUBLISHABLE_KEY })).await;
        assert!(watcher.next().await["error"].as_str().unwrap().contains("too many streams"));
        assert_eq!(u16::from(watcher.next_close().await.code), 1013);

        let stream = || app.request_as(PUBLISHABLE_KEY, Method::GET, "/realtime/sse/posts");
        let answer = app.send(stream()).await;
        assert_eq!(answer.error(), (429, "RATE_LIMITED"));
        assert_eq!(standing(&answer).1, 0);
        // A browser's `EventSource` that is back would give up for ever.
        let back = app.send(stream().header("Last-Event-ID", "x")).await;
        assert_eq!(back.status, 200, "{back:?}");

        let other = client_at(2);
        let response = by(app, &other, PUBLISHABLE_KEY, Method::GET, "/realtime/sse/posts").send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-ratelimit-remaining"]), (200, &"19".parse().unwrap()));
        drop(response);
        // A server opens as many as it likes.
        let mut server = app.socket().await;
        for _ in 0..30 {
            server.subscribe("posts", json!({})).await;
        }
        drop((socket, second, third, watcher, server));
    }

    async fn answers_about_accounts_say_how_many_tries_are_left(app: &TestApp) {
        let client = client_at(2);
        let account = json!({ "email": "ada@example.com", "password": PASSWORD });
        for (path, body, status, expected) in [
            ("/users", account.clone(), 201, (100, 99)),
            ("/users/login", account.clone(), 200, (200, 199)),
            ("/users/login", json!({ "email": "ada@example.com", "password": "wrong horse" }), 401, (200, 198)),
            ("/auth-collections/login", account, 200, (200, 197)),
            ("/users/password/forgot", json!({ "email": "ada@example.com" }), 200, (30, 29)),
        ] {
            let request = by(app, &client, PUBLISHABLE_KEY, Method::POST, path);
            let answer = app.send(request.json(&body)).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            let (limit, remaining, _) = standing(&answer);
            // One may have come back meanwhile.
            assert!(limit == expected.0 && (expected.1..=limit).contains(&remaining) && remaining < limit + 1, "{path}: {answer:?}");
        }
    }

    async fn by_default_the_limits_are_wide(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let client = client_at(2);
        assert_eq!(standing(&app.send(read(app, &client)).await).0, 400_000);
        let write = by(app, &client, PUBLISHABLE_KEY, Method::POST, "/collections/posts").json(&json!({ "n": 1 }));
        assert_eq!(standing(&app.send(write).await).0, 200_000);
    }

    async fn a_limit_of_0_is_none(app: &TestApp, |config| config.traffic.reads = 0) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let answer = app.send(read(app, &client_at(2))).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("x-ratelimit-limit"), "{answer:?}");
    }

    async fn without_rate_limits_nothing_is_limited(app: &TestApp, |config| {
        config.rate_limits = false;
        config.traffic.reads = 1;
    }) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let client = client_at(2);
        for _ in 0..40 {
            assert_eq!(app.send(read(app, &client)).await.status, 200);
        }
    }
}
