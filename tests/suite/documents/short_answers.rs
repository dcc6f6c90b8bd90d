//! Answers to writes without the documents: because the client prefers it, or because too many answers wait for slow readers.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{Database, PUBLISHABLE_KEY, TestApp, on_both_databases, sequence_of};

const MIB: usize = 1024 * 1024;

/// Sends a request on a connection of its own, and reads no more than the head of the answer. Returns the head, in lower case.
async fn send_and_stall(app: &TestApp, request: &str) -> (String, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let mut tcp = socket.connect(app.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap().to_lowercase(), tcp)
}

fn length_of(head: &str) -> usize {
    let (_, rest) = head.split_once("content-length: ").unwrap();
    rest.split("\r\n").next().unwrap().parse().unwrap()
}

/// Drops the times of documents, which are different each time.
fn without_times(data: &Value) -> Value {
    let mut data = data.clone();
    let documents = match &mut data {
        Value::Array(documents) => documents.iter_mut().collect(),
        document => vec![document],
    };
    for members in documents.into_iter().filter_map(Value::as_object_mut) {
        members.remove("createdAt");
        members.remove("updatedAt");
    }
    data
}

on_both_databases! {
    async fn a_client_may_prefer_answers_without_the_documents(app: &TestApp) {
        let mut sequence = 0;
        for (method, path, body, status, expected) in [
            (Method::POST, "/collections/posts", json!({ "n": 1 }), 201, None),
            (Method::PUT, "/collections/posts/a", json!({ "n": 1 }), 201, Some(json!({ "id": "a", "collection": "posts", "version": 1 }))),
            (Method::PATCH, "/collections/posts/a", json!({ "n": 2 }), 200, Some(json!({ "id": "a", "collection": "posts", "version": 2 }))),
            (Method::POST, "/collections/posts/batch", json!({ "documents": [{}, {}] }), 201, None),
            (Method::PATCH, "/collections/posts/batch", json!({ "updates": { "a": {} } }), 200, Some(json!([{ "id": "a", "collection": "posts", "version": 3 }]))),
            (
                Method::POST,
                "/transactions",
                json!({ "operations": [
                    { "op": "replace", "collection": "posts", "id": "b", "data": {} },
                    { "op": "delete", "collection": "posts", "id": "b" },
                ] }),
                200,
                Some(json!([{ "id": "b", "collection": "posts", "version": 1 }, { "id": "b", "collection": "posts" }])),
            ),
            (Method::POST, "/collections/posts/batch-delete", json!({ "ids": ["a", "b"] }), 200, Some(json!({ "deleted": ["a"], "count": 1 }))),
        ] {
            let request = app.request(method, path).header("Prefer", "return=minimal").json(&body);
            let answer = app.send(request).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            assert_eq!(answer.header("Preference-Applied"), "return=minimal", "{path}");
            match expected {
                Some(expected) => assert_eq!(without_times(answer.data()), expected, "{path}"),
                None => assert!(!answer.data().to_string().contains(r#""data""#), "{path}: {answer:?}"),
            }
            let cursor = sequence_of(answer.header("X-Cursor"));
            assert!(cursor > sequence, "{path}");
            sequence = cursor;
        }
        let tagged = app.request(Method::PUT, "/collections/posts/c").header("Prefer", "return=minimal").json(&json!({}));
        let tag = app.send(tagged).await.header("ETag").to_owned();
        let request = app.request(Method::DELETE, "/collections/posts/c").header("Prefer", "return=minimal").header("If-Match", tag);
        let answer = app.send(request).await;
        assert_eq!((answer.header("Preference-Applied"), answer.data()), ("return=minimal", &json!({ "id": "c" })));

        let request = app.request(Method::POST, "/collections").header("Prefer", "return=minimal").json(&json!({ "name": "made" }));
        let answer = app.send(request).await;
        assert_eq!((answer.status.as_u16(), &answer.data()["name"], answer.data().get("schema")), (201, &json!("made"), None));
        let whole = app.put("/collections/posts/d", json!({})).await;
        assert!(!whole.headers.contains_key("Preference-Applied") && whole.data().get("data").is_some());
    }
}

/// Answers of 600 KB, of which a few find room.
async fn answers_that_find_no_room_are_short(database: Database) {
    let app = TestApp::start_with(database, |config| config.limits.answer_bytes = 4 * MIB).await;
    let padding = "x".repeat(100_000);
    for n in 0..6 {
        app.put(&format!("/collections/posts/{n}"), json!({ "padding": padding })).await;
    }
    let updates: Value =
        (0..6).map(|n| (n.to_string(), json!({ "n": 1 }))).collect::<serde_json::Map<_, _>>().into();
    let body = json!({ "updates": updates }).to_string();
    let request = format!(
        "PATCH /collections/posts/batch HTTP/1.1\r\nhost: x\r\nx-api-key: {PUBLISHABLE_KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stalled = join_all((0..20).map(|_| send_and_stall(&app, &request))).await;
    let is_short = |head: &str| head.contains("preference-applied: return=minimal");
    let (mut bytes, mut short) = (0, 0);
    for (head, _) in &stalled {
        assert!(head.starts_with("http/1.1 200") && head.contains("x-cursor: "), "{head}");
        bytes += length_of(head);
        if is_short(head) {
            short += 1;
            assert!(length_of(head) < 1500, "{head}");
        }
    }
    assert!((10..20).contains(&short), "{short} answers were short");
    assert!(bytes < 4 * MIB, "{bytes} bytes wait for slow readers");
    assert_eq!(app.get("/collections/posts/0").await.data()["version"], 21, "every write has happened");
    // One key leaves room to the others.
    let answer = app.send(app.request(Method::PATCH, "/collections/posts/batch").body(body)).await;
    assert_eq!(answer.data()[0]["data"]["padding"], json!(padding), "another key is answered in full");
    drop(stalled);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_writes_are_short_when_too_many_wait_for_slow_readers() {
    answers_that_find_no_room_are_short(Database::Sqlite).await;
    answers_that_find_no_room_are_short(Database::Postgres).await;
}
