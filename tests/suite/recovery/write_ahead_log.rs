//! The size of SQLite's write-ahead log.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::{Database, SECRET_KEY, TestApp};

/// What the log may take: the bound of 64 MiB, and what is written while reads end.
const MOST: u64 = 128 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_stays_short_while_reads_overlap() {
    let app = TestApp::start(Database::Sqlite).await;
    for _ in 0..20 {
        app.create("read", json!({ "text": "x".repeat(100_000) })).await;
    }
    let is_over = AtomicBool::new(false);
    // Of these reads, one is always under way, and needs the part of the log that was written before it.
    let count = async || {
        let url = format!("{}/collections/read/query/count?text__contains=y", app.url);
        while !is_over.load(Ordering::Relaxed) {
            let answer = app.http.get(&url).bearer_auth(SECRET_KEY).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    };
    let write = async {
        let (document, mut longest) = (json!({ "text": "x".repeat(1_000_000) }), 0);
        let log = app.config.database_url.trim_start_matches("sqlite://").to_owned() + "-wal";
        // The log entry holds the document once more, so that these are 180 MB.
        for _ in 0..90 {
            app.create("written", document.clone()).await;
            longest = longest.max(std::fs::metadata(&log).unwrap().len());
        }
        is_over.store(true, Ordering::Relaxed);
        longest
    };
    let (longest, ..) = tokio::join!(write, count(), count(), count(), count());
    assert!(longest < MOST, "the log takes {longest} bytes");
    app.stop().await;
}
