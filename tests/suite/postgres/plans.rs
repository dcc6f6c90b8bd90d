//! How PostgreSQL runs the statements that a server runs all the time, in the server's own sessions. The module auto_explain
//! of PostgreSQL writes the plan of each statement into the log of the database.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::{TestApp, app::config, postgres::Cluster};

/// Documents of the test, so many that a plan over all of them is compiled.
const DOCUMENTS: usize = 200_000;

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_is_compiled_or_reads_all_documents_while_statistics_are_stale() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let first = app.create("posts", json!({ "n": -1 })).await;
    app.stop().await;
    // The database believes that its tables are as small as they were.
    let mut sql = crate::harness::Sql::connect(&cluster.url()).await;
    assert_eq!(
        sql.texts("SELECT pg_jit_available()::text").await,
        ["true"],
        "PostgreSQL can compile statements"
    );
    sql.execute(&format!(
        "ALTER TABLE documents SET (autovacuum_enabled = off); ALTER TABLE changes SET (autovacuum_enabled = off);
         ANALYZE documents; ANALYZE changes; ANALYZE heads;
         INSERT INTO documents SELECT collection_id, 'd' || n, size, created_at + n, updated_at, 1,
            jsonb_build_object('n', n, 'text', repeat('x', 100))
         FROM documents, generate_series(1, {DOCUMENTS}) AS n;
         INSERT INTO changes (project_id, sequence, at, size, collection_id, document_id, after)
         SELECT project_id, sequence + n, at, size, collection_id, 'd' || n, '{{\"n\":1}}'
         FROM changes, generate_series(1, {DOCUMENTS}) AS n WHERE document_id IS NOT NULL;
         UPDATE heads SET head = (SELECT MAX(sequence) FROM changes);
         ALTER DATABASE postgres SET session_preload_libraries = 'auto_explain';
         ALTER DATABASE postgres SET auto_explain.log_min_duration = 0;
         ALTER DATABASE postgres SET auto_explain.log_analyze = on;
         ALTER DATABASE postgres SET auto_explain.log_timing = off;
         ALTER DATABASE postgres SET auto_explain.log_format = 'json';
         ALTER DATABASE postgres SET jit_above_cost = 1000"
    ))
    .await;

    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let id = first["id"].as_str().unwrap();
    let mut stream = app.stream("/realtime/sse/posts?filters=%7B%22n%22%3A7%7D", None).await;
    stream.opened().await;
    let created = app.create("posts", json!({ "n": 7 })).await;
    assert_eq!(stream.next_event().await.json()["document"]["id"], created["id"]);
    let cursor = stream.last_event_id.clone();
    app.patch(&format!("/collections/posts/{id}"), json!({ "n": 7 })).await;
    assert_eq!(stream.next_event().await.json()["document"]["id"], *id);
    drop(stream);
    // This stream reads the log, because it begins before the changes that are in memory.
    let mut stream = app.stream("/realtime/sse/posts?filters=%7B%22n%22%3A7%7D", cursor.as_deref()).await;
    assert_eq!(stream.next_event().await.json()["document"]["id"], *id);
    drop(stream);
    app.get(&format!("/collections/posts/{id}")).await.data();
    assert_eq!(app.get("/collections/posts?limit=5").await.data().as_array().unwrap().len(), 5);
    app.delete(&format!("/collections/posts/{id}")).await;
    // The look at the database would be among the statements.
    app.stop_without_looking().await;

    let log = sql.texts("SELECT pg_read_file('../log')").await.remove(0);
    let plans: Vec<Value> = read_plans(&log);
    for (part, why) in [
        ("INTO changes", "the log is written"),
        ("FROM heads", "the log's ends are read"),
        ("FROM changes", "the log is read"),
        ("\"documents\"", "documents are listed"),
        ("FROM documents", "a document is read"),
    ] {
        let is_there = plans.iter().any(|plan| plan["Query Text"].as_str().unwrap().contains(part));
        assert!(is_there, "{why}: no plan of a statement with `{part}` among {}", plans.len());
    }
    for plan in &plans {
        assert!(plan.get("JIT").is_none(), "PostgreSQL compiled a statement: {plan:#}");
        assert!(
            !scans(plan, &["documents", "changes"]),
            "a statement reads a table from end to end: {plan:#}"
        );
    }
}

/// Finds the plans in a log: lines that follow a line with `plan:` and begin with a tabulator.
fn read_plans(log: &str) -> Vec<Value> {
    let plans = log.split("plan:\n").skip(1).map(|rest| {
        let text: Vec<_> = rest.lines().take_while(|line| line.starts_with('\t')).collect();
        serde_json::from_str(&text.join("\n")).unwrap_or_else(|err| panic!("{err}: {text:?}"))
    });
    plans.collect()
}

/// Whether a plan reads one of the tables without an index.
fn scans(plan: &Value, tables: &[&str]) -> bool {
    let is_scan =
        plan["Node Type"] == "Seq Scan" && tables.iter().any(|table| plan["Relation Name"] == *table);
    let parts = plan.get("Plan").into_iter().chain(plan["Plans"].as_array().into_iter().flatten());
    is_scan || parts.into_iter().any(|part| scans(part, tables))
}
