//! One client's expensive queries keep neither others' queries nor events and snapshots waiting, and a busy server says what
//! it is busy with.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Database, PUBLISHABLE_KEY, TestApp, on_both_databases};

/// How long a cheap request may take beside the expensive ones. It tells a turn from a queue, and no more.
const PATIENCE: Duration = Duration::from_secs(60);
/// A filter that makes the database look at every document.
const EXPENSIVE: &str = "/collections/things/query/count?text__contains=nowhere";

async fn fill(app: &TestApp) {
    app.post("/collections", json!({ "name": "things", "indexes": [{ "fields": ["n"] }] })).await;
    for first in (0..6000).step_by(1000) {
        let documents: Vec<_> =
            (first..first + 1000).map(|n| json!({ "n": n, "text": "lorem ipsum ".repeat(40) })).collect();
        let answer = app.post("/collections/things/batch", json!({ "documents": documents })).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body["error"]);
    }
}

on_both_databases! {
    async fn a_client_with_many_full_scans_keeps_no_other_client_waiting(app: &TestApp) {
        fill(app).await;
        app.put("/collections/small/one", json!({ "n": 1 })).await;
        let node = app.start_second_node().await;
        let mut events = node.stream("/realtime/sse/small", None).await;
        events.opened().await;
        let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let hostile = join_all((0..24).map(async |_| {
            while !is_over.load(Ordering::Relaxed) {
                let answer = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, EXPENSIVE)).await;
                if answer.status != 200 {
                    assert_eq!(answer.error(), (503, "OVERLOADED"));
                    let message = answer.body["error"]["message"].as_str().unwrap();
                    assert!(message.contains("expensive queries") && answer.header("Retry-After") == "1", "{message}");
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let honest = async {
            for n in 0..20 {
                let list = app.get(&format!("/collections/things?n={n}&limit=1")).await;
                assert_eq!((list.status.as_u16(), list.data().as_array().unwrap().len()), (200, 1));
                assert_eq!(app.get("/health/ready").await.status, 200);
                app.put("/collections/small/one", json!({ "n": n })).await;
                assert_eq!(events.next_event().await.json()["document"]["data"]["n"], n, "on the other node");
                let mut snapshot = app.stream("/realtime/sse/small?snapshot=true", None).await;
                while snapshot.next_block().await.event.as_deref() != Some("ready") {}
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let both = futures_util::future::join(hostile, honest);
        tokio::time::timeout(PATIENCE, both).await.expect("the honest client waits for the other one");
        assert!(done.load(Ordering::Relaxed) > 0);
        drop(events);
        node.stop().await;
    }
}

/// More requests than may wait for their turn are told what the server is busy with.
async fn too_many_expensive_queries_are_refused(database: Database) {
    let app = TestApp::start(database).await;
    fill(&app).await;
    let answers = join_all((0..160).map(|_| app.get(EXPENSIVE))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len());
    for answer in refused {
        assert_eq!((answer.error(), answer.header("Retry-After")), ((503, "OVERLOADED"), "1"));
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("too many expensive queries"), "{message}");
    }
    assert_eq!(app.get(EXPENSIVE).await.status, 200, "those who were refused left nothing behind");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_says_that_too_many_expensive_queries_wait() {
    too_many_expensive_queries_are_refused(Database::Sqlite).await;
    too_many_expensive_queries_are_refused(Database::Postgres).await;
}
