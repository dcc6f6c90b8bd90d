//! Two servers on one database act as one service. Both serve the same documents, and a stream on either one carries the
//! changes of both.

use std::time::{Duration, Instant};

use coir::domain::Control;
use futures_util::future;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    PUBLISHABLE_KEY, Sql, TestApp, TestSocket, TestStream, View, data_of, list_all, on_both_databases,
    process, sequence_of,
};

/// How long one node may take to learn of a change on another: one second, plus a margin for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Calls `ask` until it returns a value; panics after [`SOON`], naming `what` was awaited.
async fn soon<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < SOON, "this did not happen within {SOON:?}: {what}");
    }
}

/// Revokes the newest key with one statement, as another node would.
pub(super) async fn revoke_newest_key(sql: &mut Sql) {
    let newest = "(SELECT id FROM api_keys ORDER BY created_at DESC, id DESC LIMIT 1)";
    let id = sql.texts(&format!("SELECT id FROM api_keys WHERE id = {newest}")).await.remove(0);
    let control = serde_json::to_string(&Control::KeyRevoked { key: id.clone() }).unwrap();
    sql.execute(&format!(
        "BEGIN; \
         UPDATE heads SET control = head + 1, control_at = head_at + 1, bytes = bytes + 100, head = head + 1, \
         head_at = head_at + 1; \
         INSERT INTO changes (project_id, sequence, at, size, control) \
         SELECT project_id, head, head_at, 100, '{control}' FROM heads; \
         UPDATE api_keys SET revoked_at = created_at WHERE id = '{id}'; \
         COMMIT"
    ))
    .await;
}

async fn read_stream(mut stream: TestStream, count: usize) -> (View, Vec<Value>) {
    let (mut view, mut events) = (View::default(), Vec::new());
    while events.len() < count {
        let block = stream.next_event().await;
        view.take(&block);
        events.push(block.json());
    }
    (view, events)
}

async fn read_socket(mut socket: TestSocket, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(socket.next().await);
    }
    events
}

/// Creates, updates and deletes documents that no other writer touches; makes `4 * rounds` changes.
async fn write(node: &TestApp, writer: usize, rounds: usize) {
    for n in 0..rounds {
        let path = format!("/collections/posts/{writer}-{n}");
        let other = format!("/collections/posts/{writer}-{n}-gone");
        let (data, patch) = (json!({ "writer": writer, "n": n }), json!({ "patched": true }));
        for answer in [
            node.put(&path, data.clone()).await,
            node.put(&other, data).await,
            node.patch(&path, patch).await,
            node.delete(&other).await,
        ] {
            assert!(answer.status.is_success(), "{answer:?}");
        }
    }
}

