//! Documents over REST: create, get, replace, merge, delete, versions, entity tags and preconditions.

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, on_both_databases};

/// Sends a request with an additional header.
async fn send_with(app: &TestApp, method: Method, path: &str, header: (&str, &str), body: Value) -> Answer {
    let mut request = app.request(method.clone(), path).header(header.0, header.1);
    if !matches!(method, Method::GET | Method::DELETE) {
        request = request.json(&body);
    }
    app.send(request).await
}

/// Checks that a read returns the same document and entity tag as the write's answer.
async fn assert_reads_back(app: &TestApp, written: &Answer) {
    let id = written.data()["id"].as_str().unwrap();
    let read = app.get(&format!("/collections/posts/{id}")).await;
    assert_eq!(read.data(), written.data());
    assert_eq!(read.header("etag"), written.header("etag"));
}

on_both_databases! {
    async fn a_document_reads_back_as_it_was_written(app: &TestApp) {
        let created = app.create("posts", json!({ "title": "Hello", "n": 1.5, "nested": { "a": [1, null, "x"] } })).await;
        assert_eq!(created["collection"], "posts");
        assert_eq!(created["version"], 1);
        assert_eq!(created["createdAt"], created["updatedAt"]);

        let read = app.get(&format!("/collections/posts/{}", created["id"].as_str().unwrap())).await;
        assert_eq!(read.data(), &created);
    }

    async fn the_first_write_creates_the_collection(app: &TestApp) {
        assert_eq!(app.get("/collections/posts").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.get("/collections/posts/a").await.error(), (404, "INVALID_COLLECTION"));
        app.create("posts", json!({})).await;
        assert_eq!(app.put("/collections/drafts/a", json!({})).await.status, 201);

        for name in ["posts", "drafts"] {
            assert_eq!(app.get(&format!("/collections/{name}")).await.data().as_array().unwrap().len(), 1);
        }
        // A merge or a delete has no document to work on, so it creates no collection.
        assert_eq!(app.patch("/collections/none/a", json!({})).await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.delete("/collections/none/a").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.get("/collections/none/settings").await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn put_answers_201_for_a_new_document_and_200_for_a_replacement(app: &TestApp) {
        let first = app.put("/collections/posts/a", json!({ "x": 1, "y": 2 })).await;
        assert_eq!(first.status, 201);
        assert_eq!((&first.data()["id"], &first.data()["version"]), (&json!("a"), &json!(1)));
        assert_reads_back(app, &first).await;

        let second = app.put("/collections/posts/a", json!({ "x": 3 })).await;
        assert_eq!(second.status, 200);
        assert_eq!(second.data()["data"], json!({ "x": 3 }), "nothing of the old data stays");
        assert_eq!(second.data()["version"], 2);
        assert_eq!(second.data()["createdAt"], first.data()["createdAt"]);
        assert_reads_back(app, &second).await;
    }

    async fn patch_puts_top_level_members_over_the_old_and_keeps_null(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "a": { "x": 1 }, "b": 1, "c": 3 })).await;

        let merged = app.patch("/collections/posts/a", json!({ "a": { "y": 2 }, "b": null, "d": [1] })).await;
        assert_eq!(merged.status, 200);
        assert_eq!(merged.data()["data"], json!({ "a": { "y": 2 }, "b": null, "c": 3, "d": [1] }));
        assert_reads_back(app, &merged).await;

        let unchanged = app.patch("/collections/posts/a", json!({})).await;
        assert_eq!(unchanged.data()["data"], merged.data()["data"]);
        assert_eq!(unchanged.data()["version"], 3, "a merge that changes nothing increments the version too");
    }

    async fn a_deleted_document_is_gone_and_its_neighbours_stay(app: &TestApp) {
        for id in ["a", "b"] {
            app.put(&format!("/collections/posts/{id}"), json!({})).await;
        }
        let deleted = app.delete("/collections/posts/a").await;
        assert_eq!((deleted.status.as_u16(), deleted.data()), (200, &json!({ "id": "a" })));

        for answer in [
            app.get("/collections/posts/a").await,
            app.delete("/collections/posts/a").await,
            app.patch("/collections/posts/a", json!({})).await,
        ] {
            assert_eq!(answer.error(), (404, "DOCUMENT_NOT_FOUND"));
        }
        assert_eq!(app.get("/collections/posts/b").await.status, 200);
        assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 1);
    }

    async fn text_that_cannot_be_an_id_is_refused_or_not_found(app: &TestApp) {
        app.create("posts", json!({})).await;
        for (why, id) in [
            ("a space", "a%20b".to_owned()),
            ("a slash", "a%2Fb".to_owned()),
            ("a dot", "a.b".to_owned()),
            ("not ASCII", "%C3%A9".to_owned()),
            ("65 characters", "a".repeat(65)),
        ] {
            let path = format!("/collections/posts/{id}");
            assert_eq!(app.put(&path, json!({})).await.error(), (400, "INVALID_BODY"), "{why}");
            assert_eq!(app.get(&path).await.error(), (404, "DOCUMENT_NOT_FOUND"), "{why}");
        }
        for verb in ["batch", "query"] {
            assert_eq!(app.put(&format!("/collections/posts/{verb}"), json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
        }
        let longest = format!("/collections/posts/{}", "a".repeat(64));
        assert_eq!(app.put(&longest, json!({})).await.status, 201);
        assert_eq!(app.get(&longest).await.status, 200);
    }

    async fn every_write_has_the_cursor_of_its_own_event(app: &TestApp) {
        app.create("posts", json!({})).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;
        let mut cursors = Vec::new();
        for (event, write) in [
            ("created", app.put("/collections/posts/a", json!({ "n": 1 })).await),
            ("updated", app.put("/collections/posts/a", json!({ "n": 2 })).await),
            ("updated", app.patch("/collections/posts/a", json!({ "n": 3 })).await),
            ("deleted", app.delete("/collections/posts/a").await),
            ("created", app.post("/collections/posts", json!({ "n": 4 })).await),
        ] {
            let block = stream.next_event().await;
            assert_eq!(block.json()["event"], event);
            assert_eq!(block.json()["document"]["id"], write.data()["id"]);
            assert_eq!(block.id.as_deref(), Some(write.header("x-cursor")), "{event}");
            cursors.push(write.header("x-cursor").to_owned());
        }
        cursors.sort();
        cursors.dedup();
        assert_eq!(cursors.len(), 5, "each write has a cursor of its own");
    }

    async fn a_write_happens_only_while_its_precondition_holds(app: &TestApp) {
        let old = app.put("/collections/posts/a", json!({ "n": 1 })).await.header("etag").to_owned();
        let new = app.put("/collections/posts/a", json!({ "n": 2 })).await.header("etag").to_owned();
        assert_ne!(old, new);

        let several = format!("{old}, {new}");
        let mixed = format!("{new}, 3");
        for (why, header, id, expected) in [
            ("an old tag", ("If-Match", &*old), "a", 412),
            ("a missing document has no tag", ("If-Match", &*new), "b", 412),
            ("`*` needs a document that exists", ("If-Match", "*"), "b", 412),
            ("`*` needs a document that does not exist", ("If-None-Match", "*"), "a", 412),
            ("no quotes", ("If-Match", "2"), "a", 400),
            ("one quote", ("If-Match", "\"2"), "a", 400),
            ("an empty list", ("If-Match", ""), "a", 400),
            ("a valid tag and an invalid one", ("If-Match", &*mixed), "a", 400),
            ("If-None-Match of a write takes only `*`", ("If-None-Match", &*old), "a", 400),
            ("the current tag", ("If-Match", &*new), "a", 200),
        ] {
            let answer =
                send_with(app, Method::PUT, &format!("/collections/posts/{id}"), header, json!({ "n": 3 })).await;
            assert_eq!(answer.status, expected, "{why}");
            match expected {
                412 => assert_eq!(answer.error().1, "PRECONDITION_FAILED", "{why}"),
                400 => assert_eq!(answer.error().1, "INVALID_BODY", "{why}"),
                _ => {}
            }
        }
        let read = app.get("/collections/posts/a").await;
        assert_eq!(read.data()["version"], 3, "only the last write succeeded");
        assert_eq!(app.get("/collections/posts/b").await.status, 404);

        for method in [Method::PATCH, Method::DELETE] {
            let stale =
                send_with(app, method.clone(), "/collections/posts/a", ("If-Match", &several), json!({})).await;
            assert_eq!(stale.error(), (412, "PRECONDITION_FAILED"), "{method}");
        }
        let current = format!("{several},{}", read.header("etag"));
        for (method, tags) in [(Method::PATCH, &*current), (Method::DELETE, "*")] {
            let done = send_with(app, method.clone(), "/collections/posts/a", ("If-Match", tags), json!({})).await;
            assert_eq!(done.status, 200, "{method}");
        }
        let made = send_with(app, Method::PUT, "/collections/posts/a", ("If-None-Match", "*"), json!({})).await;
        assert_eq!(made.status, 201);
    }

    async fn a_read_is_answered_with_304_while_the_document_is_the_same(app: &TestApp) {
        let tag = app.put("/collections/posts/a", json!({ "n": 1 })).await.header("etag").to_owned();
        let read = |header: String| async move {
            send_with(app, Method::GET, "/collections/posts/a", ("If-None-Match", &header), Value::Null).await
        };
        for (why, header, status) in [
            ("the current tag", tag.clone(), 304),
            ("reads compare weakly", format!("W/{tag}"), 304),
            ("one of several tags", format!("\"x\", {tag}"), 304),
            ("`*` matches every tag", "*".to_owned(), 304),
            ("another tag", "\"x\"".to_owned(), 200),
        ] {
            let answer = read(header).await;
            assert_eq!(answer.status, status, "{why}");
            assert_eq!(answer.header("etag"), tag, "{why}");
            assert_eq!(answer.body.is_null(), status == 304, "{why}: 304 has no body");
        }
        app.patch("/collections/posts/a", json!({ "n": 2 })).await;
        assert_eq!(read(tag).await.status, 200);
        let missing = send_with(app, Method::GET, "/collections/posts/b", ("If-None-Match", "*"), Value::Null).await;
        assert_eq!(missing.status, 404);
    }

    async fn a_document_created_again_under_its_old_id_has_a_new_entity_tag(app: &TestApp) {
        // The requests are concurrent, so that many of them share a batch and a millisecond.
        let make = |_| send_with(app, Method::PUT, "/collections/posts/a", ("If-None-Match", "*"), json!({}));
        let remove = |_| app.delete("/collections/posts/a");
        let mut tags = Vec::new();
        for _ in 0..5 {
            let (made, _) = join(join_all((0..12).map(make)), join_all((0..12).map(remove))).await;
            let made = made.iter().filter(|answer| answer.status == 201);
            tags.extend(made.map(|answer| answer.header("etag").to_owned()));
        }
        let count = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), count, "some of {count} documents have the same tag");
        assert!(count > 1, "the document was never created again");
    }
}
