//! Connections and rooms that keys share: one key leaves some to the others, and a full server says so.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    harness::{
        PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestSocket, on_both_databases, process::Process,
        socket::PATIENCE,
    },
    users::sign_up,
};

/// Opens a WebSocket with a key, and waits until it has taken effect.
async fn open(app: &TestApp, key: &str) -> Result<TestSocket, TestSocket> {
    let mut socket = app.anonymous_socket().await;
    socket.authenticate(key).await;
    socket.send(json!({ "type": "ping" })).await;
    match socket.try_next().await {
        Some(answer) if answer["type"] == "pong" => Ok(socket),
        _ => Err(socket),
    }
}

/// Comes to a room by the door of the client libraries. Returns the socket and the first answer.
async fn create_room(app: &TestApp, key: &str, room: &str) -> (TestSocket, Value) {
    let mut socket =
        TestSocket::connect(&format!("{}/realtime/rooms/{room}", app.url.replace("http", "ws"))).await;
    socket.send(json!({ "api_key": key, "action": "create" })).await;
    let answer = socket.next().await;
    (socket, answer)
}

on_both_databases! {
    async fn a_key_leaves_streams_to_the_others(app: &TestApp, |config| config.limits.connections = 8) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut of_key = Vec::new();
        for _ in 0..6 {
            of_key.push(open(app, PUBLISHABLE_KEY).await.ok().expect("a key may have three quarters"));
        }
        let mut refused = app.anonymous_socket().await;
        refused.authenticate(PUBLISHABLE_KEY).await;
        assert_eq!(refused.next_close().await.code, CloseCode::Again);
        let sse = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, "/realtime/sse/posts")).await;
        assert_eq!((sse.error(), sse.header("Retry-After")), ((503, "OVERLOADED"), "1"));
        let web_socket = app.url.replace("http", "ws");
        let mut library = TestSocket::connect(&format!("{web_socket}/realtime/collections/posts")).await;
        library.send(json!({ "api_key": PUBLISHABLE_KEY })).await;
        assert_eq!(library.next_close().await.code, CloseCode::Again);

        let mut other = open(app, SECRET_KEY).await.ok().expect("the rest is for other keys");
        other.settle().await;
        of_key.pop();
        // The server notices the end of a connection a moment later.
        while open(app, PUBLISHABLE_KEY).await.is_err() {}
    }

    /// Each has the token alone, or the same key beside it.
    async fn a_user_leaves_streams_to_those_who_have_the_same_key(app: &TestApp, |config| config.limits.connections = 8) {
        let ada = sign_up(app, "ada@example.com").await.access;
        let bob = sign_up(app, "bob@example.com").await.access;
        let mut of_ada = Vec::new();
        while let Ok(socket) = open(app, &ada).await {
            of_ada.push(socket);
        }
        assert_eq!(of_ada.len(), 4);
        let with_key = app.request_as(&ada, Method::GET, "/realtime/sse/posts").header("x-api-key", PUBLISHABLE_KEY);
        assert_eq!(app.send(with_key).await.error(), (503, "OVERLOADED"));
        let of_bob = open(app, &bob).await.ok().expect("a user leaves something to the others");
        let of_key = open(app, PUBLISHABLE_KEY).await.ok().expect("and to who has the key alone");
        let other = open(app, SECRET_KEY).await.ok().expect("the rest is for other keys");
        drop((of_ada, of_bob, of_key, other));
    }

    async fn a_key_leaves_rooms_to_the_others(app: &TestApp) {
        let mut rooms = Vec::new();
        for number in 0..750 {
            let (socket, answer) = create_room(app, PUBLISHABLE_KEY, &format!("room{number}")).await;
            assert!(answer["error"].is_null(), "{number}: {answer}");
            rooms.push(socket);
        }
        let (mut refused, error) = create_room(app, PUBLISHABLE_KEY, "one-more").await;
        assert!(error["error"].as_str().unwrap().contains("too many rooms"), "{error}");
        assert_eq!(refused.next_close().await.code, CloseCode::Policy);
        let (_other, answer) = create_room(app, SECRET_KEY, "one-more").await;
        assert!(answer["error"].is_null(), "{answer}");
    }
}

/// Sends the head of a write, and a part of its body.
async fn begin_write(process: &Process, key: &str) -> TcpStream {
    let mut tcp = TcpStream::connect(process.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /collections/posts HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 16\r\n\r\n{{\"title\":"
    );
    // The server may have closed it already, to make room.
    let _ = tcp.write_all(head.as_bytes()).await;
    tcp
}

/// Writes with a key until the answer begins with this. One whose connection was closed for another one comes back.
async fn write_until(process: &Process, key: &str, expected: &str) {
    let begun = std::time::Instant::now();
    loop {
        let answer = finish_write(begin_write(process, key).await).await;
        if answer.starts_with(expected) {
            let is_full = answer.contains("this key has too many connections");
            assert_eq!(expected.ends_with("503"), is_full, "{answer}");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
    }
}

/// Sends the rest, and returns the answer's status line and body.
async fn finish_write(mut tcp: TcpStream) -> String {
    let _ = tcp.write_all(b"\"post\"}").await;
    let mut answer = vec![0; 1024];
    let length = timeout(PATIENCE, tcp.read(&mut answer)).await.expect("no answer").unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_requests_do_not_end_leaves_connections_to_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let start = move || Process::start_limited(&url, "-n 256");
    let process = tokio::task::spawn_blocking(start).await.unwrap();
    // There are some hundred connections, and nobody waits for the end of these requests.
    let mut busy = Vec::new();
    for _ in 0..200 {
        busy.push(begin_write(&process, PUBLISHABLE_KEY).await);
    }
    // Another key comes in all the same; the full one is told what is wrong.
    write_until(&process, SECRET_KEY, "HTTP/1.1 201").await;
    write_until(&process, PUBLISHABLE_KEY, "HTTP/1.1 503").await;

    // The first ones are being served. When they end, there is room again.
    let mut served = 0;
    for tcp in busy {
        served += usize::from(finish_write(tcp).await.starts_with("HTTP/1.1 201"));
    }
    assert!((50..150).contains(&served), "{served}");
    write_until(&process, PUBLISHABLE_KEY, "HTTP/1.1 201").await;
}
