//! Schemas of collections: from the moment that a schema is set, every write that doesn't fit it is refused.

use futures_util::future;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, list_all, on_both_databases};

fn person() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string", "minLength": 1 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
            "tags": { "type": "array", "items": { "type": "string" }, "maxItems": 2 },
        },
    })
}

async fn set(app: &TestApp, collection: &str, schema: &Value) -> Answer {
    app.patch(&format!("/collections/{collection}/settings"), json!({ "schema": schema })).await
}

/// Returns the JSON pointers of the violations in a refusal.
fn pointers(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.error(), (422, "SCHEMA_VIOLATION"), "{answer:?}");
    let details = answer.body["error"]["details"].as_array().unwrap_or_else(|| panic!("no list: {answer:?}"));
    details.iter().map(|one| one["pointer"].as_str().unwrap()).collect()
}

on_both_databases! {
    async fn a_schema_can_be_set_read_and_removed(app: &TestApp) {
        let made = app.post("/collections", json!({ "name": "people", "schema": person() })).await;
        assert_eq!((made.status.as_u16(), &made.data()["schema"]), (201, &person()));
        assert_eq!(app.get("/collections/people/settings").await.data(), made.data());
        assert_eq!(app.get("/collections").await.data()[0]["name"], "people");
        assert_eq!(pointers(&app.post("/collections/people", json!({})).await), [""]);

        let other = json!({ "required": ["title"] });
        let changed = app.patch("/collections/people/settings", json!({ "schema": other, "name": "books" })).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!((&changed.data()["schema"], &changed.data()["name"]), (&other, &json!("books")));
        assert_eq!(app.get("/collections/books/settings").await.data(), changed.data());
        assert_eq!(app.post("/collections/books", json!({ "title": 1 })).await.status, 201);

        let renamed = app.patch("/collections/books/settings", json!({ "name": "shelf" })).await;
        assert_eq!((&renamed.data()["schema"], &renamed.data()["name"]), (&other, &json!("shelf")));
        let removed = app.patch("/collections/shelf/settings", json!({ "schema": null })).await;
        assert_eq!((removed.status.as_u16(), &removed.data()["schema"]), (200, &Value::Null));
        assert_eq!(app.post("/collections/shelf", json!({})).await.status, 201);
        // A collection that a write creates has no schema.
        app.create("free", json!({})).await;
        assert_eq!(app.get("/collections/free/settings").await.data()["schema"], Value::Null);

        let request = app.request_as(PUBLISHABLE_KEY, Method::PATCH, "/collections/shelf/settings");
        assert_eq!(app.send(request.json(&json!({ "schema": null }))).await.error(), (403, "FORBIDDEN"));
        assert_eq!(set(app, "none", &person()).await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.patch("/collections/shelf/settings", json!({})).await.error(), (400, "INVALID_BODY"));
        for (why, schema) in [
            ("a number", json!(7)),
            ("a boolean", json!(true)),
            ("an unknown type", json!({ "type": "text" })),
            ("a reference to another host", json!({ "$ref": "https://example.com/s.json" })),
            ("a reference to a cloud's metadata", json!({ "properties": { "a": { "$ref": "http://169.254.169.254/latest" } } })),
            ("a reference to a file", json!({ "$ref": "file:///etc/passwd" })),
            ("another draft", json!({ "$schema": "http://json-schema.org/draft-04/schema#" })),
            ("too large", json!({ "description": "x".repeat(70_000) })),
            ("a pattern that looks back", json!({ "pattern": "(?<=a)b" })),
            ("a schema that refers to itself", json!({ "$ref": "#" })),
        ] {
            assert_eq!(set(app, "shelf", &schema).await.error(), (400, "INVALID_BODY"), "{why}");
            let made = app.post("/collections", json!({ "name": "new", "schema": schema })).await;
            assert_eq!(made.error(), (400, "INVALID_BODY"), "{why}");
        }
    }

    async fn documents_that_do_not_fit_the_schema_are_refused(app: &TestApp) {
        app.post("/collections", json!({ "name": "people", "schema": person() })).await;
        let ada = json!({ "name": "Ada", "age": 36, "tags": ["maths"] });
        assert_eq!(app.put("/collections/people/ada", ada.clone()).await.status, 201);
        let before = app.get("/collections/people").await.body["cursor"].clone();

        let two = app.post("/collections/people", json!({ "name": "", "age": "old" })).await;
        let mut both = pointers(&two);
        both.sort_unstable();
        assert_eq!(both, ["/age", "/name"]);
        assert!(!two.body.to_string().contains("\"old\""), "the error does not repeat the value: {two:?}");
        assert_eq!(pointers(&app.put("/collections/people/ada", json!({ "name": 1 })).await), ["/name"]);
        assert_eq!(pointers(&app.patch("/collections/people/ada", json!({ "age": -1 })).await), ["/age"]);
        // The schema applies to the document as it would be after its operators.
        assert_eq!(pointers(&app.patch("/collections/people/ada", json!({ "$inc": { "age": 115 } })).await), ["/age"]);
        assert_eq!(pointers(&app.patch("/collections/people/ada", json!({ "$append": { "tags": ["a", 1] } })).await).len(), 2);
        assert_eq!(pointers(&app.patch("/collections/people/ada", json!({ "$unset": "name" })).await), [""]);

        let batch = app.post("/collections/people/batch", json!({ "documents": [ada, { "name": "Bob", "age": 200 }] })).await;
        assert_eq!(pointers(&batch), ["/age"]);
        assert!(batch.body["error"]["message"].as_str().unwrap().starts_with("documents[1]: "), "{batch:?}");
        let updates = app.patch("/collections/people/batch", json!({ "updates": { "ada": { "tags": "x" } } })).await;
        assert_eq!(pointers(&updates), ["/tags"]);
        let transaction = app.post("/transactions", json!({ "operations": [
            { "op": "create", "collection": "log", "data": {} },
            { "op": "replace", "collection": "people", "id": "bob", "data": { "name": "Bob", "tags": [1] } },
        ] })).await;
        assert_eq!(pointers(&transaction), ["/tags/0"]);
        assert!(transaction.body["error"]["message"].as_str().unwrap().starts_with("operations[1]: "), "{transaction:?}");

        assert_eq!(app.get("/collections/people").await.body["cursor"], before, "nothing was written");
        assert_eq!(app.patch("/collections/people/ada", json!({ "$inc": { "age": 114 } })).await.status, 200);
    }

    async fn documents_that_do_not_fit_are_named_and_the_schema_is_not_set(app: &TestApp) {
        let documents: Vec<_> = (0..1000).map(|n| json!({ "name": format!("{n}"), "text": "x".repeat(2000) })).collect();
        app.post("/collections/people/batch", json!({ "documents": documents })).await;
        let documents: Vec<_> = (0..400).map(|n| json!({ "name": format!("{n}") })).collect();
        app.post("/collections/people/batch", json!({ "documents": documents })).await;
        app.put("/collections/people/a", json!({ "name": "Ada", "age": 200 })).await;
        app.put("/collections/people/zoe", json!({ "tags": [1] })).await;

        let refused = set(app, "people", &person()).await;
        assert_eq!(refused.error(), (422, "SCHEMA_VIOLATION"), "{refused:?}");
        let details = &refused.body["error"]["details"];
        assert_eq!(details["count"], 2, "{details}");
        let ids: Vec<_> = details["documents"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "zoe"]);
        assert_eq!(details["documents"][0]["violations"][0]["pointer"], "/age");
        assert_eq!(app.get("/collections/people/settings").await.data()["schema"], Value::Null);
        assert_eq!(app.post("/collections/people", json!({})).await.status, 201, "a schema that was not set refuses nothing");

        // The error names at most twenty documents and counts the others.
        let wrong = vec![json!({}); 100];
        app.post("/collections/people/batch", json!({ "documents": wrong })).await;
        let refused = set(app, "people", &person()).await;
        let details = &refused.body["error"]["details"];
        assert_eq!((&details["count"], details["documents"].as_array().unwrap().len()), (&json!(103), 20));

        let wrong: Vec<_> = list_all(&app.http, &app.url, "people").await.into_iter().filter(|(_, document)| {
            document["data"].get("name").is_none() || document["data"]["age"] == 200
        }).map(|(id, _)| id).collect();
        app.post("/collections/people/batch-delete", json!({ "ids": wrong })).await;
        assert_eq!(set(app, "people", &person()).await.status, 200);
    }

    async fn no_write_slips_in_while_a_schema_is_set(app: &TestApp) {
        for round in 0..12 {
            let collection = format!("c{round}");
            app.put(&format!("/collections/{collection}/first"), json!({ "name": "x" })).await;
            let (path, schema) = (format!("/collections/{collection}"), person());
            let writes = future::join_all((0..16).map(|_| app.post(&path, json!({ "name": 1 }))));
            let (set, writes) = future::join(set(app, &collection, &schema), writes).await;
            let written = writes.iter().filter(|answer| answer.status == 201).count();
            let there = list_all(&app.http, &app.url, &collection).await.len();
            assert_eq!(there, 1 + written);
            match set.status.as_u16() {
                200 => assert_eq!(written, 0, "a stored document doesn't fit the schema"),
                _ => {
                    assert_eq!(set.error(), (422, "SCHEMA_VIOLATION"));
                    assert!(written > 0, "{set:?}");
                }
            }
        }
    }

    async fn writes_queued_before_a_schema_count_when_it_is_set(app: &TestApp) {
        for (collection, data, status) in [("good", json!({ "name": "x" }), 200), ("bad", json!({ "name": 1 }), 422)] {
            app.put(&format!("/collections/{collection}/first"), json!({ "name": "x" })).await;
            let mut sql = app.sql().await;
            sql.lock().await;
            // The batch has more changes than the writer checks by itself when a schema is set.
            let (path, body) = (format!("/collections/{collection}/batch"), json!({ "documents": vec![data; 300] }));
            let schema = person();
            let (waiting, set, ()) = future::join3(app.post(&path, body), set(app, collection, &schema), async {
                // By the time of this answer, most of the earlier requests are waiting for the writer.
                app.get("/collections/good/first").await;
                sql.unlock().await;
            }).await;
            // The two requests race, so either may come first.
            match waiting.status.as_u16() {
                201 => assert_eq!(set.status, status, "{collection}: {set:?}"),
                _ => {
                    assert_eq!(waiting.error(), (422, "SCHEMA_VIOLATION"));
                    assert_eq!(set.status, 200, "{collection}: {set:?}");
                }
            }
        }
    }

    async fn another_node_knows_a_schema_at_once(app: &TestApp) {
        app.create("people", json!({ "name": "Ada" })).await;
        let other = app.start_second_node().await;
        assert_eq!(other.post("/collections/people", json!({ "name": "Bob" })).await.status, 201);
        assert_eq!(set(app, "people", &person()).await.status, 200);
        assert_eq!(pointers(&other.post("/collections/people", json!({ "name": 1 })).await), ["/name"]);
        assert_eq!(pointers(&other.put("/collections/people/a", json!({ "name": 1 })).await), ["/name"]);
        assert_eq!(set(&other, "people", &Value::Null).await.status, 200);
        assert_eq!(app.post("/collections/people", json!({ "name": 1 })).await.status, 201);
        other.stop().await;
    }

    async fn a_repeated_creation_gets_its_first_answer_after_a_schema_was_set(app: &TestApp) {
        let create = || app.send(app.request(Method::POST, "/collections/people").header("Idempotency-Key", "k").json(&json!({ "n": 1 })));
        let first = create().await;
        assert_eq!(first.status, 201);
        let id = first.data()["id"].as_str().unwrap();
        app.delete(&format!("/collections/people/{id}")).await;
        assert_eq!(set(app, "people", &person()).await.status, 200);
        assert_eq!(create().await.body, first.body);
    }

    async fn a_publishable_key_cannot_give_a_new_collection_a_schema(app: &TestApp) {
        let create =
            |body: Value| app.send(app.request_as(PUBLISHABLE_KEY, Method::POST, "/collections").json(&body));
        for schema in [json!({ "not": {} }), json!({ "type": "nonsense" })] {
            let refused = create(json!({ "name": "posts", "schema": schema })).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"), "{schema}");
        }
        assert_eq!(app.get("/collections/posts").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(create(json!({ "name": "posts", "schema": null })).await.status, 201);
        let request = app.request_as(PUBLISHABLE_KEY, Method::PATCH, "/collections/posts/settings");
        assert_eq!(
            app.send(request.json(&json!({ "schema": { "not": {} } }))).await.error(),
            (403, "FORBIDDEN")
        );
        assert_eq!(app.create("posts", json!({ "n": 1 })).await["version"], 1);
    }

    async fn a_request_whose_checks_take_long_is_refused_as_a_whole(app: &TestApp) {
        // 900 looks at each of 10,000 numbers: one check is some 0.1 s, and the writer does one for each update.
        let looks = vec![json!({ "type": "integer" }); 900];
        let schema = json!({ "properties": { "list": { "items": { "allOf": looks } } } });
        assert_eq!(app.post("/collections", json!({ "name": "large", "schema": schema })).await.status, 201);
        let data = json!({ "n": 0, "list": (0..10_000).collect::<Vec<_>>() });
        assert_eq!(app.put("/collections/large/a", data).await.status, 201);
        let update = json!({ "op": "update", "collection": "large", "id": "a", "data": { "$inc": { "n": 1 } } });
        let refused = app.post("/transactions", json!({ "operations": vec![update; 60] })).await;
        assert_eq!(refused.error(), (413, "PAYLOAD_TOO_LARGE"));
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("schema takes too long"), "{message}");
        assert_eq!(app.get("/collections/large/a").await.data()["data"]["n"], 0, "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_outlives_a_restart() {
    let app = TestApp::start(crate::harness::Database::Sqlite).await;
    app.post("/collections", json!({ "name": "people", "schema": person() })).await;
    let app = app.restart().await;
    assert_eq!(pointers(&app.post("/collections/people", json!({ "name": 1 })).await), ["/name"]);
    assert_eq!(app.get("/collections/people/settings").await.data()["schema"], person());
    app.stop().await;
}
