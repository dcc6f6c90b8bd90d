//! `/health/live` says that the process runs, and `/health/ready` that it can do its work.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{TestApp, app::config, on_both_databases, postgres::Cluster};

on_both_databases! {
    async fn a_server_that_has_started_is_live_and_ready_without_a_key(app: &TestApp) {
        for (path, status) in [("/health/live", "live"), ("/health/ready", "ready")] {
            let answer = app.send(app.http.get(format!("{}{path}", app.url))).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({ "status": status })));
            assert_eq!(app.post(path, json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_a_server_is_live_but_not_ready_until_it_is_back() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let answer = app.get("/health/ready").await;
    assert_eq!(answer.error(), (503, "OVERLOADED"));
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(app.get("/health/live").await.status, 200);

    let cluster = tokio::task::spawn_blocking(move || {
        cluster.start_again();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let begun = Instant::now();
    while app.get("/health/ready").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server doesn't find its database again");
    }
    app.stop().await;
    tokio::task::spawn_blocking(move || drop(cluster)).await.unwrap();
}
