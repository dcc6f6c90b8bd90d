//! TCP connections: their deadlines, strangers who hold as many as they can, and how the server closes them.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::{
    Database, PUBLISHABLE_KEY, RawSocket, SECRET_KEY, TestApp, TestSocket,
    process::{self, Process},
    raw::frame,
};

/// Bounded means seconds. Unbounded is what a test would wait for in vain.
const BOUNDED: Duration = Duration::from_secs(40);

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// Reads until the server closes, and returns what came. A connection that was reset is closed, too.
async fn read_to_end(tcp: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // The bytes that came before a reset are in the buffer.
    let _ = timeout(BOUNDED, tcp.read_to_end(&mut all)).await.expect("the server does not close");
    String::from_utf8(all).unwrap()
}

/// Sends a request on a connection that stays open, and reads the answer.
async fn ask(tcp: &mut TcpStream, path: &str, key: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    read_answer(tcp).await
}

async fn read_answer(tcp: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(BOUNDED, tcp.read_u8()).await.expect("no answer").unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    tcp.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Sends one byte again and again until the server closes, and returns what it said.
async fn trickle(mut tcp: TcpStream, byte: u8) -> String {
    let (mut all, begun) = (Vec::new(), Instant::now());
    loop {
        assert!(begun.elapsed() < BOUNDED, "the server does not close");
        if tcp.write_all(&[byte]).await.is_err() {
            break;
        }
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(200), tcp.read_buf(&mut all)).await {
            break;
        }
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_head_has_a_deadline() {
    let app = TestApp::start(Database::Sqlite).await;
    let whole = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let part = "GET /health/live HTTP/1.1\r\nhost: x\r\na: ";
    let mut cases = tokio::task::JoinSet::new();
    for (why, before, part, trickles) in [
        ("silence", 0, "", false),
        ("a first head that stops", 0, part, false),
        ("a first head that trickles", 0, part, true),
        ("a second head that stops", 1, part, false),
        ("a second head that trickles", 1, part, true),
        ("a third head that trickles", 2, part, true),
    ] {
        let mut tcp = connect(&app.url).await;
        cases.spawn(async move {
            for _ in 0..before {
                tcp.write_all(whole.as_bytes()).await.unwrap();
                let answer = read_answer(&mut tcp).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{why}: {answer}");
            }
            tcp.write_all(part.as_bytes()).await.unwrap();
            let answer = if trickles { trickle(tcp, b'x').await } else { read_to_end(&mut tcp).await };
            assert!(answer.starts_with("HTTP/1.1 408"), "{why}: {answer:?}");
            for part in ["access-control-allow-origin: *", "connection: close", "\"code\":\"INVALID_BODY\""] {
                // A peer that still writes may lose the rest of what it could read.
                assert!(trickles || answer.contains(part), "{why}: {answer:?}");
            }
        });
    }
    cases.join_all().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_trickles_behind_another_in_one_piece_has_a_deadline() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut tcp = connect(&app.url).await;
    let one_and_a_half = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET /health/live HTTP/1.1\r\na: ";
    tcp.write_all(one_and_a_half.as_bytes()).await.unwrap();
    let answers = trickle(tcp, b'x').await;
    assert!(answers.starts_with("HTTP/1.1 200") && answers.contains("HTTP/1.1 408"), "{answers}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_does_not_keep_a_connection_open() {
    let app = TestApp::start(Database::Sqlite).await;
    for (why, length) in [
        ("of a known length", "content-length: 100000"),
        ("in chunks without an end", "transfer-encoding: chunked"),
    ] {
        let mut tcp = connect(&app.url).await;
        let head = format!("POST /collections/posts HTTP/1.1\r\nhost: x\r\n{length}\r\n\r\n1\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        let answer = read_answer(&mut tcp).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{why}: {answer}");
        // The rest of the body goes on for ever.
        trickle(tcp, b'0').await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_byte_by_byte_does_not_keep_a_connection_open() {
    let app = TestApp::start(Database::Sqlite).await;
    app.put("/collections/posts/a", json!({ "text": "x".repeat(600_000) })).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut tcp = socket.connect(app.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let request = format!("GET /collections/posts/a HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET_KEY}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    // The beginning of the answer, and then ten bytes a second: hours for the whole of it.
    tcp.read_exact(&mut [0; 6000]).await.unwrap();
    let (mut ticks, begun) = (tokio::time::interval(Duration::from_millis(100)), Instant::now());
    // Bytes that have arrived can still be read after a reset, so the client also writes.
    while tcp.read_u8().await.is_ok() && tcp.write_all(b"x").await.is_ok() {
        ticks.tick().await;
        assert!(begun.elapsed() < 2 * BOUNDED, "the server does not close");
    }
    app.stop().await;
}

/// Connects until the server closes `victim`, and returns what it said to it.
async fn crowd(url: &str, victim: &mut TcpStream) -> (String, Vec<TcpStream>) {
    let (mut all, mut crowd, begun) = (Vec::new(), Vec::new(), Instant::now());
    loop {
        assert!(begun.elapsed() < BOUNDED, "the server does not close");
        crowd.push(connect(url).await);
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(100), victim.read_buf(&mut all)).await {
            return (String::from_utf8(all).unwrap(), crowd);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_number_of_strangers_the_oldest_goes_and_clients_with_a_key_stay() {
    let change = |config: &mut coir::config::Config| config.limits.unauthenticated = Some(4);
    let app = TestApp::start_with(Database::Sqlite, change).await;
    app.create("posts", json!({})).await;
    // They have a good key, over each door that takes one, and are older than all others.
    let mut rest = connect(&app.url).await;
    assert!(ask(&mut rest, "/collections/posts", PUBLISHABLE_KEY).await.starts_with("HTTP/1.1 200"));
    let mut socket = app.socket().await;
    socket.subscribe("posts", json!({})).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;
    let mut library =
        TestSocket::connect(&format!("{}/realtime/collections/posts", app.url.replace("http", "ws"))).await;
    library.send(json!({ "api_key": PUBLISHABLE_KEY })).await;
    assert_eq!(library.next().await["event"], "connected");

    for (why, path, key) in [
        ("it said nothing", None, ""),
        ("it read the page", Some("/"), ""),
        ("its key is wrong", Some("/collections/posts"), "pk_00000000000000000000"),
    ] {
        let mut victim = connect(&app.url).await;
        if let Some(path) = path {
            ask(&mut victim, path, key).await;
        }
        let (said, _crowd) = crowd(&app.url, &mut victim).await;
        // A deadline would have said 408.
        assert_eq!(said, "", "{why}");
    }

    assert!(ask(&mut rest, "/collections/posts", PUBLISHABLE_KEY).await.starts_with("HTTP/1.1 200"));
    let document = app.create("posts", json!({ "n": 1 })).await;
    assert_eq!(socket.next().await["document"]["id"], document["id"]);
    assert_eq!(library.next().await["event"], "create");
    assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"]);
    drop((socket, stream, library));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_do_not_authenticate_take_no_place_of_a_stream() {
    let app = TestApp::start_with(Database::Sqlite, |config| config.limits.connections = 4).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let web_socket = app.url.replace("http", "ws");
    let mut silent = Vec::new();
    for path in ["/realtime", "/realtime/collections/posts", "/realtime/rooms/a", "/realtime/broadcast"] {
        for _ in 0..5 {
            silent.push(TestSocket::connect(&format!("{web_socket}{path}")).await);
        }
    }
    let mut known = app.socket().await;
    known.subscribe("posts", json!({})).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;
    let mut library = TestSocket::connect(&format!("{web_socket}/realtime/collections/posts")).await;
    library.send(json!({ "api_key": PUBLISHABLE_KEY })).await;
    assert_eq!(library.next().await["event"], "connected");

    // Now one place is left, for a key that has none.
    silent[0].authenticate(SECRET_KEY).await;
    assert_eq!(silent[0].next_close().await.code, CloseCode::Again);
    silent[5].send(json!({ "api_key": PUBLISHABLE_KEY })).await;
    assert_eq!(silent[5].next_close().await.code, CloseCode::Again);
    let refused = app.get("/realtime/sse/posts").await;
    assert_eq!(refused.error(), (503, "OVERLOADED"));
    known.settle().await;

    // Who leaves makes room.
    drop(library);
    let begun = Instant::now();
    loop {
        let mut next = app.anonymous_socket().await;
        next.authenticate(SECRET_KEY).await;
        next.send(json!({ "type": "ping" })).await;
        if next.try_next().await.is_some() {
            break;
        }
        assert!(begun.elapsed() < BOUNDED, "there is no room");
    }
    drop((known, stream, silent));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_below_the_minimum_rate_is_refused() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut tcp = connect(&app.url).await;
    let head = format!(
        "POST /collections/posts HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET_KEY}\r\ncontent-length: 100000\r\n\r\n{{\"a\":\""
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    // Some bytes a second are not silence, but too few.
    let answer = trickle(tcp, b'x').await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("INVALID_BODY"), "{answer}");
    assert!(answer.contains("2 KiB/s"), "{answer}");
    app.stop().await;
}

/// Starts the built binary under a limit, as the shell's `ulimit` takes it.
async fn start_limited(limit: &'static str, directory: &tempfile::TempDir) -> Process {
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    tokio::task::spawn_blocking(move || Process::start_limited(&url, limit)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_raises_the_soft_limit_of_descriptors_to_the_hard_one() {
    let directory = tempfile::tempdir().unwrap();
    let process = start_limited("-S -n 64", &directory).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 64 && numbers[0] == numbers[1].min(1 << 24), "{line}");

    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut tcp = connect(&process.url).await;
        assert!(ask(&mut tcp, "/collections", SECRET_KEY).await.starts_with("HTTP/1.1 200"));
        clients.push(tcp);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_strangers_do_not_make_the_server_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = start_limited("-n 256", &directory).await;
    let mut known = connect(&process.url).await;
    assert!(ask(&mut known, "/collections", SECRET_KEY).await.starts_with("HTTP/1.1 200"));
    let mut idle = Vec::new();
    for n in 0..600 {
        let mut tcp = connect(&process.url).await;
        // Some say nothing, and some ask for the page before they say nothing.
        if n % 3 == 0 {
            // The server may have closed it already, to make room.
            let _ = tcp.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        }
        idle.push(tcp);
        if n % 100 == 99 {
            let mut newcomer = connect(&process.url).await;
            let answer = ask(&mut newcomer, "/collections", PUBLISHABLE_KEY).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "after {n}: {answer}");
        }
    }
    let mut socket = TestSocket::connect(&format!("{}/realtime", process.url.replace("http", "ws"))).await;
    socket.authenticate(SECRET_KEY).await;
    socket.settle().await;
    assert!(ask(&mut known, "/collections", SECRET_KEY).await.starts_with("HTTP/1.1 200"));
    assert!(tokio::task::spawn_blocking(move || process.terminate()).await.unwrap());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_a_key_cannot_take_all_connections_by_being_idle() {
    let directory = tempfile::tempdir().unwrap();
    let process = start_limited("-n 256", &directory).await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    // More than there are descriptors. Whoever is refused meanwhile comes back.
    while idle.len() < 260 {
        assert!(begun.elapsed() < BOUNDED, "only {} got in", idle.len());
        let mut tcp = connect(&process.url).await;
        let request =
            format!("GET /collections/none/a HTTP/1.1\r\nhost: x\r\nx-api-key: {PUBLISHABLE_KEY}\r\n\r\n");
        let mut answer = [0; 12];
        if tcp.write_all(request.as_bytes()).await.is_ok()
            && timeout(BOUNDED, tcp.read_exact(&mut answer)).await.expect("no answer").is_ok()
            && answer.ends_with(b"404")
        {
            idle.push(tcp);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_both_close_frames_the_server_closes_at_once() {
    let app = TestApp::start(Database::Sqlite).await;
    let auth = json!({ "type": "auth", "token": SECRET_KEY }).to_string();
    // Twenty closes in turn: if the server waited for the client to close, they would take 40 s.
    let begun = Instant::now();
    for _ in 0..10 {
        let mut by_client = RawSocket::connect(&app).await;
        by_client.send(&frame(0x81, auth.as_bytes())).await;
        by_client.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
        assert_eq!(by_client.next_close_code().await, 1000);
        by_client.closed().await;

        let mut by_server = RawSocket::connect(&app).await;
        for _ in 0..5 {
            by_server.send(&frame(0x81, br#"{"type":"auth","token":"pk_00000000000000000000"}"#)).await;
        }
        assert_eq!(by_server.next_close_code().await, 1008);
        by_server.send(&frame(0x88, &1008_u16.to_be_bytes())).await;
        by_server.closed().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_a_close_frame_is_closed_all_the_same() {
    let app = TestApp::start(Database::Sqlite).await;
    let mut socket = RawSocket::connect(&app).await;
    for _ in 0..5 {
        socket.send(&frame(0x81, br#"{"type":"auth","token":"pk_00000000000000000000"}"#)).await;
    }
    assert_eq!(socket.next_close_code().await, 1008);
    // It goes on talking, and says everything but goodbye.
    let begun = Instant::now();
    loop {
        socket.send(&frame(0x81, br#"{"type":"ping"}"#)).await;
        match timeout(Duration::from_millis(100), socket.tcp.read_u8()).await {
            Ok(Err(_)) => break,
            Ok(Ok(_)) | Err(_) => assert!(begun.elapsed() < BOUNDED, "the server does not close"),
        }
    }
    app.stop().await;
}

/// Runs a `coir` command on the server's database, and returns the first word that it printed.
async fn run_beside(app: &TestApp, arguments: &[&str]) -> String {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_server_ends_ends_its_connection() {
    let app = TestApp::start(Database::Sqlite).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let key = run_beside(&app, &["keys", "create", "publishable"]).await;
    let mut tcp = connect(&app.url).await;
    let request = format!("GET /realtime/sse/posts HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let head = read_answer(&mut tcp).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    run_beside(&app, &["keys", "revoke", &key]).await;
    let rest = read_to_end(&mut tcp).await;
    assert!(rest.contains("UNAUTHORIZED") && rest.ends_with("0\r\n\r\n"), "{rest}");
    app.stop().await;
}
