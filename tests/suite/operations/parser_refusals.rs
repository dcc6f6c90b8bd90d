//! Requests that the HTTP parser refuses behind others on one connection. Each request before them is answered.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::malformed::{assert_refused, send_raw};
use crate::harness::{SECRET_KEY, on_both_databases, process::Process};

const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the answers in the bytes of a connection: status, head and body.
fn answers(mut bytes: &str) -> Vec<(u16, &str, &str)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = bytes.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let (body, next) = rest.split_at(length.parse().unwrap());
        all.push((head.split(' ').nth(1).unwrap().parse().unwrap(), head, body));
        bytes = next;
    }
    assert_eq!(bytes, "");
    all
}

on_both_databases! {
    async fn garbage_behind_a_write_costs_it_neither_its_answer_nor_the_garbage_its_refusal(app: &TestApp) {
        let put = |id: usize| {
            format!(
                "PUT /collections/posts/{id} HTTP/1.1\r\nhost: x\r\norigin: https://a.example\r\nx-api-key: {SECRET_KEY}\r\n\
                 content-length: 7\r\n\r\n{{\"n\":1}}"
            )
        };
        let get = format!("GET /collections/posts HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET_KEY}\r\n\r\n");
        let long = format!("GET /collections HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(200_000));
        for (n, (why, before, garbage, expected)) in [
            ("garbage", 1, "garbage\r\n\r\n", 400),
            ("another protocol", 1, "\u{16}\u{3}\u{1}\r\n\r\n", 400),
            ("several requests before it", 3, "GET /x y z HTTP/1.1\r\n\r\n", 400),
            ("a head that is too long", 1, &long, 431),
        ].into_iter().enumerate() {
            for read_before in [false, true] {
                let mut bytes = if read_before { get.clone() } else { String::new() };
                (0..before).for_each(|k| bytes += &put(100 * n + 10 * k + usize::from(read_before)));
                let count = before + usize::from(read_before);
                let answer = send_raw(app, [(bytes + garbage).into_bytes()]).await;
                let all = answers(&answer);
                assert_eq!(all.len(), count + 1, "{why}: {answer}");
                assert!(all[..count].iter().all(|(status, ..)| (200..300).contains(status)), "{why}: {answer}");
                let (status, head, body) = all[count];
                assert_eq!(status, expected, "{why}: {answer}");
                assert!(head.contains("connection: close") && head.contains("access-control-allow-origin: *"), "{why}: {head}");
                let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{why}: {answer}"));
                assert!(body["error"]["message"].is_string(), "{why}: {answer}");
            }
        }
        assert_eq!(app.get("/collections/posts/query/count").await.data()["count"], 12);
    }

    async fn a_refusal_on_a_connection_that_was_kept_alive_is_like_any_other(app: &TestApp) {
        let mut tcp = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
        let get = format!("GET /health/live HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET_KEY}\r\n\r\n");
        tcp.write_all(get.as_bytes()).await.unwrap();
        let mut first = [0; 4096];
        assert!(tcp.read(&mut first).await.unwrap() > 0);
        tcp.write_all(b"GET /x?filters={\"n\":1} HTTP/1.1\r\nhost: x\r\norigin: https://a.example\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut answer)).await.expect("the server hangs").unwrap();
        let (status, head, body) = answers(&answer)[0];
        assert_eq!(status, 400, "{answer}");
        assert!(head.contains("connection: close") && head.contains("access-control-allow-origin: *"), "{head}");
        assert!(body.contains("--data-urlencode"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_parser_leaves_no_line_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let file = std::fs::File::create(&log).unwrap();
    let mut server = tokio::task::spawn_blocking(move || Process::start_logged(&url, file)).await.unwrap();
    let mut tcp = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    tcp.write_all(b"garbage\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert_refused("garbage", &answer);
    assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
    assert_eq!(std::fs::read_to_string(log).unwrap(), "");
}
