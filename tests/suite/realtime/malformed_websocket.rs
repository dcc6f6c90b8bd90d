//! WebSocket peers that break the protocol. The server closes each with the right code and ends its TCP connection soon
//! after; other clients are not affected.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{
    Database, RawSocket, SECRET_KEY, TestApp, event,
    raw::{frame, header},
};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

async fn authenticated(app: &TestApp) -> RawSocket {
    let mut socket = RawSocket::connect(app).await;
    let auth = json!({ "type": "auth", "token": SECRET_KEY }).to_string();
    socket.send(&frame(TEXT, auth.as_bytes())).await;
    socket
}

/// Checks that another client can still write and subscribe.
async fn serves_others(app: &TestApp) {
    let mut socket = app.socket().await;
    socket.subscribe("posts", json!({})).await;
    let document = app.create("posts", json!({})).await;
    assert_eq!(socket.next().await, event("posts", "created", &document));
}

async fn start() -> TestApp {
    let app = TestApp::start(Database::Sqlite).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_violation_closes_the_connection_with_its_close_code() {
    let app = start().await;
    let fragments = |count: usize| {
        let last = [frame(0x80, b"a")].concat();
        [frame(0x01, b"a"), frame(0x00, b"a").repeat(count - 2), last].concat()
    };
    let mut unmasked = frame(TEXT, b"");
    unmasked[1] = 2;
    let breaches = [
        ("a frame of 2^40 bytes", header(TEXT, 1 << 40), 1009),
        ("a frame of 2^64 - 1 bytes", header(TEXT, u64::MAX), 1009),
        ("a ping of 2^40 bytes", header(PING, 1 << 40), 1009),
        ("a message one byte too large", frame(TEXT, &[b' '; 64 * 1024 + 1]), 1009),
        (
            "fragments whose message is too large",
            [frame(0x01, &[b' '; 40_000]), frame(0x80, &[b' '; 40_000])].concat(),
            1009,
        ),
        ("65 fragments", fragments(65), 1009),
        ("text that is not UTF-8", frame(TEXT, b"\"\xff\""), 1007),
        (
            "fragments whose joined text is not UTF-8",
            [frame(0x01, b"\"\xc3"), frame(0x80, b"\"")].concat(),
            1007,
        ),
        ("no mask", unmasked, 1002),
        ("an unknown data opcode", frame(0x83, b"x"), 1002),
        ("an unknown control opcode", frame(0x8b, b"x"), 1002),
        ("the first reserved bit", frame(0xc1, b"x"), 1002),
        ("the second reserved bit", frame(0xa1, b"x"), 1002),
        ("the third reserved bit", frame(0x91, b"x"), 1002),
        ("a ping over 125 bytes", frame(PING, &[0; 126]), 1002),
        ("a fragmented ping", frame(0x09, b"x"), 1002),
        ("a continuation without a first fragment", frame(0x80, b"x"), 1002),
        ("a new message inside another", [frame(0x01, b"a"), frame(TEXT, b"b")].concat(), 1002),
    ];
    join_all(breaches.map(async |(why, bytes, code)| {
        let mut socket = authenticated(&app).await;
        socket.send(&bytes).await;
        assert_eq!(socket.next_close_code().await, code, "{why}");
        socket.closed().await;
    }))
    .await;
    serves_others(&app).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_and_the_most_fragments_are_understood() {
    let app = start().await;
    let mut socket = authenticated(&app).await;
    let mut large = json!({ "type": "ping" }).to_string();
    large.push_str(&" ".repeat(64 * 1024 - large.len()));
    let mut bytes = frame(TEXT, large.as_bytes());
    let pieces: Vec<_> = (0..64).map(|n| &large.as_bytes()[n..=n]).collect();
    assert_eq!(pieces.concat().len(), 64);
    for (n, piece) in pieces.iter().enumerate() {
        let first = if n == 0 { 0x01 } else { u8::from(n == 63) * 0x80 };
        bytes.extend(frame(first, piece));
        // The server answers a ping between fragments at once.
        bytes.extend(frame(PING, &[n as u8]));
    }
    socket.send(&bytes).await;
    let pong = br#"{"type":"pong"}"#;
    assert_eq!(socket.next_frame().await.unwrap(), (TEXT, pong.to_vec()));
    for n in 0..63 {
        assert_eq!(socket.next_frame().await.unwrap(), (0x8a, vec![n]));
    }
    assert_eq!(
        socket.next_frame().await.unwrap(),
        (TEXT, pong.to_vec()),
        "the answer to the fragmented message"
    );
    assert_eq!(socket.next_frame().await.unwrap(), (0x8a, vec![63]));
    drop(socket);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_before_auth_is_at_most_16_kib() {
    let app = start().await;
    let padded = |length: usize| {
        let mut text = json!({ "type": "ping" }).to_string();
        text.push_str(&" ".repeat(length - text.len()));
        frame(TEXT, text.as_bytes())
    };
    let mut socket = RawSocket::connect(&app).await;
    socket.send(&padded(16 * 1024)).await;
    assert_eq!(socket.next_frame().await.unwrap().0, TEXT);
    socket.send(&padded(16 * 1024 + 1)).await;
    assert_eq!(socket.next_close_code().await, 1009);
    socket.closed().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_keeps_sending_after_it_was_closed_is_cut_off() {
    let app = start().await;
    let mut socket = RawSocket::connect(&app).await;
    socket.send(&header(TEXT, 1 << 40)).await;
    assert_eq!(socket.next_close_code().await, 1009);
    let garbage = vec![b'x'; 64 * 1024];
    let cut_off = async {
        use tokio::io::AsyncWriteExt;
        while socket.tcp.write_all(&garbage).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cut_off).await.expect("the server must cut the connection");
    serves_others(&app).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_subscribe_messages_on_one_socket_make_one_subscription() {
    let app = start().await;
    let mut socket = authenticated(&app).await;
    let mut bytes = Vec::new();
    for n in 0..10_000 {
        let message = json!({ "type": "subscribe", "collection": "posts", "filters": { "n": n } });
        bytes.extend(frame(TEXT, message.to_string().as_bytes()));
    }
    bytes.extend(frame(TEXT, br#"{"type":"ping"}"#));
    socket.send(&bytes).await;
    assert_eq!(socket.next_frame().await.unwrap().1, br#"{"type":"pong"}"#);
    app.create("posts", json!({ "n": 9_998 })).await;
    let last = app.create("posts", json!({ "n": 9_999 })).await;
    let text = String::from_utf8(socket.next_frame().await.unwrap().1).unwrap();
    assert!(text.contains(last["id"].as_str().unwrap()), "{text}");
    serves_others(&app).await;
    drop(socket);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_whose_answers_are_not_read_are_all_answered_in_the_end() {
    let app = start().await;
    let socket = authenticated(&app).await;
    let (mut read, mut write) = socket.tcp.into_split();
    // The pings exceed the kernel's buffers, so the server stops reading until its pongs are read. A task sends them meanwhile.
    let pings = frame(PING, &[7; 125]).repeat(10_000);
    let sending = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        write.write_all(&pings).await.unwrap();
        write
    });
    serves_others(&app).await;
    let expected = [&[0x8a, 125][..], &[7; 125]].concat();
    let mut answer = vec![0; expected.len()];
    for n in 0..10_000 {
        use tokio::io::AsyncReadExt;
        let reading = read.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .unwrap_or_else(|_| panic!("only {n} pongs arrived"))
            .unwrap();
        assert_eq!(answer, expected, "pong {n}");
    }
    drop((read, sending.await.unwrap()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_to_the_socket_is_told_to_upgrade() {
    let app = start().await;
    let answer = app.get("/realtime").await;
    assert_eq!(answer.error(), (400, "INVALID_BODY"));
    assert!(answer.body["error"]["message"].as_str().unwrap().contains("WebSocket"), "{answer:?}");
    assert_eq!(app.post("/realtime", json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
    app.stop().await;
}
