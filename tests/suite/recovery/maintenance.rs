//! The work between batches: it is done in small portions, so that writes go on meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Database, TestApp, on_both_databases};

/// The longest that one write may take while the server tidies up. What is done in one piece holds writes up for minutes in a
/// debug build.
const LONGEST: Duration = Duration::from_secs(5);

/// Writes until `count` returns zero, and checks that no write waits long.
async fn write_until_none_is_left(app: &TestApp, count: &str) {
    let mut sql = app.sql().await;
    let begun = Instant::now();
    while sql.integers(count).await[0] > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?} are left", sql.integers(count).await);
        for _ in 0..10 {
            let asked = Instant::now();
            assert!(app.put("/collections/others/a", json!({})).await.status.is_success());
            assert!(asked.elapsed() < LONGEST, "a write took {:?}", asked.elapsed());
        }
    }
}

on_both_databases! {
    async fn old_results_of_idempotency_keys_are_deleted_while_writes_go_on(app: &TestApp) {
        // More than one statement deletes in ten seconds on PostgreSQL.
        let rows = match app.config.database_url.starts_with("postgres") {
            true => "SELECT 'p', 'c', n::text, 'r', repeat('x', 500), n FROM generate_series(1, 200000) AS n",
            false => "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200000) \
                      SELECT 'p', 'c', CAST(n AS TEXT), 'r', printf('%.*c', 500, 'x'), n FROM n",
        };
        let insert = format!("INSERT INTO idempotency (project_id, caller, key, request, outcome, created_at) {rows}");
        // First of all: a server that is just looking for old results may find these at once.
        app.sql().await.execute("INSERT INTO idempotency_sizes VALUES ('p', 'c', 1000000000)").await;
        app.sql().await.execute(&insert).await;
        // A server looks for old results when it starts.
        let node = app.start_second_node().await;
        write_until_none_is_left(&node, "SELECT COUNT(*) FROM (SELECT 1 FROM idempotency LIMIT 1) AS one").await;
        let bytes = node.sql().await.integers("SELECT bytes FROM idempotency_sizes WHERE caller = 'c'").await;
        assert!(bytes[0] < 1_000_000_000 - 200_000 * 700, "{bytes:?}");
        node.stop().await;
    }

    async fn large_documents_of_a_removed_collection_are_deleted_while_writes_go_on(app: &TestApp) {
        let documents: Vec<_> = (0..20).map(|_| json!({ "text": "x".repeat(300_000) })).collect();
        for _ in 0..5 {
            let batch = json!({ "documents": documents });
            assert_eq!(app.post("/collections/posts/batch", batch).await.status, 201);
        }
        assert_eq!(app.delete("/collections/posts").await.status, 200);
        write_until_none_is_left(app, "SELECT COUNT(*) FROM documents WHERE size > 300000").await;
        // The collection itself goes last.
        let begun = Instant::now();
        while app.sql().await.integers("SELECT COUNT(*) FROM collections WHERE removed_at IS NOT NULL").await[0] > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the collection is left");
        }
    }
}

/// The queue of the writer is never empty, and still old entries of the log are deleted.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_never_pause_do_not_keep_the_log_from_being_pruned() {
    let app = TestApp::start_with(Database::Sqlite, |config| config.retention.changes = 100).await;
    let (app, begun) = (&app, Instant::now());
    let floor = async || app.sql().await.integers("SELECT floor FROM heads").await[0];
    // Each transaction is a batch of its own, so that others wait all the time.
    let operations: Vec<_> =
        (0..600).map(|n| json!({ "op": "create", "collection": "posts", "data": { "n": n } })).collect();
    let body = json!({ "operations": operations });
    let writers = (0..16).map(|_| async {
        while floor().await < 2000 {
            assert!(begun.elapsed() < Duration::from_secs(120), "the log is not pruned");
            assert_eq!(app.post("/transactions", body.clone()).await.status, 200);
        }
    });
    futures_util::future::join_all(writers).await;
}
