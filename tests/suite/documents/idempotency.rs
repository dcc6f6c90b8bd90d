//! `Idempotency-Key`: a repeated request gets the first answer and writes nothing.

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

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
}
