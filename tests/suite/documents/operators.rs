//! `$inc`, `$append`, `$remove` and `$unset` change the current document atomically: no other write comes between.

use std::time::{Duration, Instant};

use futures_util::future;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, SECRET_KEY, TestApp, on_both_databases};

const CLIENTS: usize = 64;

async fn read(app: &TestApp, path: &str) -> Value {
    app.get(path).await.data()["data"].clone()
}

on_both_databases! {
    async fn a_field_may_have_any_name(app: &TestApp) {
        // The parser that Coir uses gives a meaning to this name elsewhere, and so does the one of these tests.
        let name = "$serde_json::private::RawValue";
        let ask = async |method: Method, path: &str, body: String| {
            let request = app.http.request(method, format!("{}/collections/posts/a{path}", app.url));
            let request = request.bearer_auth(SECRET_KEY).header("content-type", "application/json").body(body);
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let nested = format!(r#"{{"{name}":"[1,","b":1}}"#);
        let (status, _) = ask(Method::PUT, "", format!(r#"{{"a":{nested},"keep":"me","n":2}}"#)).await;
        assert_eq!(status, 201);
        let (status, _) = ask(Method::PATCH, "", r#"{"$inc":{"n":1}}"#.to_owned()).await;
        assert_eq!(status, 200);
        let (_, read) = ask(Method::GET, "", String::new()).await;
        assert!(read.contains(&format!(r#""data":{{"a":{nested},"keep":"me","n":3}}"#)), "{read}");
        let (_, read) = ask(Method::GET, "?select=n", String::new()).await;
        assert!(read.contains(r#""data":{"n":3}"#), "{read}");
        // Texts in texts would have no limit of depth.
        let mut bomb = "1".to_owned();
        for _ in 0..12 {
            let opened = format!("{}{bomb}{}", "[".repeat(100), "]".repeat(100));
            bomb = format!(r#"{{"{name}":{}}}"#, Value::from(opened));
        }
        let (status, _) = ask(Method::PUT, "", format!(r#"{{"a":{bomb}}}"#)).await;
        assert_eq!(status, 200);
        let (status, _) = ask(Method::PATCH, "", r#"{"n":1}"#.to_owned()).await;
        assert_eq!(status, 200);
    }

    async fn operators_work_on_the_current_document(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "n": 9007199254740993i64, "tags": ["x", "y", "x"], "o": { "p": 1, "q": 2 }, "gone": 1 })).await;
        let patched = app.patch("/collections/posts/a", json!({
            "title": "new",
            "$inc": { "n": 2, "views": 1, "o.p": 1.5 },
            "$append": { "tags": ["z", "x"], "list": "one" },
            "$remove": { "tags": "x", "nothing": "x" },
            "$unset": ["gone", "o.q", "never.there"],
        })).await;
        assert_eq!(patched.status, 200, "{patched:?}");
        let expected = json!({ "title": "new", "n": 9007199254740995i64, "views": 1, "tags": ["y", "z"], "list": ["one"], "o": { "p": 2.5 } });
        assert_eq!(patched.data()["data"], expected);
        assert_eq!(patched.data()["version"], 2);
        assert_eq!(read(app, "/collections/posts/a").await, expected);
    }

    async fn an_event_shows_the_document_after_its_operators(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "n": 1 })).await;
        let mut stream = app.stream("/realtime/sse/posts?filters=%7B%22n%22%3A2%7D", None).await;
        stream.opened().await;
        app.patch("/collections/posts/a", json!({ "$inc": { "n": 1 } })).await;
        let event = stream.next_event().await.json();
        assert_eq!((&event["event"], &event["document"]["data"]), (&json!("created"), &json!({ "n": 2 })));
    }

    async fn concurrent_operators_lose_no_update(app: &TestApp) {
        app.put("/collections/posts/a", json!({})).await;
        let answers: Vec<Answer> = future::join_all((0..CLIENTS).map(|n| async move {
            for _ in 0..3 {
                let answer = app.patch("/collections/posts/a", json!({ "$inc": { "n": 1, "c.d": -1 } })).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            app.patch("/collections/posts/a", json!({ "$append": { "clients": n } })).await
        })).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        let mut data = read(app, "/collections/posts/a").await;
        assert_eq!((&data["n"], &data["c"]["d"]), (&json!(3 * CLIENTS), &json!(-3 * CLIENTS as i64)));
        let clients = data["clients"].as_array_mut().unwrap();
        clients.sort_by_key(Value::as_u64);
        assert_eq!(*clients, (0..CLIENTS).map(|n| json!(n)).collect::<Vec<_>>());
        assert_eq!(app.get("/collections/posts/a").await.data()["version"], 4 * CLIENTS + 1);
    }

    async fn an_operator_that_does_not_fit_fails_its_own_request_only(app: &TestApp) {
        let data = json!({ "text": "x", "most": i64::MAX, "list": [1] });
        app.put("/collections/posts/a", data.clone()).await;
        app.put("/collections/posts/b", json!({ "n": 0 })).await;
        for (status, code, patch, part) in [
            (409, "CONFLICT", json!({ "$inc": { "text": 1 } }), "`text` is a string"),
            (409, "CONFLICT", json!({ "$inc": { "most": 1 } }), "64-bit"),
            (409, "CONFLICT", json!({ "$inc": { "list.7": 1 } }), "past the end"),
            (409, "CONFLICT", json!({ "$append": { "text": 1 } }), "not a list"),
            (409, "CONFLICT", json!({ "$remove": { "text": 1 }, "other": 1 }), "not a list"),
            (400, "INVALID_BODY", json!({ "$inc": { "n": "1" } }), "takes numbers"),
            (400, "INVALID_BODY", json!({ "$inc": 1 }), "takes an object"),
            (400, "INVALID_BODY", json!({ "$inc": { "": 1, "a..b": 1 } }), "not a valid field"),
            (400, "INVALID_BODY", json!({ "$unset": [1] }), "list of field names"),
            (400, "INVALID_BODY", json!({ "$set": { "a": 1 } }), "unknown operator `$set`"),
        ] {
            let (refused, good) = future::join(
                app.patch("/collections/posts/a", patch.clone()),
                app.patch("/collections/posts/b", json!({ "$inc": { "n": 1 } })),
            ).await;
            assert_eq!(refused.error(), (status, code), "{patch}");
            assert!(refused.body["error"]["message"].as_str().unwrap().contains(part), "{patch}: {refused:?}");
            assert_eq!(good.status, 200);
        }
        let unchanged = app.get("/collections/posts/a").await;
        assert_eq!((&unchanged.data()["data"], &unchanged.data()["version"]), (&data, &json!(1)));
        assert_eq!(read(app, "/collections/posts/b").await, json!({ "n": 10 }));
    }

    async fn an_operator_is_bounded_like_any_write(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "list": ["x".repeat(700_000)] })).await;
        let answer = app.patch("/collections/posts/a", json!({ "$append": { "list": "y".repeat(700_000) } })).await;
        assert_eq!(answer.error(), (413, "PAYLOAD_TOO_LARGE"));
        // A name with `$` is an operator, which only a merge takes.
        let answer = app.put("/collections/posts/b", json!({ "$inc": { "n": 1 } })).await;
        assert_eq!(answer.error(), (400, "INVALID_BODY"));
    }

    async fn removing_many_values_from_a_long_list_holds_up_no_other_write(app: &TestApp) {
        let odd: Vec<_> = (0..100_000).map(|n| 2 * n + 1).collect();
        let mut list = odd.clone();
        list.push(0);
        app.put("/collections/posts/a", json!({ "list": list })).await;
        let begun = Instant::now();
        // The same list under many spellings of its path: each must not walk the list again.
        let spellings: serde_json::Map<_, _> = (0..500).map(|n| (format!("nested.{}0", "0".repeat(n)), json!(n))).collect();
        app.put("/collections/posts/b", json!({ "nested": [odd] })).await;
        let (removed, spelt, other) = tokio::join!(
            app.patch("/collections/posts/a", json!({ "$remove": { "list": odd } })),
            app.patch("/collections/posts/b", json!({ "$remove": spellings })),
            app.put("/collections/posts/c", json!({})),
        );
        assert_eq!((removed.status.as_u16(), other.status.as_u16()), (200, 201));
        assert_eq!(removed.data()["data"], json!({ "list": [0] }));
        assert_eq!(spelt.data()["data"]["nested"][0].as_array().unwrap().len(), 100_000 - 250);
        // Linear work takes a second at most in a debug build, and quadratic work minutes.
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
}
