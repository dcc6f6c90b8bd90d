//! Removed collections, whose documents several nodes delete at the same time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{TestApp, on_both_databases};

/// How long the deletion of 30,000 documents may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Writes `count` documents of a collection past the server, which would take longer.
pub async fn fill(app: &TestApp, collection: &str, count: usize) {
    let row = format!("'{collection}', 'd' || n, 100, 1, 1, 1");
    let documents = match app.config.database_url.starts_with("postgres") {
        true => format!("SELECT {row}, '{{\"n\":1}}' FROM generate_series(1, {count}) AS n"),
        false => format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) \
             SELECT {row}, jsonb('{{\"n\":1}}') FROM n"
        ),
    };
    let columns = "(collection_id, id, size, created_at, updated_at, version, data)";
    app.sql().await.execute(&format!("INSERT INTO documents {columns} {documents}")).await;
}

async fn count(app: &TestApp, table: &str) -> i64 {
    app.sql().await.integers(&format!("SELECT COUNT(*) FROM {table}")).await[0]
}

/// Waits until no removed collection is left.
async fn swept(app: &TestApp) {
    let begun = Instant::now();
    while count(app, "collections WHERE removed_at IS NOT NULL").await > 0 {
        assert!(begun.elapsed() < LIMIT, "{} documents are left", count(app, "documents").await);
    }
}

on_both_databases! {
    async fn nodes_that_empty_one_removed_collection_together_leave_no_document(app: &TestApp) {
        app.put("/collections/posts/first", json!({})).await;
        let collection = app.sql().await.texts("SELECT id FROM collections WHERE name = 'posts'").await.remove(0);
        fill(app, &collection, 30_000).await;
        // A node looks for removed collections when it starts. The first one knows of this one.
        let (removed, second, third) =
            tokio::join!(app.delete("/collections/posts"), app.start_second_node(), app.start_second_node());
        assert_eq!(removed.status, 200);
        swept(app).await;
        assert_eq!(count(app, "documents").await, 0);
        second.stop().await;
        third.stop().await;
    }

    /// A node that dies in the middle leaves its part to the others.
    async fn a_collection_that_another_node_was_emptying_is_emptied_by_the_next(app: &TestApp) {
        app.put("/collections/posts/first", json!({})).await;
        let collection = app.sql().await.texts("SELECT id FROM collections WHERE name = 'posts'").await.remove(0);
        fill(app, &collection, 2000).await;
        let is_postgres = app.config.database_url.starts_with("postgres");
        let mut other = app.sql().await;
        if is_postgres {
            // The part that the other node has deleted, and not committed.
            let delete = "DELETE FROM documents WHERE id IN (SELECT id FROM documents ORDER BY id LIMIT 1000)";
            other.execute(&format!("BEGIN; {delete}")).await;
        }
        assert_eq!(app.delete("/collections/posts").await.status, 200);
        if is_postgres {
            let begun = Instant::now();
            while count(app, "documents").await > 1001 {
                assert!(begun.elapsed() < LIMIT, "{} documents are left", count(app, "documents").await);
            }
            // The server has tried between two of these writes, and found nothing that it may delete.
            for _ in 0..100 {
                assert!(app.put("/collections/others/a", json!({})).await.status.is_success());
            }
            other.execute("ROLLBACK").await;
        }
        swept(app).await;
        assert_eq!(count(app, "documents WHERE id <> 'a'").await, 0);
    }
}
