//! What happens to the streams and requests of a key that ends or changes, on every node, and which pages may use a key.

use coir::domain::Timestamp;
use reqwest::Method;
use serde_json::json;

use super::project_keys::{after, assert_ended, hint, list, make, path, socket, stream, text};
use crate::{
    harness::{TestSocket, on_both_databases},
    users::ask,
};

on_both_databases! {
    async fn a_rotated_key_is_good_for_its_grace_and_its_streams_end_with_it(app: &TestApp) {
        let node = app.start_second_node().await;
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "name": "app", "kind": "publishable", "scopes": ["documents:read", "realtime"], "origins": ["https://a.com"] })).await;
        let (open, events) = (socket(&node, text(&key)).await, stream(app, text(&key)).await);
        let rotated = app.post(&format!("{}/rotate", path(&key)), json!({ "graceSeconds": 2 })).await;
        assert_eq!(rotated.status, 201, "{rotated:?}");
        let successor = rotated.data();
        for member in ["name", "kind", "scopes", "origins", "expiresAt"] {
            assert_eq!(successor[member], key[member], "{member}");
        }
        assert_ne!(text(successor), text(&key));
        assert_eq!(app.get(&path(&key)).await.data()["successor"], successor["id"]);
        assert_eq!(app.post(&format!("{}/rotate", path(&key)), json!({})).await.error(), (409, "CONFLICT"));
        assert_eq!(list(&node, text(successor)).await.status, 200);

        assert_ended(open, events).await;
        for app in [app, &node] {
            let refused = list(app, text(&key)).await;
            assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
            assert!(hint(&refused).contains("expired"), "{refused:?}");
        }
        // Without a body the grace is a day.
        let next = app.send(app.request(Method::POST, &format!("{}/rotate", path(successor)))).await;
        assert_eq!(next.status, 201, "{next:?}");
        let old = app.get(&path(successor)).await;
        let end = Timestamp::parse(old.data()["expiresAt"].as_str().unwrap()).unwrap().floor;
        assert!((end.0 - Timestamp::now().0 - 24 * 3_600_000).abs() < 60_000, "{old:?}");
        assert_eq!(list(&node, text(successor)).await.status, 200);
        node.stop().await;
    }

    async fn streams_end_at_the_moment_at_which_their_key_expires(app: &TestApp) {
        let node = app.start_second_node().await;
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "kind": "publishable", "expiresAt": after(3000) })).await;
        let later = make(app, json!({ "kind": "publishable", "expiresAt": after(3000) })).await;
        let mut kept = socket(app, text(&later)).await;
        assert_eq!(app.patch(&path(&later), json!({ "expiresAt": null })).await.status, 200);
        assert_ended(socket(&node, text(&key)).await, stream(app, text(&key)).await).await;
        assert_eq!(list(&node, text(&key)).await.error(), (401, "UNAUTHORIZED"));
        // The one that got more time goes on.
        let seen = app.create("posts", json!({})).await;
        assert_eq!(kept.next().await["document"]["id"], seen["id"]);
        // A key that has expired may get more time.
        assert_eq!(app.patch(&path(&key), json!({ "expiresAt": null })).await.status, 200);
        assert_eq!(list(app, text(&key)).await.status, 200);
        drop(kept);
        node.stop().await;
    }

    async fn another_scope_ends_the_streams_of_a_key_and_holds_on_every_node(app: &TestApp) {
        let node = app.start_second_node().await;
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "kind": "publishable" })).await;
        let (open, events) = (socket(&node, text(&key)).await, stream(app, text(&key)).await);
        let mut named = socket(&node, text(&key)).await;
        assert_eq!(ask(&node, text(&key), Method::POST, "/collections/posts", json!({})).await.status, 201);
        assert_eq!(named.next().await["event"], "created");
        // A name is no right.
        assert_eq!(app.patch(&path(&key), json!({ "name": "app" })).await.status, 200);
        app.create("posts", json!({})).await;
        assert_eq!(named.next().await["event"], "created");

        let scopes = json!({ "scopes": ["documents:read", "realtime"] });
        assert_eq!(app.patch(&path(&key), scopes).await.status, 200);
        // Writes are exact on every node.
        let refused = ask(&node, text(&key), Method::POST, "/collections/posts", json!({})).await;
        assert!(matches!(refused.error(), (401, _) | (403, _)), "{refused:?}");
        app.create("posts", json!({ "late": true })).await;
        for mut socket in [open, named] {
            loop {
                let message = socket.next().await;
                assert_ne!(message["document"]["data"]["late"], true);
                if message["type"] == "error" {
                    assert_eq!(message["code"], "UNAUTHORIZED");
                    break;
                }
            }
            assert_eq!(u16::from(socket.next_close().await.code), 1008);
        }
        drop(events);
        // Streams begin anew with the new scopes, also from an old cursor.
        let mut again = socket(&node, text(&key)).await;
        let seen = app.create("posts", json!({})).await;
        assert_eq!(again.next().await["document"]["id"], seen["id"]);
        let refused = ask(&node, text(&key), Method::POST, "/collections/posts", json!({})).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        drop(again);
        node.stop().await;
    }

    async fn a_change_of_a_key_counts_also_where_its_entry_of_the_log_is_not_understood(app: &TestApp) {
        app.create("posts", json!({})).await;
        let (key, other) = (make(app, json!({ "kind": "publishable" })).await, make(app, json!({ "kind": "publishable" })).await);
        let (open, events) = (socket(app, text(&key)).await, stream(app, text(&key)).await);
        let mut kept = socket(app, text(&other)).await;
        // As a newer version would write it.
        app.sql().await.execute(&format!(
            "BEGIN; \
             UPDATE heads SET control = head + 1, control_at = head_at + 1, bytes = bytes + 100, head = head + 1, head_at = head_at + 1; \
             INSERT INTO changes (project_id, sequence, at, size, control) \
             SELECT project_id, head, head_at, 100, '{{\"type\":\"ofLater\"}}' FROM heads; \
             UPDATE api_keys SET scopes = 'documents:read', revision = 1, rescoped = 1 WHERE id = '{}'; \
             COMMIT",
            key["id"].as_str().unwrap()
        ))
        .await;
        assert_ended(open, events).await;
        let refused = ask(app, text(&key), Method::POST, "/collections/posts", json!({})).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        let seen = app.create("posts", json!({})).await;
        assert_eq!(kept.next().await["document"]["id"], seen["id"]);
    }

    async fn a_stream_that_resumes_from_before_a_change_of_its_key_goes_on(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "kind": "publishable" })).await;
        let cursor = app.get("/collections/posts").await.body["cursor"].as_str().unwrap().to_owned();
        for scopes in [json!(["documents:read", "realtime"]), json!(["documents:read", "realtime", "users"])] {
            assert_eq!(app.patch(&path(&key), json!({ "scopes": scopes })).await.status, 200);
        }
        let seen = app.create("posts", json!({})).await;
        let mut socket = app.anonymous_socket().await;
        socket.authenticate(text(&key)).await;
        let begun = socket.subscribe_named("s", "posts", json!({ "since": cursor })).await;
        let event = if begun["type"] == "event" { begun } else { socket.next().await };
        assert_eq!(event["document"]["id"], seen["id"], "{event}");
    }

    async fn only_pages_of_its_origins_use_a_key(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = make(app, json!({ "kind": "publishable", "origins": ["https://app.example.com", "https://*.example.org"] })).await;
        let ticket = ask(app, text(&key), Method::POST, "/realtime/tickets", json!({})).await;
        let ticket = ticket.data()["ticket"].as_str().unwrap().to_owned();
        let signed = ask(app, text(&key), Method::POST, "/users/anonymous", json!({})).await;
        let token = signed.data()["accessToken"].as_str().unwrap().to_owned();
        let good = ["https://app.example.com", "https://a.example.org"];
        let doors = [
            app.request_as(text(&key), Method::GET, "/collections/posts"),
            app.request_as(&token, Method::GET, "/collections/posts"),
            app.request_as(text(&key), Method::POST, "/collections/posts").json(&json!({})),
            app.request_as(text(&key), Method::POST, "/realtime/tickets").json(&json!({})),
            app.request_as(text(&key), Method::POST, "/users/anonymous").json(&json!({})),
            app.http.get(format!("{}/realtime/sse/posts?token={}", app.url, text(&key))),
            app.http.get(format!("{}/realtime/sse/posts?ticket={ticket}", app.url)),
            // The door of the client libraries.
            app.http.get(format!("{}/collections/posts/documents", app.url)).header("x-api-key", text(&key)),
        ];
        for door in doors {
            let shown = format!("{door:?}");
            for origin in ["https://evil.example", "https://example.org", "null", "http://app.example.com"] {
                let refused = app.send(door.try_clone().unwrap().header("Origin", origin)).await;
                assert_eq!(refused.status, 403, "{shown} {origin}: {refused:?}");
                assert!(refused.body.to_string().contains(origin), "{shown}: {refused:?}");
                // The page reads why.
                assert!(["*", origin].contains(&refused.header("access-control-allow-origin")), "{shown}: {refused:?}");
            }
            for origin in good {
                let answer = door.try_clone().unwrap().header("Origin", origin).send().await.unwrap();
                assert!(answer.status().is_success() || answer.status() == 404, "{shown} {origin}: {answer:?}");
            }
        }
        let preflight = app.http.request(Method::OPTIONS, format!("{}/collections/posts", app.url))
            .header("Origin", "https://evil.example").header("Access-Control-Request-Method", "POST");
        assert_eq!(app.send(preflight).await.status, 200, "a preflight has no key");

        // A WebSocket says so on the stream, where the page can read it.
        let connect = async |origin: &str, query: &str| {
            let mut request = tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
                format!("{}/realtime{query}", app.url.replace("http", "ws"))).unwrap();
            request.headers_mut().insert("Origin", origin.parse().unwrap());
            TestSocket::connect(request).await
        };
        for query in [String::new(), format!("?token={}", text(&key)), format!("?ticket={ticket}")] {
            let mut socket = connect("https://evil.example", &query).await;
            if query.is_empty() {
                socket.authenticate(text(&key)).await;
            }
            assert_eq!(socket.next_error().await.0, "FORBIDDEN", "{query}");
            socket.send(json!({ "type": "subscribe", "collection": "posts" })).await;
            assert_eq!(socket.next_error().await.0, "UNAUTHORIZED", "{query}");
        }
        // So does one of the client libraries.
        for (origin, told) in [("https://evil.example", "https://evil.example"), (good[1], "connected")] {
            let mut socket = connect(origin, "/collections/posts").await;
            socket.send(json!({ "api_key": text(&key) })).await;
            let message = socket.next().await.to_string();
            assert!(message.contains(told), "{origin}: {message}");
        }
        let mut socket = connect(good[0], "").await;
        socket.authenticate(text(&key)).await;
        socket.subscribe("posts", json!({})).await;
        // A change of the origins ends it.
        assert_eq!(app.patch(&path(&key), json!({ "origins": ["https://other.example"] })).await.status, 200);
        assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
    }
}
