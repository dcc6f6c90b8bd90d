//! A primary that stops taking writes, and a standby that takes its place. No server is restarted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coir::store::DatabaseUrl;
use serde_json::{Value, json};

use crate::harness::{Sql, TestApp, app::config, postgres::Cluster};

/// How long a server may take to find the database again, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

async fn start() -> Arc<Cluster> {
    Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap())
}

async fn set_read_only(url: &str, value: &str) {
    let mut sql = Sql::connect(url).await;
    // One by one, because ALTER SYSTEM refuses to run in a transaction.
    sql.execute("SET default_transaction_read_only = off").await;
    sql.execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {value}")).await;
    sql.execute("SELECT pg_reload_conf()").await;
}

/// Writes until it succeeds, and returns the document. Every other answer must be 503.
async fn write(app: &TestApp, data: Value) -> Value {
    let begun = Instant::now();
    loop {
        let answer = app.post("/collections/posts", data.clone()).await;
        if answer.status == 201 {
            return answer.data().clone();
        }
        assert_eq!(answer.error(), (503, "OVERLOADED"));
        assert!(begun.elapsed() < LIMIT, "the server does not find the database that takes writes");
    }
}

async fn write_until_refused(app: &TestApp) {
    let begun = Instant::now();
    while app.post("/collections/posts", json!({ "n": "refused" })).await.status == 201 {
        assert!(begun.elapsed() < LIMIT, "the database still takes writes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_for_a_while_takes_writes_again_without_a_restart() {
    let cluster = start().await;
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let first = app.create("posts", json!({ "n": 0 })).await;
    set_read_only(&cluster.url(), "on").await;
    write_until_refused(&app).await;
    set_read_only(&cluster.url(), "off").await;
    write(&app, json!({ "n": 1 })).await;
    let path = format!("/collections/posts/{}", first["id"].as_str().unwrap());
    assert_eq!(app.get(&path).await.data(), &first);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_moves_to_the_host_that_takes_writes() {
    let old = start().await;
    let copied = old.clone();
    let new = tokio::task::spawn_blocking(move || copied.start_standby()).await.unwrap();
    let address = |cluster: &Cluster| cluster.url().split(['@', '/']).nth(3).unwrap().to_owned();
    // The standby comes first, and is passed over.
    let url = format!(
        "postgres://postgres@{},{}/postgres?target_session_attrs=read-write",
        address(&new),
        address(&old)
    );
    let mut app = TestApp::start_on(config(&url), None).await;
    let first = app.create("posts", json!({ "n": 0 })).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;

    // The old primary is fenced, the standby has everything, and takes over.
    set_read_only(&old.url(), "on").await;
    let end = Sql::connect(&old.url()).await.texts("SELECT pg_current_wal_lsn()::text").await.remove(0);
    let mut standby = Sql::connect(&new.url()).await;
    let begun = Instant::now();
    let caught_up = format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::text");
    while standby.texts(&caught_up).await != ["true"] {
        assert!(begun.elapsed() < LIMIT, "the standby lags");
    }
    standby.execute("SELECT pg_promote()").await;

    let second = write(&app, json!({ "n": 1 })).await;
    let mut ids = standby.texts("SELECT id FROM documents ORDER BY created_at, id").await;
    assert_eq!(ids.pop().unwrap(), second["id"], "the new primary has the write");
    for document in [&first, &second] {
        let path = format!("/collections/posts/{}", document["id"].as_str().unwrap());
        assert_eq!(app.get(&path).await.data(), document);
    }
    assert_eq!(stream.next_event().await.json()["document"]["id"], second["id"]);
    drop(stream);
    app.config.database_url = DatabaseUrl::parse(&new.url()).unwrap();
    app.stop().await;
}
