//! Large answers, and clients that don't read them: memory is bounded, and no document is left out silently.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{SECRET_KEY, TestApp, on_both_databases};

/// Creates `count` documents, each with 900 KB of text.
async fn fill(app: &TestApp, count: usize) {
    let padding = "x".repeat(900_000);
    for n in 0..count {
        app.put(&format!("/collections/posts/{n:03}"), json!({ "n": n, "padding": padding })).await;
    }
}

/// Reads all pages of a list. Returns the number of documents on each page, and the ids of all documents.
async fn pages(app: &TestApp, path: &str) -> (Vec<usize>, BTreeSet<String>) {
    let (mut sizes, mut ids, mut after) = (Vec::new(), BTreeSet::new(), String::new());
    loop {
        let answer = app.get(&format!("{path}{after}")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body["error"]);
        let documents = answer.data().as_array().unwrap();
        sizes.push(documents.len());
        for document in documents {
            assert!(
                ids.insert(document["id"].as_str().unwrap().to_owned()),
                "listed twice: {}",
                document["id"]
            );
        }
        match &answer.body["nextCursor"] {
            Value::String(next) => after = format!("&after={next}"),
            _ => return (sizes, ids),
        }
    }
}

on_both_databases! {
    async fn a_page_of_large_documents_ends_early_and_the_next_goes_on(app: &TestApp) {
        fill(app, 45).await;
        for path in ["/collections/posts?limit=1000", "/collections/posts?limit=500&orderBy=-n"] {
            let (sizes, ids) = pages(app, path).await;
            assert_eq!(ids.len(), 45, "{path}");
            assert!(sizes.len() > 1 && sizes[0] > 10, "{path}: {sizes:?}");
        }
        // These lists are short as text but take much memory.
        for n in 0..3 {
            app.put(&format!("/collections/lists/{n}"), json!({ "n": n, "list": vec![1; 300_000] })).await;
        }
        let (sizes, ids) = pages(app, "/collections/lists?limit=20").await;
        assert_eq!((ids.len(), sizes[0]), (3, 2), "{sizes:?}");
        let (sizes, _) = pages(app, "/collections/lists?limit=2").await;
        assert_eq!(sizes, [2, 1]);
        // The client libraries take a short page for the last one, so they get an error instead.
        let answer = app.get("/collections/posts/documents?limit=1000").await;
        assert_eq!(answer.status, 400);
        assert!(answer.body["detail"].as_str().unwrap().contains("`limit`"), "{answer:?}");
        assert_eq!(app.get("/collections/posts/documents?limit=10").await.body.as_array().unwrap().len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_large_answers_keep_no_room_from_others() {
    let app = TestApp::start(crate::harness::Database::Sqlite).await;
    fill(&app, 30).await;
    app.put("/collections/small/a", json!({ "n": 1 })).await;
    let path = "/collections/posts?limit=30";
    let mut stalled = Vec::new();
    loop {
        let mut tcp = TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nx-api-key: {SECRET_KEY}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        tcp.read_exact(&mut begin).await.unwrap();
        if &begin == b"HTTP/1.1 503" {
            break;
        }
        assert_eq!(&begin, b"HTTP/1.1 200");
        stalled.push(tcp);
        assert!(stalled.len() < 20, "nothing bounds the answers that wait for their readers");
    }
    assert!(stalled.len() > 1);
    let answer = app.get(path).await;
    assert_eq!((answer.error(), answer.header("Retry-After")), ((503, "OVERLOADED"), "1"));
    assert_eq!(app.get("/collections/small").await.status, 200, "small answers are still served");
    let written = app.put("/collections/posts/large", json!({ "padding": "x".repeat(900_000) })).await;
    assert_eq!(written.status, 201, "a committed write is answered");

    let begun = Instant::now();
    while app.get(path).await.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the stalled clients still hold the memory");
    }
    let mut rest = Vec::new();
    let _ = stalled[0].read_to_end(&mut rest).await;
    assert!(rest.len() < 30 * 900_000, "the first stalled client got the whole answer");
    app.stop().await;
}
