//! Open and closed projects: who may use a collection without rules.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, ids, set_rules};
use crate::{
    harness::{Answer, Database, PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestStream, on_both_databases},
    operations::keys::coir,
    users::{
        ask, sign_up,
        streams::{socket, sse},
    },
};

/// Asserts that an answer is the refusal of a closed project, which says what to do.
fn assert_closed(answer: &Answer, what: &str) {
    assert_eq!(answer.error(), (403, "FORBIDDEN"), "{what}: {answer:?}");
    let message = answer.body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("closed") && message.contains("rules"), "{what}: {message}");
}

async fn close(app: &TestApp) {
    let answer = app.patch("/settings", json!({ "open": false })).await;
    assert_eq!((answer.status.as_u16(), &answer.data()["open"]), (200, &json!(false)));
}

on_both_databases! {
    async fn a_closed_project_refuses_everybody_but_servers_on_every_door(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        app.put("/collections/posts/a", json!({ "n": 1 })).await;
        set_rules(app, "ruled", json!({ "read": true, "create": true })).await;
        app.put("/collections/ruled/r", json!({ "posts_id": "a" })).await;
        close(app).await;
        let doors = [
            (Method::GET, "/collections/posts", Value::Null),
            (Method::GET, "/collections/posts/a", Value::Null),
            (Method::POST, "/collections/posts", json!({ "n": 2 })),
            (Method::PUT, "/collections/posts/a", json!({ "n": 2 })),
            (Method::PATCH, "/collections/posts/a", json!({ "n": 2 })),
            (Method::DELETE, "/collections/posts/a", Value::Null),
            (Method::POST, "/collections/posts/query", json!({})),
            (Method::GET, "/collections/posts/query/count", Value::Null),
            (Method::GET, "/collections/posts/query/aggregate?field=n&operation=sum", Value::Null),
            (Method::GET, "/collections/posts/query/group-by?field=n", Value::Null),
            (Method::GET, "/collections/posts/export", Value::Null),
            (Method::POST, "/collections/posts/batch", json!({ "documents": [{ "n": 3 }] })),
            (Method::PATCH, "/collections/posts/batch", json!({ "updates": { "a": { "n": 3 } } })),
            (Method::POST, "/collections/posts/batch-delete", json!({ "ids": ["a"] })),
            (Method::POST, "/transactions", json!({ "operations": [{ "op": "create", "collection": "posts", "data": {} }] })),
            (Method::POST, "/realtime/tickets", json!({ "collection": "posts" })),
            (Method::GET, "/realtime/sse/posts", Value::Null),
            // A write must not make a collection either.
            (Method::POST, "/collections/new", json!({ "n": 1 })),
            (Method::PUT, "/collections/new/a", json!({ "n": 1 })),
            (Method::POST, "/collections", json!({ "name": "new" })),
        ];
        for (method, path, body) in doors {
            let what = format!("{method} {path}");
            assert_closed(&as_guest(app, method.clone(), path, body.clone()).await, &format!("guest {what}"));
            assert_closed(&as_user(app, &ada, method.clone(), path, body).await, &format!("user {what}"));
        }
        // The door of the client libraries obeys the same.
        let create = |collection: &str| {
            let path = format!("{}/collections/documents?collection={collection}", app.url);
            app.http.post(path).json(&json!({ "data": { "n": 1 } }))
        };
        let list = app.http.get(format!("{}/collections/posts/documents", app.url));
        for request in [list, create("posts"), create("new")] {
            let shown = format!("{request:?}");
            let answer = app.send(request.header("x-api-key", PUBLISHABLE_KEY)).await;
            assert_eq!(answer.status, 403, "{shown}: {answer:?}");
        }
        // A server that acts for a user may do what the user may.
        let request = app.request_as(&ada.access, Method::GET, "/collections/posts");
        assert_closed(&app.send(request.header("x-api-key", SECRET_KEY)).await, "server for a user");
        let mut streams = socket(app, PUBLISHABLE_KEY).await;
        streams.send(json!({ "type": "subscribe", "collection": "posts", "id": "s" })).await;
        assert_eq!(streams.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("s"))));

        // What has rules is open as they say, accounts work, and a server may do everything.
        assert_eq!(ids(&as_guest(app, Method::GET, "/collections/ruled", Value::Null).await), ["r"]);
        assert_eq!(as_guest(app, Method::POST, "/collections/ruled", json!({})).await.status, 201);
        assert_eq!(as_user(app, &ada, Method::GET, "/users/me", Value::Null).await.status, 200);
        sign_up(app, "bob@example.com").await;
        assert_eq!(app.get("/collections/posts/a").await.data()["data"], json!({ "n": 1 }));
        assert_eq!(app.post("/collections/new", json!({})).await.status, 201);
        let populated = as_guest(app, Method::GET, "/collections/ruled/r?populate=posts", Value::Null).await;
        assert!(!populated.body.to_string().contains("\"n\""), "{populated:?}");
    }

    async fn a_project_that_is_closed_or_opened_is_so_at_once_on_open_streams_and_other_nodes(app: &TestApp) {
        let node = app.start_second_node().await;
        let ada = sign_up(app, "ada@example.com").await;
        app.put("/collections/posts/a", json!({ "n": 1 })).await;
        let mut guest = socket(&node, PUBLISHABLE_KEY).await;
        guest.subscribe_named("s", "posts", json!({})).await;
        let mut stream = TestStream::open(sse(app, &ada.access, "posts")).await;
        stream.opened().await;
        let mut server = node.socket().await;
        server.subscribe("posts", json!({})).await;

        let told = coir(app, &["projects", "close", "default"]).await;
        assert!(told.contains("closed"), "{told}");
        app.put("/collections/posts/b", json!({ "n": 2 })).await;
        assert_eq!(guest.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("s"))));
        let error = stream.next_event().await;
        assert_eq!((error.event.as_deref(), &error.json()["code"]), (Some("error"), &json!("FORBIDDEN")));
        assert_eq!(server.next().await["document"]["id"], "b");
        for app in [app, &node] {
            assert_closed(&as_guest(app, Method::GET, "/collections/posts", Value::Null).await, "list");
            assert_closed(&as_guest(app, Method::POST, "/collections/posts", json!({})).await, "create");
        }
        assert!(coir(app, &["projects", "list"]).await.contains("closed  default"));

        assert_eq!(app.patch("/settings", json!({ "open": true })).await.status, 200);
        assert_eq!(as_guest(app, Method::POST, "/collections/posts", json!({})).await.status, 201);
        let null = app.patch("/settings", json!({ "open": null })).await;
        assert_eq!(null.error(), (400, "INVALID_BODY"));
        assert_eq!(app.get("/settings").await.data()["open"], true);
        drop((guest, server, stream));
        node.stop().await;
    }

    async fn a_new_project_is_closed_unless_it_is_made_open(app: &TestApp) {
        for (arguments, status) in [(&["projects", "create", "one"][..], 403), (&["projects", "create", "two", "--open"], 201)] {
            let printed = coir(app, arguments).await;
            let key = |prefix| printed.split_whitespace().find(|word| word.starts_with(prefix)).unwrap();
            let guest = ask(app, key("pk_"), Method::POST, "/collections/posts", json!({})).await;
            assert_eq!(guest.status, status, "{arguments:?}: {guest:?}");
            assert_eq!(ask(app, key("sk_"), Method::POST, "/collections/posts", json!({})).await.status, 201);
        }
        let list = coir(app, &["projects", "list"]).await;
        for line in ["open    default", "closed  one", "open    two"] {
            assert!(list.contains(line), "{line}: {list}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_waits_for_a_collection_of_a_closed_project_ends_when_there_is_one() {
    let app = TestApp::start(Database::Sqlite).await;
    close(&app).await;
    let mut guest = socket(&app, PUBLISHABLE_KEY).await;
    guest.subscribe_named("s", "later", json!({})).await;
    app.put("/collections/later/a", json!({ "n": 1 })).await;
    assert_eq!(guest.next_error().await, ("FORBIDDEN".to_owned(), Some(json!("s"))));
    drop(guest);
    app.stop().await;
}
