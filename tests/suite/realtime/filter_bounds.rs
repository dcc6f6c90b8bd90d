//! Bounds of what the filters of live subscriptions may cost, in work and in memory, on both transports.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PUBLISHABLE_KEY, TestApp, TestSocket, TestStream, on_both_databases, path_with};

/// A filter of fifty terms that every document must be asked about.
fn costly(number: usize) -> Value {
    let terms: serde_json::Map<_, _> = (0..50).map(|field| (format!("f{field}"), json!(number))).collect();
    json!({ "$not": terms })
}

/// Connects with the publishable key. The collection `posts` exists then.
async fn anonymous(app: &TestApp) -> TestSocket {
    app.post("/collections", json!({ "name": "posts" })).await;
    let mut socket = app.anonymous_socket().await;
    socket.authenticate(PUBLISHABLE_KEY).await;
    socket
}

/// Subscribes, and waits until so many subscriptions were refused. Any that is refused later comes instead of an event.
async fn subscribe_all(socket: &mut TestSocket, filters: impl Iterator<Item = Value>, expected: usize) {
    let mut count = 0;
    for (number, filters) in filters.enumerate() {
        let id = number.to_string();
        socket
            .send(json!({ "type": "subscribe", "id": id, "collection": "posts", "filters": filters }))
            .await;
        count += 1;
    }
    let (mut begun, mut refused) = (0, Vec::new());
    while begun < count || refused.len() < expected {
        note(socket.next().await, &mut begun, &mut refused);
    }
    assert_eq!(refused.len(), expected);
}

fn note(message: Value, begun: &mut usize, refused: &mut Vec<Value>) {
    match message["type"].as_str() {
        Some("subscribed") => *begun += 1,
        Some("error") => {
            assert_eq!(message["code"], "OVERLOADED", "{message}");
            assert!(message["message"].as_str().unwrap().contains("16000 for one key"), "{message}");
            refused.push(message["id"].clone());
        }
        _ => {}
    }
}

on_both_databases! {
    async fn filters_beyond_the_work_for_one_document_are_refused_for_their_key_only(app: &TestApp, |config| config.limits.subscriptions = 10_000) {
        let mut socket = anonymous(app).await;
        // 16,000 terms are 320 filters of fifty.
        subscribe_all(&mut socket, (0..320).map(costly), 0).await;
        socket
            .send(json!({ "type": "subscribe", "id": "more", "collection": "posts", "filters": costly(320) }))
            .await;
        assert_eq!(socket.next().await["type"], "subscribed");
        assert_eq!(socket.next_error().await, ("OVERLOADED".to_owned(), Some(json!("more"))));

        let path = path_with("/realtime/sse/posts", &[("filters", &costly(320).to_string())]);
        let refused = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, &path)).await;
        assert_eq!((refused.error(), refused.header("Retry-After")), ((503, "OVERLOADED"), "1"));
        // The app's server, with another key, and an equal filter are served.
        app.stream(&path, None).await.opened().await;
        let path = path_with("/realtime/sse/posts", &[("filters", &costly(7).to_string())]);
        TestStream::open(app.request_as(PUBLISHABLE_KEY, Method::GET, &path)).await.opened().await;

        // A subscription that ends makes room.
        socket.send(json!({ "type": "unsubscribe", "id": "0" })).await;
        socket
            .send(json!({ "type": "subscribe", "id": "more", "collection": "posts", "filters": costly(320) }))
            .await;
        assert_eq!(socket.next().await["type"], "subscribed");
        let made = app.put("/collections/posts/a", json!({ "f0": 320 })).await;
        assert_eq!(made.status, 201);
        for _ in 0..320 {
            assert_eq!(socket.next().await["type"], "event", "each filter matches");
        }
        drop(socket);
    }
}

on_both_databases! {
    async fn thousands_of_texts_are_looked_for_in_one_pass(app: &TestApp, |config| config.limits.subscriptions = 10_000) {
        let mut socket = anonymous(app).await;
        // 1,000 filters of forty texts, and 5,000 behind a common value.
        let many = |number: usize| {
            let texts: Vec<_> =
                (0..40).map(|text| json!({ "body__contains": format!("<{number}.{text}>") })).collect();
            json!({ "$and": texts })
        };
        let behind = |number: usize| json!({ "k": 1, "body__contains": format!("[{number}]") });
        let filters = (0..1000).map(many).chain((0..5000).map(behind));
        subscribe_all(&mut socket, filters, 0).await;

        let started = Instant::now();
        let body = "Lorem ipsum ".repeat(1000) + "[17]";
        for _ in 0..20 {
            let made = app.create("posts", json!({ "k": 1, "body": body })).await;
            let event = socket.next().await;
            assert_eq!((&event["id"], &event["document"]["id"]), (&json!("1017"), &made["id"]));
        }
        // It took minutes, with one pass for each text.
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        drop(socket);
    }
}

on_both_databases! {
    async fn fields_beyond_the_bound_cost_their_terms(app: &TestApp, |config| config.limits.subscriptions = 10_000) {
        let mut socket = anonymous(app).await;
        let alternatives = |number: usize| {
            let each: Vec<_> = (0..50).map(|field| json!({ format!("f{}", number * 50 + field): 1 })).collect();
            json!({ "$or": each })
        };
        // 20 filters use the 1000 fields that are looked up, and 320 more are asked.
        subscribe_all(&mut socket, (0..400).map(alternatives), 60).await;
        for field in ["f7", "f1007"] {
            app.create("posts", json!({ field: 1 })).await;
            assert_eq!(socket.next().await["type"], "event", "{field}");
        }
        drop(socket);
    }
}

