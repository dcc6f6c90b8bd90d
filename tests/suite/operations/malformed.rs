//! Malformed input gets a 4xx with a code and a message, or a clean close where HTTP itself is broken. It never causes a
//! 5xx, and other clients are still served.

use std::time::Duration;

use futures_util::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Database, SECRET_KEY, TestApp, on_both_databases, path_with};

const PATIENCE: Duration = Duration::from_secs(20);
/// A number of bytes, far above the limit of every body.
const HUGE: usize = 100 << 20;

/// Builds the head of a request with the secret key. `more` has further header lines, each with its `\r\n`.
fn head(request_line: &str, more: &str) -> Vec<u8> {
    format!(
        "{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {SECRET_KEY}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// Sends raw bytes for as long as the server takes them, and returns its whole answer.
pub(super) async fn send_raw(app: &TestApp, parts: impl IntoIterator<Item = Vec<u8>>) -> String {
    let stream = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        for part in parts {
            // The server may close early; its answer is still read.
            if writer.write_all(&part).await.is_err() {
                break;
            }
        }
    };
    let read = async {
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
        answer
    };
    let (_, answer) = tokio::time::timeout(PATIENCE, join(write, read)).await.expect("the server hangs");
    String::from_utf8(answer).unwrap()
}

/// Returns the status of an answer, which must be a 4xx. A body must have the shape of every error.
pub(super) fn assert_refused(why: &str, answer: &str) -> u16 {
    let status: u16 =
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("{why}: {answer:?}")).parse().unwrap();
    assert!((400..500).contains(&status), "{why}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    if !body.is_empty() {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{why}: {answer}"));
        assert_eq!(body["success"], false, "{why}");
        assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string(), "{why}: {body}");
    }
    status
}

