//! Batches of one collection: all or nothing, in the order of the request.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Database, TestApp, list_all, on_both_databases, sequence_of};

fn ids(answer: &Answer) -> Vec<String> {
    answer
        .data()
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn count(app: &TestApp, collection: &str) -> usize {
    list_all(&app.http, &app.url, collection).await.len()
}

fn raw(app: &TestApp, method: Method, path: &str, body: &str) -> RequestBuilder {
    app.request(method, path).body(body.to_owned())
}

on_both_databases! {
    async fn a_batch_creates_its_documents_in_the_order_of_the_request(app: &TestApp) {
        let documents: Vec<_> = (0..1000).map(|n| json!({ "n": n })).collect();
        let answer = app.post("/collections/posts/batch", json!({ "documents": documents })).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body["error"]);
        let made = answer.data().as_array().unwrap();
        assert_eq!(made.len(), 1000);
        for (n, document) in made.iter().enumerate() {
            assert_eq!((&document["data"], &document["version"], &document["collection"]), (&json!({ "n": n }), &json!(1), &json!("posts")));
        }
        assert!(ids(&answer).is_sorted());
        let there = list_all(&app.http, &app.url, "posts").await;
        assert_eq!(there.values().collect::<Vec<_>>(), made.iter().collect::<Vec<_>>());
        // The log has one entry for the collection and one for each document.
        assert_eq!(sequence_of(answer.header("X-Cursor")), 1001);
    }

    async fn a_batch_merges_several_documents(app: &TestApp) {
        for id in ["a", "b", "c"] {
            app.put(&format!("/collections/posts/{id}"), json!({ "id": id, "n": 1 })).await;
        }
        let answer = app.send(raw(app, Method::PATCH, "/collections/posts/batch", r#"{"updates":{"c":{"$inc":{"n":1}},"a":{"n":null}}}"#)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(ids(&answer), ["c", "a"], "in the order of the request");
        assert_eq!(answer.data()[0]["data"], json!({ "id": "c", "n": 2 }));
        assert_eq!(answer.data()[1]["data"], json!({ "id": "a", "n": null }));
        assert_eq!(app.get("/collections/posts/c").await.data(), &answer.data()[0]);
        assert_eq!(app.get("/collections/posts/b").await.data()["version"], 1);
    }

    async fn a_batch_delete_skips_missing_documents(app: &TestApp) {
        for id in ["a", "b", "c"] {
            app.put(&format!("/collections/posts/{id}"), json!({})).await;
        }
        let before = app.get("/collections/posts").await.body["cursor"].as_str().unwrap().to_owned();
        let answer = app.post("/collections/posts/batch-delete", json!({ "ids": ["c", "never", "a", "c"] })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.data(), &json!({ "deleted": ["c", "a"], "count": 2 }));
        assert_eq!(sequence_of(answer.header("X-Cursor")), sequence_of(&before) + 2);
        assert_eq!(count(app, "posts").await, 1);
        let nothing = app.post("/collections/posts/batch-delete", json!({ "ids": ["c", "never"] })).await;
        assert_eq!(nothing.data(), &json!({ "deleted": [], "count": 0 }));
        assert_eq!(nothing.header("X-Cursor"), answer.header("X-Cursor"), "the cursor stays when nothing changes");
    }

    async fn an_empty_batch_changes_nothing(app: &TestApp) {
        app.put("/collections/posts/a", json!({})).await;
        for (method, path, body) in [
            (Method::POST, "/collections/posts/batch", json!({ "documents": [] })),
            (Method::PATCH, "/collections/posts/batch", json!({ "updates": {} })),
            (Method::POST, "/collections/posts/batch-delete", json!({ "ids": [] })),
            (Method::POST, "/transactions", json!({ "operations": [] })),
        ] {
            let answer = app.send(app.request(method, path).json(&body)).await;
            assert!(answer.status.is_success(), "{path}: {answer:?}");
            assert_eq!(sequence_of(answer.header("X-Cursor")), 2, "{path}");
        }
    }

    async fn a_failing_item_undoes_the_batch_and_is_named(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "text": "x" })).await;
        let large = json!({ "text": "x".repeat(1_048_577) });
        for (why, method, path, body, error, item) in [
            ("a number instead of a document", Method::POST, "batch", json!({ "documents": [{}, 7] }), (400, "INVALID_BODY"), "documents[1]: "),
            ("a document that is too large", Method::POST, "batch", json!({ "documents": [{}, {}, large] }), (413, "PAYLOAD_TOO_LARGE"), "documents[2]: "),
            ("a missing document", Method::PATCH, "batch", json!({ "updates": { "a": { "text": "y" }, "b": {} } }), (404, "DOCUMENT_NOT_FOUND"), "updates[\"b\"]: "),
            ("an operator that does not fit", Method::PATCH, "batch", json!({ "updates": { "a": { "$inc": { "text": 1 } } } }), (409, "CONFLICT"), "updates[\"a\"]: "),
            ("an unknown operator", Method::PATCH, "batch", json!({ "updates": { "a": { "$x": 1 } } }), (400, "INVALID_BODY"), "updates[\"a\"]: "),
            ("an invalid id", Method::PATCH, "batch", json!({ "updates": { "a b": {} } }), (400, "INVALID_BODY"), "updates[\"a b\"]: "),
            ("a number instead of an id", Method::POST, "batch-delete", json!({ "ids": ["a", 1] }), (400, "INVALID_BODY"), "ids[1]: "),
            ("an invalid id", Method::POST, "batch-delete", json!({ "ids": ["a", "b/c"] }), (400, "INVALID_BODY"), "ids[1]: "),
            ("an unknown member", Method::POST, "batch", json!({ "documents": [], "more": 1 }), (400, "INVALID_BODY"), ""),
            ("an object instead of a list", Method::POST, "batch", json!({ "documents": { "a": {} } }), (400, "INVALID_BODY"), ""),
            ("a list instead of an object", Method::PATCH, "batch", json!({ "updates": [{}] }), (400, "INVALID_BODY"), ""),
            ("a missing member", Method::POST, "batch-delete", json!({}), (400, "INVALID_BODY"), ""),
            ("a bare list", Method::POST, "batch", json!([{}]), (400, "INVALID_BODY"), ""),
            ("too many documents", Method::POST, "batch", json!({ "documents": vec![json!({}); 1001] }), (413, "PAYLOAD_TOO_LARGE"), ""),
            ("too many ids", Method::POST, "batch-delete", json!({ "ids": vec!["a"; 1001] }), (413, "PAYLOAD_TOO_LARGE"), ""),
        ] {
            let answer = app.send(app.request(method, &format!("/collections/posts/{path}")).json(&body)).await;
            assert_eq!(answer.error(), error, "{why}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.starts_with(item), "{why}: {message}");
        }
        let twice = raw(app, Method::PATCH, "/collections/posts/batch", r#"{"updates":{"a":{"n":1},"a":{"n":2}}}"#);
        assert_eq!(app.send(twice).await.error(), (400, "INVALID_BODY"), "the same id twice");
        let matched = app.request(Method::POST, "/collections/posts/batch").header("If-Match", "*").json(&json!({ "documents": [] }));
        assert_eq!(app.send(matched).await.error(), (400, "INVALID_BODY"), "a batch takes no precondition");
        let document = app.get("/collections/posts/a").await;
        assert_eq!((&document.data()["data"], &document.data()["version"]), (&json!({ "text": "x" }), &json!(1)));
        assert_eq!(count(app, "posts").await, 1);

        // Only a creation also creates the collection.
        assert_eq!(app.patch("/collections/none/batch", json!({ "updates": { "a": {} } })).await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.post("/collections/none/batch-delete", json!({ "ids": ["a"] })).await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.post("/collections/1bad/batch", json!({ "documents": [{}] })).await.error(), (400, "INVALID_COLLECTION"));
        assert_eq!(app.get("/collections/posts/batch").await.error(), (405, "METHOD_NOT_ALLOWED"), "`batch` is a verb and not an id");
    }

    async fn a_batch_that_needs_too_much_memory_is_refused(app: &TestApp) {
        // A parsed list of digits takes thirty times the memory of its text.
        let digits = json!({ "list": vec![1; 200_000] });
        let answer = app.post("/collections/posts/batch", json!({ "documents": vec![digits; 12] })).await;
        assert_eq!(answer.error(), (413, "PAYLOAD_TOO_LARGE"));
        // Updates are bounded too. These would keep a hundred megabytes of documents before them, and as much after them.
        app.put("/collections/posts/a", json!({ "text": "x".repeat(900_000) })).await;
        let step = json!({ "op": "update", "collection": "posts", "id": "a", "data": { "$inc": { "n": 1 } } });
        let answer = app.post("/transactions", json!({ "operations": vec![step; 120] })).await;
        assert_eq!(answer.error(), (413, "PAYLOAD_TOO_LARGE"));
        assert_eq!(app.get("/collections/posts/a").await.data()["version"], 1);
        assert_eq!(count(app, "posts").await, 1);
    }
}

/// Returns the parts of an answer that a repeated request must get again.
fn essence(answer: &Answer) -> (u16, String, Value) {
    (answer.status.as_u16(), answer.header("x-cursor").to_owned(), answer.body.clone())
}

async fn repetitions(database: Database) {
    let app = TestApp::start(database).await;
    for id in ["a", "b", "c"] {
        app.put(&format!("/collections/posts/{id}"), json!({ "n": 0 })).await;
    }
    let requests = [
        (Method::POST, "/collections/posts/batch", json!({ "documents": [{ "n": 1 }, { "n": 2 }] })),
        (
            Method::PATCH,
            "/collections/posts/batch",
            json!({ "updates": { "a": { "$inc": { "n": 1 } }, "b": { "n": 5 } } }),
        ),
        (Method::POST, "/collections/posts/batch-delete", json!({ "ids": ["c", "never"] })),
        (
            Method::POST,
            "/transactions",
            json!({ "operations": [
            { "op": "create", "collection": "posts", "data": { "n": 1 } },
            { "op": "create", "collection": "drafts", "id": "d", "data": { "n": 1 } },
            { "op": "update", "collection": "posts", "id": "a", "data": { "$inc": { "n": 1 } } },
            { "op": "replace", "collection": "posts", "id": "b", "data": { "n": 1 } },
            { "op": "delete", "collection": "posts", "id": "b" },
        ] }),
        ),
    ];
    let keyed = |app: &TestApp, place: usize, body: &Value| {
        let (method, path, _) = &requests[place];
        app.request(method.clone(), path).header("Idempotency-Key", format!("key {place}")).json(body)
    };
    let mut first = Vec::new();
    for (place, (_, path, body)) in requests.iter().enumerate() {
        let answer = app.send(keyed(&app, place, body)).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        first.push(essence(&answer));
    }
    let head = app.get("/collections/posts").await.body["cursor"].clone();
    let app = app.restart().await;
    for (place, (_, path, body)) in requests.iter().enumerate() {
        assert_eq!(essence(&app.send(keyed(&app, place, body)).await), first[place], "{path}");
        let mut other = body.clone();
        other.as_object_mut().unwrap().values_mut().for_each(|items| match items {
            Value::Array(items) => items.truncate(1),
            _ => *items = json!({ "a": {} }),
        });
        assert_eq!(app.send(keyed(&app, place, &other)).await.error(), (409, "CONFLICT"), "{path}");
    }
    assert_eq!(app.get("/collections/posts").await.body["cursor"], head, "a repetition writes nothing");
    app.stop().await;
}

mod a_repeated_batch_gets_its_first_answer_also_after_a_restart {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn on_sqlite() {
        repetitions(Database::Sqlite).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgres() {
        repetitions(Database::Postgres).await;
    }
}