/// A filter of 5000 values, which takes some 640 kB of memory.
fn large(number: usize) -> Value {
    let lists = (0..5).map(|list| {
        let first = (number * 5 + list) * 1000;
        (format!("f{list}__in"), json!((first..first + 1000).collect::<Vec<_>>()))
    });
    Value::Object(lists.collect())
}

async fn begin(socket: &mut TestSocket, id: &str, filters: Value) -> Value {
    socket.subscribe_named(id, "posts", json!({ "filters": filters })).await
}

on_both_databases! {
    async fn the_filters_of_a_connection_have_a_bound_in_bytes(app: &TestApp) {
        let mut socket = anonymous(app).await;
        for number in 0..3 {
            assert_eq!(begin(&mut socket, &number.to_string(), large(number)).await["type"], "subscribed");
        }
        let refused = begin(&mut socket, "3", large(3)).await;
        assert_eq!((&refused["code"], &refused["id"]), (&json!("OVERLOADED"), &json!("3")), "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("this connection"), "{refused}");
        // Replacing a subscription, and ending one, make room at once.
        assert_eq!(begin(&mut socket, "2", large(3)).await["type"], "subscribed");
        socket.send(json!({ "type": "unsubscribe", "id": "2" })).await;
        assert_eq!(begin(&mut socket, "3", large(4)).await["type"], "subscribed");

        let mut filter = large(0);
        filter["more"] = json!(1);
        let refused = begin(&mut socket, "0", filter).await;
        assert_eq!(refused["code"], "INVALID_FILTER", "{refused}");
        drop(socket);
    }
}

on_both_databases! {
    async fn the_filters_of_a_key_and_of_all_have_a_bound_in_bytes_and_equal_ones_count_once(app: &TestApp, |config| config.limits.subscription_bytes = 4 << 20) {
        let mut sockets = Vec::new();
        for number in 0..4 {
            let mut socket = anonymous(app).await;
            assert_eq!(begin(&mut socket, "s", large(number)).await["type"], "subscribed");
            sockets.push(socket);
        }
        // A fifth is beyond three quarters of 4 MiB, but an equal one takes nothing.
        let mut socket = anonymous(app).await;
        let refused = begin(&mut socket, "s", large(4)).await;
        assert_eq!(refused["code"], "OVERLOADED", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("one key"), "{refused}");
        assert_eq!(begin(&mut socket, "s", large(0)).await["type"], "subscribed");
        let medium = |number: usize| json!({ "n__in": (number..number + 1000).collect::<Vec<_>>() });
        let path = |number| path_with("/realtime/sse/posts", &[("filters", &medium(number).to_string())]);
        let mut streams = Vec::new();
        let refused = loop {
            let response =
                app.request_as(PUBLISHABLE_KEY, Method::GET, &path(streams.len())).send().await.unwrap();
            if response.status() != 200 {
                break response;
            }
            streams.push(response);
        };
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert!(refused.text().await.unwrap().contains("OVERLOADED"));
        // Another key has the last quarter.
        let mut other = app.socket().await;
        assert_eq!(begin(&mut other, "s", large(5)).await["type"], "subscribed");

        // All of it comes back when they have ended.
        drop((sockets, socket, streams));
        for number in 10..14 {
            let mut socket = anonymous(app).await;
            while begin(&mut socket, "s", large(number)).await["type"] != "subscribed" {}
            drop(socket);
        }
        drop(other);
    }
}

on_both_databases! {
    async fn subscriptions_without_a_filter_have_a_bound_in_bytes_and_a_key_leaves_some_to_others(
        app: &TestApp, |config| (config.limits.subscriptions, config.limits.subscription_bytes) = (10_000, 1 << 20)
    ) {
        // Each counts for 600 bytes, and one key may have three quarters of 1 MiB.
        const OF_KEY: usize = (1 << 20) / 4 * 3 / 600;
        let mut socket = anonymous(app).await;
        for number in 0..OF_KEY + 1 {
            let subscribe = json!({ "type": "subscribe", "id": number.to_string(), "collection": "posts" });
            socket.send(subscribe).await;
        }
        for number in 0..OF_KEY {
            assert_eq!(socket.next().await["type"], "subscribed", "{number}");
        }
        let refused = socket.next().await;
        assert_eq!((&refused["code"], &refused["id"]), (&json!("OVERLOADED"), &json!(OF_KEY.to_string())));
        assert!(refused["message"].as_str().unwrap().contains("too much memory: 1048576 bytes"), "{refused}");
        let of_posts = |key| app.request_as(key, Method::GET, "/realtime/sse/posts");
        let stream = app.send(of_posts(PUBLISHABLE_KEY)).await;
        assert_eq!((stream.error(), stream.header("Retry-After")), ((503, "OVERLOADED"), "1"));

        // The app's server, with another key, is served. An end makes room, also that of a connection.
        TestStream::open(of_posts(crate::harness::SECRET_KEY)).await.opened().await;
        socket.send(json!({ "type": "unsubscribe", "id": "0" })).await;
        assert_eq!(begin(&mut socket, "again", json!({})).await["type"], "subscribed");
        assert_eq!(begin(&mut socket, "more", json!({})).await["code"], "OVERLOADED");
        drop(socket);
        let mut socket = anonymous(app).await;
        while begin(&mut socket, "s", json!({})).await["type"] != "subscribed" {}
    }
}
