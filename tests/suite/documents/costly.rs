//! Writes that cost the server much: they are bounded, they are logged, and they hold up cheap ones only briefly.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{PUBLISHABLE_KEY, SECRET_KEY, on_both_databases, process::Process};

/// A document with a list of `count` numbers, which takes long to patch.
fn large(count: u32) -> Value {
    json!({ "list": (0..count).collect::<Vec<_>>() })
}

on_both_databases! {
    async fn cheap_writes_do_not_wait_for_all_dear_ones(app: &TestApp) {
        app.put("/collections/large/a", large(40_000)).await;
        let patch = || app.send(app.request_as(PUBLISHABLE_KEY, Method::PATCH, "/collections/large/a").json(&json!({ "$remove": { "list": -1 } })));
        assert_eq!(patch().await.status, 200);

        let (has_ended, patched) = (AtomicBool::new(false), AtomicUsize::new(0));
        let dear = (0..24).map(|_| async {
            while !has_ended.load(Ordering::Relaxed) {
                assert_eq!(patch().await.status, 200);
                patched.fetch_add(1, Ordering::Relaxed);
            }
        });
        let cheap = async {
            // Once all of them are under way, each cheap write would wait for all of them if the first to arrive were the first.
            while patched.load(Ordering::Relaxed) < 5 {
                tokio::task::yield_now().await;
            }
            let before = patched.load(Ordering::Relaxed);
            for n in 0..10 {
                assert!(app.put("/collections/small/a", json!({ "n": n })).await.status.is_success());
            }
            has_ended.store(true, Ordering::Relaxed);
            patched.load(Ordering::Relaxed) - before
        };
        let (_, between) = tokio::join!(join_all(dear), cheap);
        assert!(between < 80, "{between} dear writes came between 10 cheap ones");
    }

    async fn a_transaction_that_rewrites_a_large_document_over_and_over_is_refused(app: &TestApp) {
        app.put("/collections/large/a", large(100_000)).await;
        let update = json!({ "op": "update", "collection": "large", "id": "a", "data": { "$inc": { "n": 1 } } });
        let mut operations = vec![update; 999];
        let begun = Instant::now();
        let refused = app.post("/transactions", json!({ "operations": operations })).await;
        assert_eq!(refused.error(), (413, "PAYLOAD_TOO_LARGE"));
        // Those that fail cost as much, so a batch takes few of them too.
        operations.truncate(4);
        operations.push(json!({ "op": "delete", "collection": "large", "id": "none" }));
        let body = json!({ "operations": operations });
        let failing = join_all((0..30).map(|_| app.post("/transactions", body.clone())));
        let (failed, other) = tokio::join!(failing, app.put("/collections/small/a", json!({})));
        assert!(failed.iter().all(|answer| answer.status == 404) && other.status == 201);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(app.get("/collections/large/a").await.data()["version"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_long_is_logged_with_its_cause_and_without_data() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let log = directory.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let server = tokio::task::spawn_blocking(move || Process::start_logged(&url, file)).await.unwrap();
    let http = reqwest::Client::new();
    let send = async |method, path: &str, body: &Value| {
        let request = http.request(method, format!("{}{path}", server.url)).bearer_auth(SECRET_KEY);
        assert!(request.json(body).send().await.unwrap().status().is_success());
    };
    send(Method::PUT, "/collections/large/a", &large(100_000)).await;
    let update = json!({ "op": "update", "collection": "large", "id": "a", "data": { "$append": { "secret": "4711" } } });
    let begun = Instant::now();
    let line = loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is logged");
        send(Method::POST, "/transactions", &json!({ "operations": [update, update, update] })).await;
        let log = std::fs::read_to_string(&log).unwrap();
        if let Some(line) = log.lines().find(|line| line.contains("kept the writer busy")) {
            break line.to_owned();
        }
    };
    for part in ["WARN", "`merge` in the collection `large`: 3 of them"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("4711") && !line.contains("secret"), "{line}");
}
