//! Connections to PostgreSQL that stay open and over which nothing comes any more: a cut cable, or a firewall that has
//! forgotten them. No work that the server does beside the writes waits for them for ever.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Database, SilentProxy, Sql, TestApp, app::config, fresh_database, indexes};

/// How long a write may take beside work that hangs: the work's own deadline of 5 s, and a new connection.
const LONGEST_WRITE: Duration = Duration::from_secs(12);
/// How long the server may take to notice that the session is lost that builds an index.
const NOTICE: Duration = Duration::from_secs(60);

async fn start() -> (SilentProxy, TestApp, Sql) {
    let (direct, _) = fresh_database(Database::Postgres).await;
    let (proxy, url) = SilentProxy::before(&direct).await;
    let app = TestApp::start_on(config(&url), None).await;
    (proxy, app, Sql::connect(&direct).await)
}

/// Waits until another session waits for a lock.
async fn wait_for_a_waiter(database: &mut Sql) {
    let begun = Instant::now();
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while database.integers(waiting).await[0] == 0 {
        assert!(begun.elapsed() < NOTICE, "nothing waits for the lock");
        // A transaction sees the same activity all the time otherwise.
        database.execute("SELECT pg_stat_clear_snapshot()").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_silent_while_removed_documents_are_deleted_does_not_hold_writes() {
    let (proxy, app, mut database) = start().await;
    app.create("posts", json!({ "n": 1 })).await;
    app.create("others", json!({ "n": 1 })).await;
    // The documents can't be deleted until the connection is silent.
    database.execute("BEGIN; LOCK TABLE documents IN SHARE MODE").await;
    assert_eq!(app.delete("/collections/posts").await.status, 200);
    wait_for_a_waiter(&mut database).await;
    proxy.forget_connections();
    database.execute("ROLLBACK").await;

    let begun = Instant::now();
    let answer = app.put("/collections/others/a", json!({ "n": 2 })).await;
    assert!(begun.elapsed() < LONGEST_WRITE, "the write took {:?}", begun.elapsed());
    assert_eq!(answer.status, 201, "{answer:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_after_the_session_that_builds_it_went_silent() {
    let (proxy, app, mut database) = start().await;
    app.create("posts", json!({ "n": 1 })).await;
    // The index waits for this transaction to end.
    database.execute("BEGIN; LOCK TABLE documents IN ROW EXCLUSIVE MODE").await;
    let declared = json!({ "indexes": [{ "fields": ["n"] }] });
    let declared = app.patch("/collections/posts/settings", declared).await;
    assert_eq!(declared.status, 200, "{declared:?}");
    wait_for_a_waiter(&mut database).await;
    proxy.forget_connections();
    database.execute("ROLLBACK").await;

    let indexes = indexes::settled(&app, "posts").await;
    assert_eq!(indexes[0]["state"], "ready", "{indexes:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_never_comes_is_published_all_the_same() {
    let (proxy, app, mut database) = start().await;
    app.create("posts", json!({ "n": 1 })).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;
    // The commit waits for this lock.
    database
        .execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON documents DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait(); \
             SELECT pg_advisory_lock(1)",
        )
        .await;
    let (answer, ()) = tokio::join!(app.put("/collections/posts/a", json!({})), async {
        wait_for_a_waiter(&mut database).await;
        proxy.silence_answers();
        database.execute("SELECT pg_advisory_unlock(1)").await;
        let begun = Instant::now();
        while database.integers("SELECT COUNT(*) FROM documents WHERE id = 'a'").await[0] == 0 {
            assert!(begun.elapsed() < NOTICE, "nothing is committed");
        }
        proxy.cut();
        proxy.resume();
    });
    assert_eq!(answer.error(), (503, "OVERLOADED"), "nobody knows whether it was committed");
    assert_eq!(stream.next_event().await.json()["document"]["id"], "a");
    drop(stream);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_is_silent_is_not_ready_and_goes_on_when_it_answers_again() {
    let (proxy, app, _) = start().await;
    app.create("posts", json!({ "n": 1 })).await;
    proxy.silence();
    let begun = Instant::now();
    assert_eq!(app.get("/health/ready").await.error(), (503, "OVERLOADED"));
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    let (answer, ()) = tokio::join!(app.put("/collections/posts/a", json!({})), async { proxy.resume() });
    assert_eq!(answer.status, 201);
    let begun = Instant::now();
    while app.get("/health/ready").await.status != 200 {
        assert!(begun.elapsed() < NOTICE, "the server doesn't find its database again");
    }
    app.stop().await;
}
