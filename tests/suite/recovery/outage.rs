//! Outages of the database. The server answers that it is not ready, waits for the database, and then continues; no
//! acknowledged write and no event is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{TestApp, app::config, postgres::Cluster};

/// How long requests may take while the database is down.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server may take to notice that the database is down, or up again.
const NOTICE: Duration = Duration::from_secs(20);

async fn wait_for_ready(app: &TestApp, status: u16) {
    let begun = Instant::now();
    loop {
        let ready = app.send(app.http.get(format!("{}/health/ready", app.url))).await;
        if ready.status == status {
            return;
        }
        assert!(begun.elapsed() < NOTICE, "`/health/ready` must become {status}; it is {ready:?}");
    }
}

async fn control(cluster: &Arc<Cluster>, command: fn(&Cluster)) {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || command(&cluster)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_its_database_and_its_streams_go_on() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = TestApp::start_on(config(&cluster.url()), None).await;
    let first = app.create("posts", json!({ "n": 0 })).await;
    let path = format!("/collections/posts/{}", first["id"].as_str().unwrap());
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;
    let mut socket = app.socket().await;
    socket.subscribe("posts", json!({})).await;

    for round in 1..=2 {
        control(&cluster, Cluster::stop).await;
        wait_for_ready(&app, 503).await;
        assert_eq!(app.send(app.http.get(format!("{}/health/live", app.url))).await.status, 200);
        let begun = Instant::now();
        let answers = tokio::join!(
            app.post("/collections/posts", json!({ "n": "lost" })),
            app.patch(&path, json!({ "n": "lost" })),
            app.post("/collections", json!({ "name": "lost" })),
            app.get(&path),
            app.get("/collections/posts"),
        );
        for answer in [answers.0, answers.1, answers.2, answers.3, answers.4] {
            assert_eq!(answer.error(), (503, "OVERLOADED"));
            assert_eq!(answer.header("Retry-After"), "1");
        }
        assert!(begun.elapsed() < PATIENCE, "the answers took {:?}", begun.elapsed());
        // A browser's EventSource stops reconnecting on any status but 200, so a reconnect gets a stream that ends at once.
        let mut cut = app.stream("/realtime/sse/posts", stream.last_event_id.as_deref()).await;
        assert_eq!(cut.next_block().await.retry, Some(Duration::from_secs(1)));
        assert_eq!(cut.try_next_block().await, None);
        let anew = app.get("/realtime/sse/posts").await;
        assert_eq!(
            anew.error(),
            (503, "OVERLOADED"),
            "a request without Last-Event-ID gets a status, because its client can read it"
        );

        control(&cluster, Cluster::start_again).await;
        wait_for_ready(&app, 200).await;
        let written = app.create("posts", json!({ "n": round })).await;
        assert_eq!(app.get(&path).await.data(), &first);
        let (block, message) = (stream.next_event().await, socket.next().await);
        assert_eq!(block.json()["document"]["id"], written["id"]);
        assert_eq!(message, block.json());
        assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), round + 1);
        assert_eq!(app.get("/collections").await.data().as_array().unwrap().len(), 1);
    }
    drop((stream, socket));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_committed_while_the_database_broke_down_are_published() {
    let cluster = Arc::new(tokio::task::spawn_blocking(Cluster::start).await.unwrap());
    let app = Arc::new(TestApp::start_on(config(&cluster.url()), None).await);
    app.put("/collections/posts/first", json!({ "n": 0 })).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;

    // These writers continue until the database is down, so the outcome of some last writes is unknown.
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let app = app.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    let path = format!("/collections/posts/{writer}-{n}");
                    let answer = app.put(&path, json!({ "n": n })).await;
                    if answer.status != 201 {
                        assert_eq!(answer.error(), (503, "OVERLOADED"));
                        return n;
                    }
                }
                0
            })
        })
        .collect();
    let mut view = crate::harness::View::default();
    while view.len() < 200 {
        view.take(&stream.next_block().await);
    }
    control(&cluster, Cluster::stop).await;
    let mut acknowledged = 0;
    for writer in writers {
        acknowledged += writer.await.unwrap();
    }
    control(&cluster, Cluster::start_again).await;
    wait_for_ready(&app, 200).await;
    app.put("/collections/posts/last", json!({ "n": 0 })).await;
    while !view.contains("last") {
        view.take(&stream.next_block().await);
    }

    let mut listed = crate::harness::data_of(&crate::harness::list_all(&app.http, &app.url, "posts").await);
    listed.remove("first"); // written before the stream was opened
    assert_eq!(view.documents(), listed);
    assert_eq!(view.sequences, app.sql().await.document_sequences().await[1..]);
    assert!(
        listed.len() > acknowledged,
        "{acknowledged} writes were acknowledged, but only {} are stored",
        listed.len()
    );
    drop(stream);
    Arc::into_inner(app).unwrap().stop().await;
}
