//! `Idempotency-Key`: a repeated request gets the first answer and writes nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, Database, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

fn keyed(app: &TestApp, key: &str, method: Method, path: &str, body: &Value) -> RequestBuilder {
    app.request(method, path).header("Idempotency-Key", key).json(body)
}

/// Returns the parts of an answer that a repeated request must get again.
fn essence(answer: &Answer) -> (u16, String, Option<String>, Value) {
    let tag = answer.headers.get("etag").map(|tag| tag.to_str().unwrap().to_owned());
    (answer.status.as_u16(), answer.header("x-cursor").to_owned(), tag, answer.body.clone())
}

on_both_databases! {
    async fn a_repeated_request_gets_the_first_answer_and_does_nothing(app: &TestApp) {
        app.put("/collections/posts/old", json!({ "n": 0 })).await;
        app.put("/collections/posts/gone", json!({ "n": 0 })).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;

        for (key, method, path, event) in [
            ("create", Method::POST, "/collections/posts", "created"),
            ("make", Method::PUT, "/collections/posts/new", "created"),
            ("replace", Method::PUT, "/collections/posts/old", "updated"),
            ("merge", Method::PATCH, "/collections/posts/old", "updated"),
            ("delete", Method::DELETE, "/collections/posts/gone", "deleted"),
        ] {
            let body = json!({ "n": 1.5, "text": key });
            let first = app.send(keyed(app, key, method.clone(), path, &body)).await;
            assert!(first.status.is_success(), "{key}: {first:?}");
            // A write in between must not show in the repeated answer.
            app.put("/collections/elsewhere/a", json!({})).await;
            let again = app.send(keyed(app, key, method, path, &body)).await;
            assert_eq!(essence(&again), essence(&first), "{key}");

            let block = stream.next_event().await;
            assert_eq!(block.json()["event"], event, "{key}: one event, not two");
            assert_eq!(block.id.as_deref(), Some(first.header("x-cursor")), "{key}");
        }
        let all = app.get("/collections/posts").await;
        assert_eq!(all.data().as_array().unwrap().len(), 3, "{:?}", all.body);
        assert_eq!(app.get("/collections/posts/old").await.data()["version"], 3);
    }

    async fn a_key_used_for_another_request_is_a_conflict(app: &TestApp) {
        let body = json!({ "n": 1 });
        let first = app.send(keyed(app, "k", Method::PUT, "/collections/posts/a", &body)).await;
        assert_eq!(first.status, 201);
        for (why, method, path, body) in [
            ("another body", Method::PUT, "/collections/posts/a", json!({ "n": 2 })),
            ("another document", Method::PUT, "/collections/posts/b", json!({ "n": 1 })),
            ("another method", Method::PATCH, "/collections/posts/a", json!({ "n": 1 })),
            ("another collection", Method::PUT, "/collections/drafts/a", json!({ "n": 1 })),
        ] {
            let answer = app.send(keyed(app, "k", method, path, &body)).await;
            assert_eq!(answer.error(), (409, "CONFLICT"), "{why}");
        }
        let conditional = keyed(app, "k", Method::PUT, "/collections/posts/a", &body).header("If-Match", "*");
        assert_eq!(app.send(conditional).await.error(), (409, "CONFLICT"), "another precondition");
        assert_eq!(app.get("/collections/posts/a").await.data()["version"], 1);
        assert_eq!(app.get("/collections/drafts").await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn a_key_belongs_to_the_api_key_that_used_it(app: &TestApp) {
        let create = |api_key| {
            let request = app.request_as(api_key, Method::POST, "/collections/posts");
            app.send(request.header("Idempotency-Key", "k").json(&json!({ "n": 1 })))
        };
        let (secret, publishable) = (create(SECRET_KEY).await, create(PUBLISHABLE_KEY).await);
        assert_eq!((secret.status.as_u16(), publishable.status.as_u16()), (201, 201));
        assert_ne!(secret.data()["id"], publishable.data()["id"]);
        assert_eq!(essence(&create(SECRET_KEY).await), essence(&secret));
        assert_eq!(essence(&create(PUBLISHABLE_KEY).await), essence(&publishable));
    }

    async fn concurrent_repetitions_create_one_document(app: &TestApp) {
        app.put("/collections/posts/marker", json!({})).await;
        let requests = (0..24).map(|_| keyed(app, "k", Method::POST, "/collections/posts", &json!({ "n": 1 })));
        let answers = join_all(requests.map(|request| app.send(request))).await;
        for answer in &answers {
            assert_eq!(essence(answer), essence(&answers[0]));
        }
        assert_eq!(answers[0].status, 201);
        assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 2);
    }

    async fn a_request_that_failed_leaves_its_key_free(app: &TestApp) {
        app.put("/collections/posts/other", json!({})).await;
        let merge = || keyed(app, "k", Method::PATCH, "/collections/posts/a", &json!({ "n": 1 }));
        assert_eq!(app.send(merge()).await.error(), (404, "DOCUMENT_NOT_FOUND"));
        app.put("/collections/posts/a", json!({})).await;
        assert_eq!(app.send(merge()).await.status, 200);
        assert_eq!(app.send(merge()).await.data()["version"], 2);
    }

    async fn text_that_cannot_be_an_idempotency_key_is_refused(app: &TestApp) {
        let long = "k".repeat(256);
        for (why, key) in [("empty", ""), ("256 characters", &*long), ("not ASCII", "ключ")] {
            let answer = app.send(keyed(app, key, Method::POST, "/collections/posts", &json!({}))).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{why}");
        }
        let twice = keyed(app, "a", Method::POST, "/collections/posts", &json!({})).header("Idempotency-Key", "b");
        assert_eq!(app.send(twice).await.error(), (400, "INVALID_BODY"), "two keys");
        assert_eq!(app.get("/collections/posts").await.error(), (404, "INVALID_COLLECTION"), "nothing was written");
        let longest = keyed(app, &long[1..], Method::POST, "/collections/posts", &json!({}));
        assert_eq!(app.send(longest).await.status, 201);
    }

    async fn the_result_of_a_large_write_is_stored_small_and_answered_whole(app: &TestApp) {
        let large = |n: usize| json!({ "n": n, "text": "x".repeat(300_000) });
        let batch = json!({ "documents": [large(0), large(1), large(2)] });
        let cases = [
            (Method::POST, "/collections/posts/batch", batch),
            (Method::PUT, "/collections/posts/a", large(3)),
            (Method::PATCH, "/collections/posts/a", json!({ "$inc": { "n": 1 } })),
            (Method::PATCH, "/collections/posts/batch", json!({ "updates": { "a": { "$inc": { "n": 1 } } } })),
            (Method::POST, "/transactions", json!({ "operations": [
                { "op": "update", "collection": "posts", "id": "a", "data": { "$inc": { "n": 1 } } },
                { "op": "create", "collection": "new", "data": large(9) },
            ] })),
        ];
        for (key, (method, path, body)) in cases.into_iter().enumerate() {
            let key = key.to_string();
            let first = app.send(keyed(app, &key, method.clone(), path, &body)).await;
            assert!(first.status.is_success(), "{path}: {}", first.status);
            // A later state of the document must not show in the repeated answer.
            app.patch("/collections/posts/a", json!({ "$inc": { "n": 100 } })).await;
            let again = app.send(keyed(app, &key, method, path, &body)).await;
            assert!(essence(&again) == essence(&first), "{path}");
        }
        let stored = app.sql().await.integers("SELECT CAST(SUM(OCTET_LENGTH(outcome)) AS BIGINT) FROM idempotency").await;
        assert!(stored[0] < 5_000, "{stored:?}");
    }
}

/// The log has the data of a large write. Without its entry the repetition is answered in the minimal form.
async fn answer_without_the_log(database: Database) {
    let app = TestApp::start_with(database, |config| config.retention.changes = 1).await;
    let large = json!({ "text": "x".repeat(100_000) });
    let put = || app.send(keyed(&app, "k", Method::PUT, "/collections/posts/a", &large));
    let first = put().await;
    assert_eq!(first.status, 201);
    let begun = Instant::now();
    let again = loop {
        app.put("/collections/posts/b", json!({})).await;
        let again = put().await;
        if again.data()["data"].is_null() {
            break again;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the log is not pruned");
    };
    let (mut minimal, whole) = (essence(&first), essence(&again));
    minimal.3["data"].as_object_mut().unwrap().remove("data");
    assert_eq!(whole, minimal);
    assert_eq!(app.get("/collections/posts/a").await.data()["version"], 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_answered_without_data_that_the_log_no_longer_has_on_sqlite() {
    answer_without_the_log(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_answered_without_data_that_the_log_no_longer_has_on_postgres() {
    answer_without_the_log(Database::Postgres).await;
}

/// Stores results up to the bound, and checks that none is dropped for a new one.
async fn fill_results(database: Database) {
    let app = TestApp::start_with(database, |config| config.limits.idempotency_bytes = 10_000).await;
    let write = |api_key, key: String| {
        let request = app.request_as(api_key, Method::PUT, "/collections/posts/a");
        app.send(request.header("Idempotency-Key", key).json(&json!({ "text": "x".repeat(100) })))
    };
    let fill = async |api_key| {
        let mut answers = Vec::new();
        for n in 0..20 {
            let answer = write(api_key, n.to_string()).await;
            if answer.status == 503 {
                assert_eq!((answer.error(), answer.header("retry-after")), ((503, "OVERLOADED"), "1"));
                break;
            }
            answers.push(answer);
        }
        answers
    };
    let published = fill(PUBLISHABLE_KEY).await;
    assert!((5..15).contains(&published.len()), "{}", published.len());
    let version = app.get("/collections/posts/a").await.data()["version"].clone();
    assert_eq!(version, published.len(), "a refused write changes nothing");
    // One key takes half of the bytes at most, so there is room for the other.
    let secret = fill(SECRET_KEY).await;
    assert!((5..15).contains(&secret.len()), "{}", secret.len());
    for (n, first) in published.iter().enumerate() {
        assert_eq!(essence(&write(PUBLISHABLE_KEY, n.to_string()).await), essence(first), "{n}");
    }
    assert_eq!(app.put("/collections/posts/a", json!({})).await.status, 200, "without a key");

    // Results that are too old make room: one that is replaced, and the others at the next sweep.
    let day = 24 * 3600 * 1000 + 1000;
    app.sql().await.execute(&format!("UPDATE idempotency SET created_at = created_at - {day}")).await;
    assert_eq!(write(SECRET_KEY, "0".to_owned()).await.status, 200);
    let app = app.restart().await;
    let begun = Instant::now();
    while app.sql().await.integers("SELECT COUNT(*) FROM idempotency").await[0] > 1 {
        assert!(begun.elapsed() < Duration::from_secs(30), "old results are left");
    }
    let sizes = "SELECT CAST(SUM(bytes) AS BIGINT) FROM idempotency_sizes UNION ALL SELECT CAST(SUM(200 + OCTET_LENGTH(key) \
                 + OCTET_LENGTH(request) + OCTET_LENGTH(outcome)) AS BIGINT) FROM idempotency";
    let sizes = app.sql().await.integers(sizes).await;
    assert_eq!(sizes[0], sizes[1], "the running total is wrong");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_idempotency_keys_are_bounded_and_never_dropped_early_on_sqlite() {
    fill_results(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_idempotency_keys_are_bounded_and_never_dropped_early_on_postgres() {
    fill_results(Database::Postgres).await;
}
