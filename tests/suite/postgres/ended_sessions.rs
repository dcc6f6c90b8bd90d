//! Sessions that end while they are used, and requests of clients while the database is away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Database, PUBLISHABLE_KEY, TestApp, app::config, postgres::Cluster};

/// How long the writer may take to get to where the test waits for it.
const LIMIT: Duration = Duration::from_secs(20);

/// A batch that did not send its commit certainly did not happen, so it is written again.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_session_ends_before_the_commit_is_written_once() {
    let app = Arc::new(TestApp::start(Database::Postgres).await);
    app.create("posts", json!({ "n": 0 })).await;
    for lock in ["SELECT head FROM heads FOR UPDATE", "LOCK TABLE changes IN SHARE MODE"] {
        let mut sql = app.sql().await;
        sql.execute(&format!("BEGIN; {lock}")).await;
        let writes: Vec<_> = (0..5)
            .map(|n| {
                let app = app.clone();
                tokio::spawn(async move { app.post("/collections/posts", json!({ "lock": n })).await })
            })
            .collect();
        let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'coir' AND wait_event_type = 'Lock'";
        let mut observer = app.sql().await;
        let begun = Instant::now();
        while observer.texts(end).await != ["true"] {
            assert!(begun.elapsed() < LIMIT, "the writer does not wait for the lock: {lock}");
        }
        sql.execute("ROLLBACK").await;
        for write in writes {
            let answer = write.await.unwrap();
            assert_eq!(answer.status, 201, "{lock}: {answer:?}");
        }
    }
    let all = app.get("/collections/posts?limit=100").await;
    assert_eq!(all.data().as_array().unwrap().len(), 11, "every write happened once");
    Arc::into_inner(app).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_the_database_is_away_is_told_to_come_back_and_not_that_the_key_is_bad() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    app.create("posts", json!({ "n": 0 })).await;
    let (mut socket, stopped) = (app.anonymous_socket().await, cluster.clone());
    tokio::task::spawn_blocking(move || stopped.stop()).await.unwrap();

    // No request has shown this key yet, so it has to be looked up.
    socket.send(json!({ "type": "auth", "token": PUBLISHABLE_KEY })).await;
    socket.send(json!({ "type": "subscribe", "collection": "posts" })).await;
    assert_eq!(socket.next_error().await.0, "OVERLOADED");
    assert_eq!(u16::from(socket.next_close().await.code), 1013, "come back later");

    let url = format!("{}/realtime?token={PUBLISHABLE_KEY}", app.url.replace("http", "ws"));
    let mut socket = crate::harness::TestSocket::connect(&url).await;
    assert_eq!(socket.next_error().await.0, "OVERLOADED");
    assert_eq!(u16::from(socket.next_close().await.code), 1013, "come back later");

    for path in ["/collections/posts", "/realtime/sse/posts"] {
        let answer = app.send(app.request_as(PUBLISHABLE_KEY, reqwest::Method::GET, path)).await;
        assert_eq!(answer.error(), (503, "OVERLOADED"), "{path}");
    }

    let started = cluster.clone();
    tokio::task::spawn_blocking(move || started.start_again()).await.unwrap();
    let begun = Instant::now();
    loop {
        let mut socket = app.anonymous_socket().await;
        socket.send(json!({ "type": "auth", "token": PUBLISHABLE_KEY })).await;
        socket.send(json!({ "type": "ping" })).await;
        if socket.next().await == json!({ "type": "pong" }) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "the key is not known again");
    }
    app.stop().await;
}
