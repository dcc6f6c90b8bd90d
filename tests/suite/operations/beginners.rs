//! Requests that beginners send, byte for byte, with the status and the whole sentence that each is answered with. The table is
//! `beginners.txt`. Where answers changed, `COIR_TEST_RECORD=1` writes them into it, to be read before they are committed.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{SECRET_KEY, TestApp, on_both_databases, socket::PATIENCE};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/operations/beginners.txt");

/// A request of the table.
#[derive(Default)]
struct Row<'a> {
    comments: Vec<&'a str>,
    /// Method and URL.
    request: &'a str,
    headers: Vec<&'a str>,
    body: Option<&'a str>,
    expected: Vec<&'a str>,
}

fn rows(table: &str) -> Vec<Row<'_>> {
    let mut rows = vec![Row::default()];
    for line in table.lines() {
        let row = rows.last_mut().unwrap();
        let is_status = line.len() >= 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit);
        match line {
            "" => rows.push(Row::default()),
            _ if line.starts_with("# ") => row.comments.push(line),
            _ if row.request.is_empty() => row.request = line,
            _ if line.starts_with("> ") => row.headers.push(&line[2..]),
            _ if is_status || line.starts_with("hint: ") => row.expected.push(line),
            _ => row.body = Some(line),
        }
    }
    rows.retain(|row| !row.request.is_empty() || !row.comments.is_empty());
    rows
}

/// Sends the request as it stands there, and returns the lines of its answer.
async fn ask(app: &TestApp, row: &Row<'_>) -> Vec<String> {
    let (request, body) = (row.request.replace("=long", &format!("={}", "x".repeat(70_000))), row.body);
    let mut head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let has_key = |header: &&str| {
        header.starts_with("authorization") || header.starts_with("x-api-key") || *header == "-"
    };
    if !row.headers.iter().any(has_key) {
        head += &format!("authorization: Bearer {SECRET_KEY}\r\n");
    }
    for header in row.headers.iter().filter(|header| **header != "-") {
        head += &format!("{header}\r\n");
    }
    if let Some(body) = body {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let bytes = format!("{head}\r\n{}", body.unwrap_or_default());
    let mut tcp = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
    tcp.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.expect("the server hangs").unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}: {answer:?}", row.request));
    let status = head.split(' ').nth(1).unwrap();
    if status.starts_with('2') {
        return vec![status.to_owned()];
    }
    assert!(
        head.contains("access-control-allow-origin") || !head.contains("origin:"),
        "{}: {head}",
        row.request
    );
    if status == "405" {
        assert!(head.contains("allow: "), "{}: {head}", row.request);
    }
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{}: {answer}", row.request));
    assert_eq!(body["success"], false, "{body}");
    let error = &body["error"];
    let mut lines =
        vec![format!("{status} {} {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap())];
    lines.extend(error["hint"].as_str().map(|hint| format!("hint: {hint}")));
    lines
}

on_both_databases! {
    async fn every_request_of_the_table_is_answered_with_its_sentence(app: &TestApp) {
        for (id, data) in [
            ("a", json!({ "title": "A Wizard of Earthsea", "genre": "Fantasy", "year": 1968, "author_id": "le-guin" })),
            ("b", json!({ "title": "Solaris", "genre": "Science Fiction", "year": 1961, "author_id": "lem" })),
        ] {
            app.put(&format!("/collections/books/{id}"), data).await;
        }
        let text = std::fs::read_to_string(PATH).unwrap();
        let rows = rows(&text);
        assert!(rows.len() >= 120);
        let (mut wrong, mut table) = (Vec::new(), String::new());
        for row in &rows {
            let answer = if row.request.is_empty() { Vec::new() } else { ask(app, row).await };
            if answer != row.expected {
                wrong.push(format!("{}\n  expected {:?}\n  answered {answer:?}", row.request, row.expected));
            }
            let headers = row.headers.iter().map(|header| format!("> {header}"));
            let lines = row.comments.iter().map(|line| (*line).to_owned()).chain([row.request.to_owned()]);
            let lines: Vec<_> = lines.chain(headers).chain(row.body.map(str::to_owned)).chain(answer).collect();
            table += &format!("{}\n\n", lines.join("\n").trim_end());
        }
        if std::env::var_os("COIR_TEST_RECORD").is_some() {
            std::fs::write(PATH, format!("{}\n", table.trim_end())).unwrap();
        }
        assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}
