//! Keys over REST and by `coir keys`: what they may be given, how they change, and when they end.

use std::time::{Duration, Instant};

use coir::domain::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::keys::{coir, try_coir};
use crate::{
    harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, TestStream, on_both_databases},
    users::ask,
};

/// How long a node may take to hear of something, and a busy machine to do it.
const SOON: Duration = Duration::from_secs(10);

/// Makes a key, and returns its body.
pub async fn make(app: &TestApp, body: Value) -> Value {
    let made = app.post("/keys", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.data().clone()
}

pub fn text(key: &Value) -> &str {
    key["key"].as_str().unwrap()
}

pub fn path(key: &Value) -> String {
    format!("/keys/{}", key["id"].as_str().unwrap())
}

/// Returns a time that comes after so many milliseconds.
pub fn after(millis: i64) -> String {
    Timestamp(Timestamp::now().0 + millis).to_string()
}

pub async fn list(app: &TestApp, key: &str) -> Answer {
    ask(app, key, Method::GET, "/collections/posts", Value::Null).await
}

pub fn hint(answer: &Answer) -> String {
    answer.body["error"].to_string()
}

pub async fn socket(app: &TestApp, key: &str) -> TestSocket {
    let mut socket = app.anonymous_socket().await;
    socket.authenticate(key).await;
    socket.subscribe("posts", json!({})).await;
    socket
}

pub async fn stream(app: &TestApp, key: &str) -> TestStream {
    let mut stream = TestStream::open(app.request_as(key, Method::GET, "/realtime/sse/posts")).await;
    stream.opened().await;
    stream
}

/// Asserts that streams end with 401 and 1008.
pub async fn assert_ended(mut socket: TestSocket, mut stream: TestStream) {
    assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
    assert_eq!(u16::from(socket.next_close().await.code), 1008);
    let error = stream.next_event().await;
    assert_eq!((error.event.as_deref(), &error.json()["code"]), (Some("error"), &json!("UNAUTHORIZED")));
    assert_eq!(stream.try_next_block().await, None);
}

on_both_databases! {
    async fn keys_are_made_listed_changed_and_revoked_over_rest(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "name": "app", "kind": "publishable", "scopes": ["documents:read", "realtime"] })).await;
        assert!(text(&key).starts_with("pk_") && text(&key).starts_with(key["beginsWith"].as_str().unwrap()));
        assert_eq!(list(app, text(&key)).await.status, 200);
        let refused = ask(app, text(&key), Method::POST, "/collections/posts", json!({})).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));

        // The text is nowhere else.
        let shown = app.get(&path(&key)).await;
        let mut expected = key.clone();
        expected.as_object_mut().unwrap().remove("key");
        expected["lastUsedAt"] = shown.data()["lastUsedAt"].clone();
        assert_eq!(*shown.data(), expected);
        let all = app.get("/keys").await;
        assert_eq!(all.data().as_array().unwrap().len(), 3);
        for answer in [&all, &app.get("/audit").await] {
            assert!(!answer.body.to_string().contains(text(&key)));
        }
        let first = app.get("/keys?limit=2").await;
        let cursor = first.body["nextCursor"].as_str().unwrap();
        let rest = app.get(&format!("/keys?limit=2&after={cursor}")).await;
        assert_eq!((rest.data().as_array().unwrap().len(), &rest.body["nextCursor"]), (1, &Value::Null));
        assert_eq!(rest.data()[0]["id"], key["id"]);

        let changed = app.patch(&path(&key), json!({ "name": null, "scopes": null })).await;
        assert_eq!((&changed.data()["name"], &changed.data()["scopes"]), (&Value::Null, &Value::Null));
        assert_eq!(ask(app, text(&key), Method::POST, "/collections/posts", json!({})).await.status, 201);
        let revoked = app.delete(&path(&key)).await;
        assert!(revoked.data()["revokedAt"].is_string(), "{revoked:?}");
        assert_eq!(list(app, text(&key)).await.error(), (401, "UNAUTHORIZED"));
        for again in [app.delete(&path(&key)).await, app.patch(&path(&key), json!({ "name": "x" })).await] {
            assert_eq!(again.error(), (404, "NOT_FOUND"));
        }
        let events = app.get("/audit").await;
        let events: Vec<_> = events.data().as_array().unwrap().iter().filter(|one| one["details"]["key"] == key["id"])
            .map(|one| one["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["keyRevoked", "keyChanged", "keyCreated"]);
    }

    async fn a_mistake_in_a_request_about_keys_is_named(app: &TestApp) {
        let key = make(app, json!({ "kind": "publishable" })).await;
        let long = "x".repeat(101);
        for (body, part) in [
            (json!({}), "kind"),
            (json!({ "kind": "public" }), "`kind`"),
            (json!({ "kind": "secret", "scope": [] }), "did you mean `scopes`?"),
            (json!({ "kind": "secret", "scopes": ["documents"] }), "documents:read"),
            (json!({ "kind": "secret", "scopes": [] }), "`scopes`"),
            (json!({ "kind": "secret", "scopes": "keys" }), "`scopes`"),
            (json!({ "kind": "secret", "origins": ["example.com"] }), "`origins[0]`"),
            (json!({ "kind": "secret", "expiresAt": "tomorrow" }), "`expiresAt`"),
            (json!({ "kind": "secret", "expiresAt": "2020-01-01" }), "future"),
            (json!({ "kind": "secret", "name": long }), "`name`"),
        ] {
            let answer = app.post("/keys", body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{body}");
            assert!(hint(&answer).contains(part), "{body}: {answer:?}");
        }
        for (body, part) in [(json!({}), "changes nothing"), (json!({ "kind": "secret" }), "unknown member"), (json!({ "orgins": [] }), "`origins`")] {
            let answer = app.patch(&path(&key), body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{body}");
            assert!(hint(&answer).contains(part), "{body}: {answer:?}");
        }
        let rotate = app.post(&format!("{}/rotate", path(&key)), json!({ "graceSeconds": 99_999_999 })).await;
        assert_eq!(rotate.error(), (400, "INVALID_BODY"));
        let repeated = app.request(Method::POST, "/keys").header("Idempotency-Key", "a").json(&json!({ "kind": "secret" }));
        assert_eq!(app.send(repeated).await.error(), (400, "INVALID_BODY"));
        assert_eq!(app.get("/keys/nonsense").await.error(), (404, "NOT_FOUND"));
        assert_eq!(app.get("/keys?after=x").await.error(), (400, "INVALID_CURSOR"));
        assert_eq!(app.get("/keys?lim=1").await.error(), (400, "INVALID_FILTER"));
    }

    async fn no_key_gives_more_than_it_has(app: &TestApp) {
        let narrow = make(app, json!({ "kind": "secret", "scopes": ["keys", "documents:read"], "origins": ["https://*.example.com"],
            "expiresAt": after(600_000) })).await;
        let other = make(app, json!({ "kind": "secret", "scopes": ["documents:write"] })).await;
        let plain = make(app, json!({ "kind": "secret", "scopes": ["documents:read"] })).await;
        let asked = async |method, path: &str, body| ask(app, text(&narrow), method, path, body).await;
        let good = json!({ "kind": "publishable", "scopes": ["documents:read"], "origins": ["https://a.example.com"], "expiresAt": after(500_000) });
        let with = |name: &str, value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        let rotate = format!("{}/rotate", path(&other));
        for (method, path, body) in [
            (Method::POST, "/keys", with("scopes", Value::Null)),
            (Method::POST, "/keys", with("scopes", json!(["documents:read", "audit"]))),
            (Method::POST, "/keys", with("origins", json!([]))),
            (Method::POST, "/keys", with("origins", json!(["https://evil.com"]))),
            (Method::POST, "/keys", with("expiresAt", Value::Null)),
            (Method::POST, "/keys", with("expiresAt", json!(after(700_000)))),
            // Its own limits.
            (Method::PATCH, &*path(&narrow), json!({ "scopes": null })),
            (Method::PATCH, &*path(&narrow), json!({ "scopes": ["keys", "documents:write"] })),
            (Method::PATCH, &*path(&narrow), json!({ "origins": null })),
            (Method::PATCH, &*path(&narrow), json!({ "expiresAt": null })),
            // A key with a scope that it lacks.
            (Method::PATCH, &*path(&other), json!({ "scopes": ["documents:read"] })),
            (Method::PATCH, &*path(&other), json!({ "name": "mine" })),
            (Method::POST, &*rotate, json!({})),
            (Method::DELETE, &*path(&other), Value::Null),
            (Method::PATCH, &*path(&plain), json!({ "scopes": ["documents:read", "users"] })),
        ] {
            let answer = asked(method.clone(), path, body.clone()).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{method} {path} {body}: {answer:?}");
        }
        assert_eq!(asked(Method::POST, "/keys", good.clone()).await.status, 201);
        assert_eq!(asked(Method::PATCH, &path(&plain), json!({ "name": "plain" })).await.status, 200);
        // Keys without the scope, publishable keys and users manage none.
        for key in [text(&plain), PUBLISHABLE_KEY] {
            for (method, path) in [(Method::GET, "/keys"), (Method::POST, "/keys")] {
                assert_eq!(ask(app, key, method, path, good.clone()).await.error(), (403, "FORBIDDEN"));
            }
        }
    }

    async fn the_last_key_that_manages_keys_is_not_lost_by_accident(app: &TestApp) {
        let all = app.get("/keys").await;
        let own = all.data().as_array().unwrap().iter().find(|key| key["kind"] == "secret").unwrap().clone();
        for answer in [
            app.delete(&path(&own)).await,
            app.patch(&path(&own), json!({ "scopes": ["documents:read"] })).await,
            app.patch(&path(&own), json!({ "expiresAt": after(600_000) })).await,
        ] {
            assert_eq!(answer.error(), (409, "CONFLICT"), "{answer:?}");
            assert!(hint(&answer).contains("coir keys"), "{answer:?}");
        }
        // One that expires is no replacement for one that doesn't.
        make(app, json!({ "kind": "secret", "expiresAt": after(600_000) })).await;
        assert_eq!(app.delete(&path(&own)).await.error(), (409, "CONFLICT"));
        make(app, json!({ "kind": "secret", "scopes": ["keys"] })).await;
        assert_eq!(app.delete(&path(&own)).await.status, 200);
    }

    async fn lists_say_when_a_key_was_used_last(app: &TestApp) {
        let key = make(app, json!({ "kind": "publishable" })).await;
        assert_eq!(app.get(&path(&key)).await.data()["lastUsedAt"], Value::Null);
        let before = app.get("/collections").await.body["cursor"].clone();
        list(app, text(&key)).await;
        let used = app.get(&path(&key)).await.data()["lastUsedAt"].as_str().unwrap().to_owned();
        assert!(used.ends_with(":00.000Z"), "{used}");
        let age = Timestamp::now().0 - Timestamp::parse(&used).unwrap().floor.0;
        assert!((0..180_000).contains(&age), "{used}");
        assert_eq!(app.get("/collections").await.body["cursor"], before, "a use is no entry of the log");
        // It is written when the server stops, if not before.
        let node = app.start_second_node().await;
        let other = make(app, json!({ "kind": "publishable" })).await;
        list(&node, text(&other)).await;
        node.stop().await;
        assert_eq!(app.get(&path(&other)).await.data()["lastUsedAt"].as_str().map(str::len), Some(used.len()));
        let printed = coir(app, &["keys", "show", other["id"].as_str().unwrap()]).await;
        assert!(printed.contains("last used     20"), "{printed}");
    }

    async fn the_command_line_does_the_same_with_keys(app: &TestApp) {
        app.create("posts", json!({})).await;
        let made = coir(app, &["keys", "create", "publishable", "--name", "shop", "--scopes", "documents:read,realtime",
            "--origins", "https://shop.example.com", "--expires", "90d"]).await;
        let key = made.trim().to_owned();
        let shown = coir(app, &["keys", "show", &key]).await;
        for part in ["shop", "documents:read,realtime", "https://shop.example.com", "good", "publishable"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains(&key));
        let page = app.request_as(&key, Method::GET, "/collections/posts").header("Origin", "https://other.example.com");
        assert_eq!(app.send(page).await.status, 403);
        assert_eq!(list(app, &key).await.status, 200);

        let open = socket(app, &key).await;
        let events = stream(app, &key).await;
        let changed = coir(app, &["keys", "change", &key, "--origins", "all", "--scope", "documents:read", "--expires", "never", "--name", ""]).await;
        assert!(!changed.contains("shop"), "{changed}");
        assert_ended(open, events).await;
        let begun = Instant::now();
        loop {
            let stream = ask(app, &key, Method::GET, "/realtime/sse/posts", Value::Null).await;
            if stream.error() == (403, "FORBIDDEN") { break }
            assert!(begun.elapsed() < SOON, "{stream:?}");
        }

        let successor = coir(app, &["keys", "rotate", &key, "--grace", "0s"]).await.trim().to_owned();
        assert_eq!(list(app, &successor).await.status, 200);
        let begun = Instant::now();
        while list(app, &key).await.status != 401 {
            assert!(begun.elapsed() < SOON);
        }
        let all = coir(app, &["keys", "list"]).await;
        assert!(all.contains("expired") && all.contains("last used"), "{all}");
        let (_, _, why) = try_coir(app, &["keys", "rotate", &key]).await;
        assert!(why.contains("rotated"), "{why}");
        coir(app, &["keys", "revoke", &successor]).await;
        for (arguments, part) in [
            (&["keys", "change", &*key][..], "--name"),
            (&["keys", "create", "secret", "--scopes", "all,keys"], "not a scope"),
            (&["keys", "create", "secret", "--expires", "1999-01-01"], "future"),
            (&["keys", "create", "secret", "--origins", "example.com"], "origin"),
        ] {
            let (is_good, _, why) = try_coir(app, arguments).await;
            assert!(!is_good && why.contains(part), "{arguments:?}: {why}");
        }
        // An operator may revoke the last key: the next one is made in the same way.
        assert!(coir(app, &["keys", "revoke", SECRET_KEY]).await.contains("revoked"));
    }
}