async fn assert_serves(app: &TestApp, why: &str) {
    assert_eq!(app.get("/collections/posts/kept").await.status, 200, "after {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_http_is_refused_or_cut_and_others_are_served() {
    let app = TestApp::start(Database::Sqlite).await;
    app.put("/collections/posts/kept", json!({})).await;
    let long = "a".repeat(200_000);
    for (why, request) in [
        ("garbage", b"\x00\x01\x02\xff\xfe garbage\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40)),
        ("HTTP/2 without an upgrade", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("an unknown version of HTTP", b"GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_vec()),
        ("a NUL in the path", head("GET /collections/a\0b", "")),
        ("a NUL in a header", head("GET /collections", "x-thing: a\0b\r\n")),
        ("a header without a name", head("GET /collections", ": x\r\n")),
        ("a head that does not end within ten seconds", b"GET / HTTP/1.1\r\nhost".to_vec()),
        ("two lengths", head("POST /collections/posts", "content-length: 2\r\ncontent-length: 3\r\n")),
        ("a length that is not a number", head("POST /collections/posts", "content-length: two\r\n")),
        ("a negative length", head("POST /collections/posts", "content-length: -1\r\n")),
        (
            "a length and chunks",
            head("POST /collections/posts", "content-length: 2\r\ntransfer-encoding: chunked\r\n"),
        ),
        ("an unknown transfer coding", head("POST /collections/posts", "transfer-encoding: rot13\r\n")),
        ("a long path", head(&format!("GET /{long}"), "")),
        ("a long query", head(&format!("GET /collections/posts?a={long}"), "")),
        ("a long header", head("GET /collections", &format!("x-thing: {long}\r\n"))),
        ("many headers", head("GET /collections", &"x-thing: 1\r\n".repeat(500))),
    ] {
        let answer = send_raw(&app, [request]).await;
        if !answer.is_empty() {
            assert_refused(why, &answer);
        }
        assert_serves(&app, why).await;
    }
    let chunk = [
        head("POST /collections/posts", "transfer-encoding: chunked\r\n"),
        b"zz\r\n{}\r\n0\r\n\r\n".to_vec(),
    ];
    assert_refused("a chunk whose size is not a number", &send_raw(&app, chunk).await);
    assert_serves(&app, "a broken chunk").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_are_refused_before_they_are_read() {
    let app = TestApp::start(Database::Sqlite).await;
    app.put("/collections/posts/kept", json!({})).await;
    let piece = || vec![b' '; 1 << 20];
    let announced = head("POST /collections/posts", &format!("content-length: {HUGE}\r\n"));
    let announced = std::iter::once(announced).chain((0..100).map(|_| piece()));
    assert_eq!(assert_refused("a body that was announced", &send_raw(&app, announced).await), 413);
    assert_serves(&app, "a body that was announced").await;

    let chunk = || [b"100000\r\n".to_vec(), piece(), b"\r\n".to_vec()].concat();
    let chunked = head("POST /collections/posts", "transfer-encoding: chunked\r\n");
    let chunked = std::iter::once(chunked).chain((0..100).map(|_| chunk())).chain([b"0\r\n\r\n".to_vec()]);
    assert_eq!(assert_refused("a body in chunks", &send_raw(&app, chunked).await), 413);
    assert_serves(&app, "a body in chunks").await;

    for (coding, bomb) in [
        (
            "gzip",
            compress(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()), |e| e.finish()),
        ),
        (
            "deflate",
            compress(flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast()), |e| {
                e.finish()
            }),
        ),
    ] {
        let bomb = [
            head(
                "POST /collections/posts",
                &format!("content-encoding: {coding}\r\ncontent-length: {}\r\n", bomb.len()),
            ),
            bomb,
        ];
        assert_eq!(assert_refused(coding, &send_raw(&app, bomb).await), 413);
        assert_serves(&app, coding).await;
    }
    let broken = head("POST /collections/posts", "content-encoding: gzip\r\ncontent-length: 2\r\n");
    assert_eq!(assert_refused("no gzip at all", &send_raw(&app, [broken, b"{}".to_vec()]).await), 400);
    assert_serves(&app, "no gzip").await;
    app.stop().await;
}

/// Compresses 100 MB of spaces.
fn compress<E: std::io::Write>(
    mut encoder: E,
    finish: impl FnOnce(E) -> std::io::Result<Vec<u8>>,
) -> Vec<u8> {
    for _ in 0..HUGE >> 20 {
        encoder.write_all(&[b' '; 1 << 20]).unwrap();
    }
    finish(encoder).unwrap()
}

on_both_databases! {
    async fn bodies_that_are_not_a_json_object_are_refused(app: &TestApp) {
        app.put("/collections/posts/kept", json!({})).await;
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for (why, body) in [
            ("an empty body", Vec::new()),
            ("objects 100,000 deep", deep("{\"a\":", "}").into_bytes()),
            ("arrays 100,000 deep", deep("[", "]").into_bytes()),
            ("objects 65 deep", format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65)).into_bytes()),
            ("NUL in a string", br#"{"a":"x\u0000y"}"#.to_vec()),
            ("NUL in a key", br#"{"x\u0000y":1}"#.to_vec()),
            ("NUL in an array of an object", br#"{"a":[{"b":"\u0000"}]}"#.to_vec()),
            ("a raw NUL", b"{\"a\":\"\0\"}".to_vec()),
            ("a lone high surrogate", br#"{"a":"\ud83d"}"#.to_vec()),
            ("a lone low surrogate", br#"{"a":"\ude00"}"#.to_vec()),
            ("surrogates in the wrong order", br#"{"a":"\ude00\ud83d"}"#.to_vec()),
            ("invalid UTF-8", b"{\"a\":\"\xff\xfe\"}".to_vec()),
            ("overlong UTF-8", b"{\"a\":\"\xc0\x80\"}".to_vec()),
            ("UTF-16", b"\xff\xfe{\x00}\x00".to_vec()),
            ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
            ("a number above every double", br#"{"a":1e400}"#.to_vec()),
            ("a number below every double", br#"{"a":-1e400}"#.to_vec()),
            ("NaN", br#"{"a":NaN}"#.to_vec()),
            ("a leading zero", br#"{"a":01}"#.to_vec()),
            ("a trailing comma", br#"{"a":1,}"#.to_vec()),
            ("two documents", b"{}{}".to_vec()),
            ("an array", b"[]".to_vec()),
            ("text", b"\"{}\"".to_vec()),
            ("null", b"null".to_vec()),
            ("a form", b"a=1&b=2".to_vec()),
        ] {
            for (method, path) in [
                (Method::POST, "/collections/posts"),
                (Method::PUT, "/collections/posts/a"),
                (Method::PATCH, "/collections/posts/kept"),
                (Method::POST, "/collections"),
                (Method::PATCH, "/collections/posts/settings"),
            ] {
                let answer = app.send(app.request(method.clone(), path).body(body.clone())).await;
                assert_eq!(answer.error(), (400, "INVALID_BODY"), "{why}: {method} {path}");
            }
            assert_serves(app, why).await;
        }
        let large = app.post("/collections/posts", json!({ "a": "x".repeat(1 << 20) })).await;
        assert_eq!(large.error(), (413, "PAYLOAD_TOO_LARGE"));
        assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 1, "nothing was written");
    }

    async fn text_is_never_more_than_text(app: &TestApp) {
        app.put("/collections/posts/kept", json!({ "title": "kept" })).await;
        for text in [
            "' OR '1'='1", "'; DROP TABLE documents; --", "\" OR 1=1 --", "') OR ('a'='a", "$1", "?", "?1", ":a", "@a", "{}",
            "%", "_", "\\", "\\'", "'", "''", "\"", "`", "$.a", "$[0]", "[0]", "/*", "a\nb", "\u{1}", "\u{202e}", "😀", "\u{0}", "a\u{0}b",
        ] {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let filters = json!({ text: text }).to_string();
            let value = json!({ "title": text }).to_string();
            for path in [
                format!("/collections/{encoded}"),
                format!("/collections/{encoded}/{encoded}"),
                format!("/collections/posts/{encoded}"),
                format!("/realtime/sse/{encoded}"),
                format!("/collections/{encoded}/settings"),
                // One `_` alone leads to the live page.
                format!("/{encoded}{encoded}"),
                path_with("/collections/posts", &[("after", text)]),
                path_with("/collections/posts", &[("order", text)]),
                path_with("/collections/posts", &[("limit", text)]),
                path_with("/collections/posts", &[("createdAt", text)]),
                path_with("/collections/posts", &[("filters", text)]).replace("filters=%7B%7D", "filters=%5B%5D"),
                path_with("/collections/posts", &[("limit", "1"), ("order", text)]),
                path_with("/collections/posts/kept", &[(text, text)]),
                path_with("/collections/posts/query/aggregate", &[("operation", text), ("field", "title")]),
                path_with("/collections/posts/query/group-by", &[("field", "title"), ("operation", text), ("of", "title")]),
                path_with("/collections/posts/export", &[("format", text)]),
                path_with(&format!("/collections/{encoded}/query/count"), &[]),
                path_with(&format!("/collections/{encoded}/query/aggregate"), &[("operation", "max"), ("field", "title")]),
                path_with(&format!("/collections/{encoded}/query/group-by"), &[("field", "title")]),
                path_with(&format!("/collections/{encoded}/export"), &[]),
            ] {
                let answer = app.get(&path).await;
                let (status, _) = answer.error();
                assert!((400..500).contains(&status), "{path}: {answer:?}");
            }
            // The text is a valid field or value of a filter, unless it holds a NUL or names no field. It must match nothing.
            for path in [
                path_with("/collections/posts", &[(text, text)]),
                path_with("/collections/posts", &[("title", text)]),
                path_with("/collections/posts", &[("id", text)]),
                path_with("/collections/posts", &[("filters", &filters)]),
                path_with("/collections/posts", &[("filters", &value)]),
            ] {
                let answer = app.get(&path).await;
                match answer.status.as_u16() {
                    200 => assert_eq!(answer.data(), &json!([]), "{path}"),
                    _ => assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{path}"),
                }
            }
            // The text names a field that no document has, unless it is not a valid field.
            for (path, expected) in [
                (path_with("/collections/posts/kept", &[("select", text)]), "{}"),
                (path_with("/collections/posts", &[("select", text)]), "{}"),
                (path_with("/collections/posts/query/aggregate", &[("operation", "sum"), ("field", text)]), "0"),
                (path_with("/collections/posts/query/aggregate", &[("operation", "max"), ("field", text)]), "null"),
                (path_with("/collections/posts/query/aggregate", &[("operation", "count"), ("field", text)]), "0"),
                (path_with("/collections/posts/query/aggregate", &[("operation", "count"), ("title", text)]), "0"),
                (path_with("/collections/posts/query/count", &[(text, text)]), "0"),
                (path_with("/collections/posts/query/count", &[("title__contains", text)]), "0"),
                (path_with("/collections/posts/query/count", &[("title__in", text)]), "0"),
                (path_with("/collections/posts/query/count", &[("title__array_contains", text)]), "0"),
                (path_with("/collections/posts/query/group-by", &[("field", text)]), "null"),
                (path_with("/collections/posts/query/group-by", &[("field", "title"), ("operation", "min"), ("of", text)]), "null"),
            ] {
                let answer = app.get(&path).await;
                if answer.status != 200 {
                    assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{path}");
                    continue;
                }
                let data = answer.data();
                let found = match data.get(0) {
                    Some(first) => first.get("result").or(first.get("value")).unwrap_or(&first["data"]),
                    None => data.get("result").or(data.get("count")).unwrap_or(&data["data"]),
                };
                assert_eq!(found.to_string(), expected, "{path}");
            }
            for path in [
                path_with("/collections/posts", &[("populate", text)]),
                path_with("/collections/posts", &[("populate", &format!("author:{text}"))]),
                path_with("/collections/posts/kept", &[("populate", text)]),
                path_with("/collections/posts/export", &[("orderBy", text), ("select", text)]),
                path_with("/collections/posts/export", &[("format", "csv"), ("populate", text)]),
                path_with("/collections/posts/export", &[("format", "ndjson"), (text, text)]),
            ] {
                let answer = app.get(&path).await;
                match answer.status.as_u16() {
                    200 => {}
                    _ => assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{path}"),
                }
            }
            // The text in a body is an invalid name or id, or an unknown operation.
            for (method, path, body) in [
                (Method::POST, "/collections", json!({ "name": text })),
                (Method::PATCH, "/collections/posts/settings", json!({ "name": text })),
                (Method::POST, "/collections/posts/batch", json!({ "documents": [text] })),
                (Method::PATCH, "/collections/posts/batch", json!({ "updates": { text: { "title": text } } })),
                (Method::POST, "/transactions", json!({ "operations": [{ "op": text, "collection": "posts" }] })),
                (Method::POST, "/transactions", json!({ "operations": [{ "op": "create", "collection": text, "data": {} }] })),
                (Method::POST, "/transactions", json!({ "operations": [{ "op": "delete", "collection": "posts", "id": text }] })),
            ] {
                let answer = app.send(app.request(method.clone(), path).json(&body)).await;
                let (status, _) = answer.error();
                assert!((400..500).contains(&status), "{method} {path} {body}: {answer:?}");
            }
            let deleted = app.post("/collections/posts/batch-delete", json!({ "ids": [text] })).await;
            assert!(deleted.status.as_u16() < 500, "{deleted:?}");
            // The text sorts by a field that no document has, unless it is not a valid field.
            let sorted = app.get(&path_with("/collections/posts", &[("orderBy", text)])).await;
            match sorted.status.as_u16() {
                200 => assert_eq!(sorted.data()[0]["id"], "kept", "{text:?}"),
                _ => assert_eq!(sorted.error(), (400, "INVALID_FILTER"), "{text:?}"),
            }
            // The text can be written as a value and as a key; it comes back, and a filter finds it.
            let data = json!({ "title": text, text: 1 });
            let written = app.post("/collections/texts", data.clone()).await;
            if text.contains('\0') || text.starts_with('$') {
                assert_eq!(written.error(), (400, "INVALID_BODY"));
                continue;
            }
            let read = app.get(&path_with("/collections/texts", &[("filters", &value)])).await;
            assert_eq!(read.data()[0]["data"], data, "{text:?}");
        }
        assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 1);
        assert_serves(app, "all of it").await;
    }

    async fn unknown_routes_and_methods_have_the_shape_of_every_error(app: &TestApp) {
        app.put("/collections/posts/kept", json!({})).await;
        for (method, path, expected) in [
            (Method::GET, "/none", (404, "NOT_FOUND")),
            (Method::GET, "/collections/posts/kept/more", (404, "NOT_FOUND")),
            (Method::POST, "/none", (404, "NOT_FOUND")),
            (Method::GET, "//collections", (404, "NOT_FOUND")),
            (Method::GET, "/collections/..%2F..%2Fetc%2Fpasswd/a", (404, "INVALID_COLLECTION")),
            (Method::GET, "/collections/%ff", (404, "INVALID_COLLECTION")),
            (Method::GET, "/collections/posts/%ff", (404, "DOCUMENT_NOT_FOUND")),
            (Method::PUT, "/collections", (405, "METHOD_NOT_ALLOWED")),
            (Method::PUT, "/collections/posts", (405, "METHOD_NOT_ALLOWED")),
            (Method::POST, "/collections/posts/kept", (405, "METHOD_NOT_ALLOWED")),
            (Method::DELETE, "/collections/posts/settings", (405, "METHOD_NOT_ALLOWED")),
            (Method::POST, "/realtime", (405, "METHOD_NOT_ALLOWED")),
            (Method::POST, "/realtime/sse/posts", (405, "METHOD_NOT_ALLOWED")),
            (Method::DELETE, "/health/live", (405, "METHOD_NOT_ALLOWED")),
            (Method::TRACE, "/collections", (405, "METHOD_NOT_ALLOWED")),
            (Method::from_bytes(b"BREW").unwrap(), "/collections/posts", (405, "METHOD_NOT_ALLOWED")),
        ] {
            let answer = app.send(app.request(method.clone(), path)).await;
            assert_eq!(answer.error(), expected, "{method} {path}");
        }
        assert_serves(app, "all of it").await;
    }
}
