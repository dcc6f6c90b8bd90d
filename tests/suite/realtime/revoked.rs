//! Streams that begin on a node that has not heard of the end of their key.

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::nodes::revoke_newest_key;
use crate::harness::{Database, TestApp, process};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_after_the_end_of_its_key_shows_nothing_on_any_node() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    app.create("posts", json!({})).await;
    let mut sql = app.sql().await;
    for round in 0..10 {
        let mut command = process::command(&["keys", "create", "publishable"]);
        let made = command.env("DATABASE_URL", &app.config.database_url).output().unwrap();
        let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let mut socket = other.anonymous_socket().await;
        socket.authenticate(&key).await;
        socket.settle().await;
        revoke_newest_key(&mut sql).await;
        let cursor = app.get("/collections/posts").await.body["cursor"].as_str().unwrap().to_owned();
        app.create("posts", json!({ "late": true })).await;
        let new = format!("new-{round}");
        socket.send(json!({ "type": "subscribe", "collection": "posts" })).await;
        socket.send(json!({ "type": "subscribe", "collection": "posts", "id": "s", "since": cursor })).await;
        socket.send(json!({ "type": "subscribe", "collection": "posts", "id": "t", "snapshot": true })).await;
        socket.send(json!({ "type": "subscribe", "collection": new, "id": "w" })).await;
        let sse = |path: String| other.request_as(&key, Method::GET, &format!("/realtime/sse/{path}"));
        let requests = [
            sse("posts?snapshot=true".to_owned()),
            sse(format!("posts?since={cursor}")),
            sse(format!("{new}?since={cursor}")),
            sse("posts".to_owned()),
        ];
        let answers = tokio::spawn(join_all(requests.map(RequestBuilder::send)));
        app.create("posts", json!({ "late": true })).await;
        app.create(&new, json!({ "late": true })).await;
        for answer in answers.await.unwrap() {
            let text = answer.unwrap().text().await.unwrap();
            assert!(!text.contains("late"), "in round {round}: {text}");
        }
        while let Some(message) = socket.try_next().await {
            assert!(!message.to_string().contains("late"), "in round {round}: {message}");
        }
    }
    other.stop_without_looking().await;
    app.stop().await;
}
