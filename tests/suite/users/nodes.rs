//! Sessions that end on one node, and the streams on another.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{
    ask, sign_up, status_of,
    streams::{Streams, must_close, socket, sse, ticket},
};
use crate::harness::{Database, TestApp};

/// Two nodes on one database.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_on_one_node_ends_its_streams_on_the_other() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    app.create("posts", json!({})).await;
    for round in 0..5 {
        let ada = sign_up(&app, &format!("ada{round}@example.com")).await;
        let streams = Streams::open(&other, &ada).await;
        assert_eq!(ask(&app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        join_all((0..20).map(|n| app.create("posts", json!({ "late": n })))).await;
        streams.must_end().await;
    }
    other.stop_without_looking().await;
    app.stop().await;
}

/// The other node may not have heard of the end when a stream is opened there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_after_the_end_of_its_session_shows_nothing_on_any_node() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    app.create("posts", json!({})).await;
    for round in 0..10 {
        let ada = sign_up(&app, &format!("ada{round}@example.com")).await;
        let mut waiting = socket(&other, &ada.access).await;
        waiting.settle().await;
        assert_eq!(status_of(&other, &ada.access).await, 200);
        let ticket = ticket(&app, &ada.access).await;
        assert_eq!(ask(&app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        let cursor = app.get("/collections/posts").await.body["cursor"].as_str().unwrap().to_owned();
        app.create("posts", json!({ "late": true })).await;
        waiting.send(json!({ "type": "subscribe", "collection": "posts", "id": "s", "since": cursor })).await;
        waiting
            .send(json!({ "type": "subscribe", "collection": "posts", "id": "t", "snapshot": true }))
            .await;
        let requests = [
            sse(&other, &ada.access, "posts?snapshot=true"),
            sse(&other, &ada.access, &format!("posts?since={cursor}")),
            other.http.get(format!("{}/realtime/sse/posts?ticket={ticket}&since={cursor}", other.url)),
        ];
        for answer in join_all(requests.map(RequestBuilder::send)).await {
            let text = answer.unwrap().text().await.unwrap();
            assert!(!text.contains("late"), "in round {round}: {text}");
        }
        while let Some(message) = waiting.try_next().await {
            assert!(!message.to_string().contains("late"), "in round {round}: {message}");
        }
    }
    other.stop_without_looking().await;
    app.stop().await;
}

/// Each sign-out would cost every other node a read of all collections.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_leaves_the_collections_of_other_nodes_cached() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    let document = app.create("posts", json!({})).await;
    let path = format!("/collections/posts/{}", document["id"].as_str().unwrap());
    let ada = sign_up(&app, "ada@example.com").await;
    let mut socket = socket(&other, &ada.access).await;
    socket.subscribe("posts", json!({})).await;
    assert_eq!(other.get(&path).await.status, 200);
    assert_eq!(ask(&app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
    // By now the other node has heard of it.
    must_close(&mut socket, "the session has ended").await;
    let mut sql = app.sql().await;
    sql.execute("BEGIN; LOCK TABLE collections IN ACCESS EXCLUSIVE MODE").await;
    let read = tokio::time::timeout(Duration::from_secs(5), other.get(&path)).await;
    sql.execute("ROLLBACK").await;
    assert_eq!(read.expect("it reads the collections again").status, 200);
    // What is created afterwards is heard of all the same.
    let later = app.create("later", json!({})).await;
    let path = format!("/collections/later/{}", later["id"].as_str().unwrap());
    assert_eq!(other.get(&path).await.status, 200);
    other.stop_without_looking().await;
    app.stop().await;
}