on_both_databases! {
    async fn a_stream_of_either_node_has_the_writes_of_both_once_and_in_log_order(app: &TestApp) {
        let other = app.start_second_node().await;
        app.post("/collections", json!({ "name": "posts" })).await;
        let nodes = [app, &other];
        for node in nodes {
            soon("the node knows the collection", async || {
                (node.get("/collections/posts/settings").await.status == StatusCode::OK).then_some(())
            }).await;
        }
        let (rounds, count) = (8, 2 * 3 * 8 * 4);
        let (mut streams, mut sockets) = (Vec::new(), Vec::new());
        for node in nodes {
            let mut stream = node.stream("/realtime/sse/posts", None).await;
            stream.opened().await;
            streams.push(read_stream(stream, count));
            let mut socket = node.socket().await;
            socket.subscribe("posts", json!({})).await;
            sockets.push(read_socket(socket, count));
        }

        let writes = future::join_all((0..6).map(|writer| write(nodes[writer % 2], writer, rounds)));
        let (streams, sockets, _) = future::join3(future::join_all(streams), future::join_all(sockets), writes).await;

        let log = app.sql().await.document_sequences().await;
        let listed = data_of(&list_all(&app.http, &app.url, "posts").await);
        assert_eq!((log.len(), listed.len()), (count, count / 4));
        for (view, _) in &streams {
            assert_eq!(view.sequences, log);
            assert_eq!(view.documents(), listed);
        }
        for events in sockets {
            assert_eq!(events, streams[0].1);
        }
        other.stop().await;
    }

    async fn writes_of_two_nodes_to_one_document_are_serialised(app: &TestApp) {
        let other = app.start_second_node().await;
        app.put("/collections/posts/counter", json!({ "n": 0 })).await;

        let increments = (0..48).map(|writer| {
            let node = if writer % 2 == 0 { app } else { &other };
            node.patch("/collections/posts/counter", json!({ "$inc": { "n": 1 } }))
        });
        for answer in future::join_all(increments).await {
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }

        let counter = app.get("/collections/posts/counter").await.data().clone();
        assert_eq!((&counter["data"]["n"], &counter["version"]), (&json!(48), &json!(49)));
        other.stop().await;
    }

    async fn a_cursor_of_one_node_resumes_on_the_other_node(app: &TestApp) {
        let other = app.start_second_node().await;
        app.create("posts", json!({ "n": 0 })).await;
        let first = app.post("/collections/posts", json!({ "n": 1 })).await;
        let first_cursor = first.header("X-Cursor");

        // The stream opens at once, before the other node can have read these changes.
        let mut stream = other.stream("/realtime/sse/posts", Some(first_cursor)).await;
        for n in 2..6 {
            let node = if n % 2 == 0 { app } else { &other };
            let written = node.post("/collections/posts", json!({ "n": n })).await;
            let block = stream.next_event().await;
            assert_eq!(block.json()["document"]["data"]["n"], n);
            assert_eq!(block.id.as_deref(), Some(written.header("X-Cursor")));
        }
        let cursor = stream.last_event_id.clone().unwrap();
        drop(stream);

        let last = other.post("/collections/posts", json!({ "n": 6 })).await;
        let mut stream = app.stream("/realtime/sse/posts", Some(&cursor)).await;
        let block = stream.next_event().await;
        assert_eq!(sequence_of(block.id.as_ref().unwrap()), sequence_of(last.header("X-Cursor")));
        drop(stream);
        other.stop().await;
    }

    async fn creating_renaming_and_removing_a_collection_takes_effect_on_the_other_node(app: &TestApp) {
        let other = app.start_second_node().await;
        // The other node lists the collections first, so that it has an empty list cached.
        assert_eq!(other.get("/collections").await.data(), &json!([]));
        let names = async || {
            let list = other.get("/collections").await;
            list.data().as_array().unwrap().iter().map(|collection| collection["name"].clone()).collect::<Vec<_>>()
        };

        app.post("/collections", json!({ "name": "posts" })).await;
        soon("the collection is listed", async || (names().await == ["posts"]).then_some(())).await;
        let document = other.create("posts", json!({ "n": 1 })).await;

        app.send(app.request(Method::PATCH, "/collections/posts/settings").json(&json!({ "name": "articles" }))).await;
        // A write reads the log itself, so it sees the new name without delay.
        assert_eq!(other.patch("/collections/posts/x", json!({})).await.error(), (404, "INVALID_COLLECTION"));
        soon("the collection is listed under its new name", async || (names().await == ["articles"]).then_some(())).await;
        let path = format!("/collections/articles/{}", document["id"].as_str().unwrap());
        assert_eq!(other.get(&path).await.data()["data"]["n"], 1);

        let mut stream = other.stream("/realtime/sse/articles", None).await;
        stream.opened().await;
        app.delete("/collections/articles").await;
        let begun = Instant::now();
        assert_eq!(stream.next_event().await.json()["code"], "INVALID_COLLECTION");
        assert!(begun.elapsed() < SOON, "the stream went on for {:?}", begun.elapsed());
        soon("the collection is no longer listed", async || names().await.is_empty().then_some(())).await;
        assert_eq!(other.get(&path).await.error(), (404, "INVALID_COLLECTION"));
        drop(stream);
        other.stop().await;
    }

    async fn revoking_a_key_by_command_ends_its_streams_on_every_node(app: &TestApp) {
        let other = app.start_second_node().await;
        app.create("posts", json!({})).await;
        let nodes = [app, &other];
        let mut streams = Vec::new();
        for node in nodes {
            soon("the node knows the collection", async || {
                (node.get("/collections/posts/settings").await.status == StatusCode::OK).then_some(())
            }).await;
            let request = node.request_as(PUBLISHABLE_KEY, Method::GET, "/realtime/sse/posts");
            let mut stream = TestStream::open(request).await;
            stream.opened().await;
            let mut socket = node.anonymous_socket().await;
            socket.authenticate(PUBLISHABLE_KEY).await;
            socket.subscribe("posts", json!({})).await;
            streams.push((stream, socket));
        }

        let mut revoke = process::command(&["keys", "revoke", PUBLISHABLE_KEY]);
        let revoked = revoke.env("DATABASE_URL", &app.config.database_url).output().unwrap();
        assert!(revoked.status.success(), "{revoked:?}");

        let begun = Instant::now();
        for (node, (mut stream, mut socket)) in nodes.into_iter().zip(streams) {
            assert_eq!(stream.next_event().await.json()["code"], "UNAUTHORIZED");
            assert_eq!(stream.try_next_block().await, None);
            assert_eq!(socket.next().await["code"], "UNAUTHORIZED");
            assert_eq!(u16::from(socket.next_close().await.code), 1008);
            let refused = node.send(node.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/posts")).await;
            assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
        }
        assert!(begun.elapsed() < SOON, "a stream went on for {:?}", begun.elapsed());
        other.stop().await;
    }

    /// A stream that reads the log hears of the revocation before the relay of its node does.
    async fn a_key_whose_stream_was_told_that_it_is_revoked_opens_nothing_any_more(app: &TestApp) {
        let other = app.start_second_node().await;
        app.create("posts", json!({})).await;
        let mut sql = app.sql().await;
        for round in 0..20 {
            let made = process::command(&["keys", "create", "secret"])
                .env("DATABASE_URL", &app.config.database_url)
                .output()
                .unwrap();
            let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
            let list = async || other.send(other.request_as(&key, Method::GET, "/collections/posts")).await;
            assert_eq!(list().await.status, StatusCode::OK);
            // The other node has not heard of this entry, so that the stream which resumes there reads the log.
            let cursor = app.post("/collections/posts", json!({ "n": round })).await.header("X-Cursor").to_owned();
            revoke_newest_key(&mut sql).await;
            let request = other.request_as(&key, Method::GET, "/realtime/sse/posts").header("Last-Event-ID", cursor);
            // It is refused at once, or told and ended.
            request.send().await.unwrap().text().await.unwrap();
            assert_eq!(list().await.error(), (401, "UNAUTHORIZED"), "in round {round}");
        }
        other.stop().await;
    }

    /// Each node looks for news four times a second, and these don't wait for that.
    async fn what_one_node_has_created_the_other_knows_at_once(app: &TestApp) {
        let other = app.start_second_node().await;
        for n in 0..20 {
            let (writer, reader) = if n % 2 == 0 { (app, &other) } else { (&other, app) };
            let (name, listed) = (format!("posts-{n}"), reader.get("/collections?limit=1000").await);
            assert_eq!(listed.data().as_array().unwrap().len(), n);
            assert_eq!(reader.get(&format!("/collections/{name}")).await.error(), (404, "INVALID_COLLECTION"));
            let document = writer.create(&name, json!({ "n": n })).await;

            let path = format!("/collections/{name}/{}", document["id"].as_str().unwrap());
            assert_eq!(reader.get(&path).await.data(), &document);
            let mut stream = reader.stream(&format!("/realtime/sse/{name}"), None).await;
            stream.opened().await;
            let listed = reader.get("/collections?limit=1000").await;
            assert_eq!(listed.data().as_array().unwrap().len(), n + 1);

            let schema = json!({ "type": "object", "required": ["n"] });
            let change = json!({ "schema": schema, "indexes": [{ "fields": ["n"] }] });
            let settings = format!("/collections/{name}/settings");
            assert_eq!(writer.patch(&settings, change).await.status, 200);
            let seen = reader.get(&settings).await;
            assert_eq!((&seen.data()["schema"], seen.data()["indexes"].as_array().unwrap().len()), (&schema, 1));
        }
        let projects = crate::harness::process::command(&["projects", "create", "tenant", "--open"])
            .env("DATABASE_URL", &app.config.database_url)
            .output()
            .unwrap();
        let printed = String::from_utf8(projects.stdout).unwrap();
        let key = printed.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
        let created = app.send(app.request_as(key, Method::PUT, "/collections/posts/a").json(&json!({}))).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        let found = other.send(other.request_as(key, Method::GET, "/collections/posts/a")).await;
        assert_eq!(found.status, StatusCode::OK, "{found:?}");
        other.stop().await;
    }
}
