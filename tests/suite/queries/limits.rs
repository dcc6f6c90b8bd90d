//! A query that takes too long is cancelled, in the database as well, and its error names the index that would help.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Answer, Database, TestApp, path_with};

async fn start(database: Database) -> TestApp {
    TestApp::start_with(database, |config| config.query_limit = Duration::from_secs(1)).await
}

fn check(answer: &Answer) {
    assert_eq!(answer.error(), (400, "QUERY_TOO_COSTLY"));
    assert_eq!(answer.body["error"]["details"]["index"]["fields"], json!(["status", "-createdAt"]));
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("index") && message.contains("status"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended_on_sqlite() {
    let app = start(Database::Sqlite).await;
    for n in 0..60 {
        let items: Vec<_> = (0..10_000).collect();
        app.create("posts", json!({ "status": "x", "n": n, "items": items })).await;
    }
    // The filter looks 48 times at the ten thousand elements of each document.
    let terms: Vec<_> =
        (0..48).map(|n| json!({ "items__array_contains": format!("no such element {n}") })).collect();
    let filter = json!({ "status": "x", "$or": terms }).to_string();
    let path = path_with("/collections/posts", &[("filters", &filter)]);
    // These are more queries than there are connections. If they went on, no connection would be left.
    for _ in 0..5 {
        check(&app.get(&path).await);
    }
    assert_eq!(app.get("/collections/posts?limit=1").await.status, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended_on_postgres() {
    let app = start(Database::Postgres).await;
    let created: Value = app.create("posts", json!({ "status": "x" })).await;
    assert_eq!(created["version"], 1);
    let mut sql = app.sql().await;
    sql.execute("BEGIN; LOCK TABLE documents IN ACCESS EXCLUSIVE MODE").await;
    check(&app.get("/collections/posts?status=x").await);
    sql.execute("ROLLBACK").await;
    assert_eq!(app.get("/collections/posts?status=x").await.status, 200);
    app.stop().await;
}
