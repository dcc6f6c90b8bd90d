//! Pruning of the change log in the background: by number of changes, by age and by bytes. A reader that misses pruned
//! changes is told so.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{
    Answer, Database, PUBLISHABLE_KEY, Sql, TestApp, TestStream, alter_cursor, on_both_databases, sequence_of,
};

/// How long the background work may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls the log of the only project until `is_so` accepts its floor, head, number of entries and bytes. Panics after
/// [`PATIENCE`], naming `what` was awaited.
async fn log_becomes(sql: &mut Sql, what: &str, is_so: impl Fn([i64; 4]) -> bool) -> [i64; 4] {
    let begun = Instant::now();
    loop {
        let log = log(sql).await;
        if is_so(log) {
            return log;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "this did not happen within {PATIENCE:?}: {what}; the log is {log:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the log's floor, head, number of entries and bytes. Asserts that it has no gap and that its running total of
/// bytes is right.
async fn log(sql: &mut Sql) -> [i64; 4] {
    // One statement reads all of them, because the server keeps writing.
    let rows = sql
        .integers(
            "SELECT floor FROM heads UNION ALL SELECT head FROM heads UNION ALL SELECT COUNT(*) FROM changes \
             UNION ALL SELECT CAST(COALESCE(SUM(100 + COALESCE(OCTET_LENGTH(before), 0) + COALESCE(OCTET_LENGTH(after), 0) \
                                           + COALESCE(OCTET_LENGTH(control), 0)), 0) AS BIGINT) FROM changes \
             UNION ALL SELECT bytes FROM heads UNION ALL SELECT COALESCE(MIN(sequence), 0) FROM changes",
        )
        .await;
    let [floor, head, count, bytes, counted_bytes, first] = rows[..] else { panic!("{rows:?}") };
    assert_eq!(count, head - floor, "the log has a gap: {rows:?}");
    assert_eq!(bytes, counted_bytes, "the running total is wrong: {rows:?}");
    assert!(count == 0 || first == floor + 1, "{rows:?}");
    [floor, head, count, bytes]
}

async fn write(app: &TestApp, collection: &str, count: usize) -> Answer {
    let mut last = None;
    for n in 0..count {
        last = Some(app.post(&format!("/collections/{collection}"), json!({ "n": n })).await);
    }
    last.unwrap()
}

/// Defines a test on each database, with the given retention settings.
macro_rules! with_retention {
    ($($name:ident($app:ident; $config:ident => $change:expr) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                async fn claim($app: TestApp) $body

                async fn start(database: Database) -> TestApp {
                    TestApp::start_with(database, |$config| $change).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_sqlite() {
                    claim(start(Database::Sqlite).await).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn on_postgres() {
                    claim(start(Database::Postgres).await).await;
                }
            }
        )+
    };
}

with_retention! {
    the_log_keeps_the_configured_number_of_changes_and_an_older_cursor_expires(app; config => config.retention.changes = 100) {
        let old = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        write(&app, "posts", 250).await;
        let mut sql = app.sql().await;
        let [floor, head, ..] = log_becomes(&mut sql, "100 are left", |[.., count, _]| count == 100).await;
        assert_eq!((floor, head), (151, 251));

        let mut stream = app.stream("/realtime/sse/posts", Some(&old)).await;
        let resync = stream.next_event().await;
        assert_eq!(resync.event.as_deref(), Some("resync"));
        assert_eq!(resync.json()["code"], "CURSOR_EXPIRED");
        // The stream is live from the resync on.
        assert_eq!(sequence_of(resync.id.as_ref().unwrap()), head);
        let document = app.create("posts", json!({ "n": "live" })).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"]);
        drop(stream);

        // A cursor at the floor itself can be resumed, also after a restart.
        let [floor, ..] = log_becomes(&mut sql, "it is pruned again", |[floor, ..]| floor == 152).await;
        drop(sql);
        let app = app.restart().await;
        let mut first = app.stream("/realtime/sse/posts", Some(&old)).await;
        assert_eq!(first.next_event().await.json()["code"], "CURSOR_EXPIRED");
        drop(first);
        let floor_at = app.sql().await.integers(&format!("SELECT floor_at FROM heads WHERE floor = {floor}")).await[0];
        let at_floor = alter_cursor(&old, |bytes| {
            bytes[13..21].copy_from_slice(&floor.to_be_bytes());
            bytes[21..29].copy_from_slice(&floor_at.to_be_bytes());
        });
        let mut stream = app.stream("/realtime/sse/posts", Some(&at_floor)).await;
        assert_eq!(sequence_of(&stream.next_event().await.id.unwrap()), floor + 1);
        drop(stream);
        app.stop().await;
    }

    the_log_keeps_at_most_the_configured_number_of_bytes(app; config => config.retention.bytes = 50_000) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut sql = app.sql().await;
        for _ in 0..60 {
            app.create("posts", json!({ "padding": "x".repeat(2000) })).await;
        }
        let [_, _, count, bytes] = log_becomes(&mut sql, "it is small", |[.., bytes]| bytes <= 50_000).await;
        assert!(count >= 20, "{count} entries in {bytes} bytes: more than needed was deleted");
        // An entry that alone exceeds the bound is pruned too. The log is then empty, and a stream resumes from its end.
        let end = app.post("/collections/posts", json!({ "padding": "x".repeat(60_000) })).await.header("x-cursor").to_owned();
        log_becomes(&mut sql, "it is empty", |[floor, head, ..]| floor == head).await;
        let mut stream = app.stream("/realtime/sse/posts", Some(&end)).await;
        let document = app.create("posts", json!({ "n": 1 })).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"]);
        drop((stream, sql));
        app.stop().await;
    }

    entries_that_are_too_old_are_pruned_when_the_server_starts(app; config => config.retention.age = Duration::from_secs(24 * 3600)) {
        write(&app, "posts", 30).await;
        let mut sql = app.sql().await;
        let [floor, head, ..] = log(&mut sql).await;
        assert_eq!((floor, head), (0, 31));
        sql.execute("UPDATE changes SET at = at - 2 * 24 * 3600 * 1000 WHERE sequence <= 20").await;
        drop(sql);
        // The server prunes when it starts.
        let app = app.restart().await;
        let mut sql = app.sql().await;
        let [floor, ..] = log_becomes(&mut sql, "the old ones are gone", |[floor, ..]| floor > 0).await;
        assert_eq!(floor, 20);
        drop(sql);
        app.stop().await;
    }

    a_cursor_advanced_by_heartbeats_can_be_resumed_after_the_first_one_expired(app; config => {
        config.retention.changes = 100;
        config.heartbeat = Duration::from_secs(1);
    }) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut stream = app.stream("/realtime/sse/posts?n=none", None).await;
        let first = stream.opened().await;
        let last = write(&app, "posts", 300).await.header("x-cursor").to_owned();
        let mut sql = app.sql().await;
        log_becomes(&mut sql, "the first cursor is pruned", |[floor, ..]| floor > sequence_of(&first)).await;
        while stream.last_event_id.as_ref() != Some(&last) {
            assert_eq!(stream.next_block().await.data, None);
        }
        drop((stream, sql));

        let mut stream = app.stream("/realtime/sse/posts?n=none", Some(&last)).await;
        let document = app.create("posts", json!({ "n": "none" })).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"], "no resync");
        let mut old = app.stream("/realtime/sse/posts?n=none", Some(&first)).await;
        assert_eq!(old.next_event().await.json()["code"], "CURSOR_EXPIRED");
        drop((stream, old));
        app.stop().await;
    }

    a_reader_overtaken_by_pruning_gets_a_resync_and_continues(app; config => config.retention.changes = 100) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;
        let mut socket = app.socket().await;
        socket.subscribe("posts", json!({})).await;
        // Nobody reads while these writes exceed the server's queue and the kernel's buffers.
        let mut sql = app.sql().await;
        let writes = (0..1500).map(|n| {
            let app = &app;
            async move { app.create("posts", json!({ "n": n, "padding": "x".repeat(20_000) })).await }
        });
        futures_util::StreamExt::collect::<Vec<_>>(
            futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(writes), 16)
        ).await;
        let [_, head, ..] = log_becomes(&mut sql, "100 are left", |[.., count, _]| count == 100).await;

        // The stream delivers every change in order up to the gap, then a resync, and is live from there on.
        let (mut expected, mut is_told) = (2, false);
        loop {
            let block = stream.next_event().await;
            let sequence = sequence_of(block.id.as_ref().unwrap());
            if block.event.as_deref() == Some("resync") {
                assert_eq!((sequence, &block.json()["code"]), (head, &json!("CURSOR_EXPIRED")));
                is_told = true;
                break;
            }
            assert_eq!(sequence, expected);
            expected += 1;
            if expected > head {
                break;
            }
        }
        assert!(is_told, "the stream was never overtaken, so this run proves nothing");
        let document = app.create("posts", json!({ "n": "live" })).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"]);
        // A subscription without an `id` has no resync message, so the server closes the connection.
        let close = loop {
            match socket.next_frame().await {
                tokio_tungstenite::tungstenite::Message::Close(frame) => break frame.unwrap(),
                message => assert!(message.is_text(), "{message:?}"),
            }
        };
        assert_eq!(u16::from(close.code), 1013);
        drop((stream, socket, sql));
        app.stop().await;
    }
}

on_both_databases! {
    async fn control_entries_pruned_before_a_node_reads_them_still_take_effect(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        app.post("/collections", json!({ "name": "removed" })).await;
        let mut good = app.stream("/realtime/sse/posts", None).await;
        good.opened().await;
        let mut orphan = app.stream("/realtime/sse/removed", None).await;
        orphan.opened().await;
        let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/realtime/sse/posts");
        let mut revoked = TestStream::open(request).await;
        revoked.opened().await;

        // This is the state that another node leaves if it was busy while this node could not reach the database.
        let mut sql = app.sql().await;
        sql.execute(
            "BEGIN; UPDATE api_keys SET revoked_at = 1 WHERE prefix LIKE 'pk%'; \
             UPDATE collections SET removed_at = 1 WHERE name = 'removed'; DELETE FROM changes; \
             UPDATE heads SET head = head + 1000, head_at = head_at + 1, floor = head + 1000, floor_at = head_at + 1, \
                              control = head + 1000, bytes = 0; COMMIT",
        )
        .await;

        let resync = good.next_event().await;
        assert_eq!((resync.event.as_deref(), &resync.json()["code"]), (Some("resync"), &json!("CURSOR_EXPIRED")));
        // A stream may get a resync first. It must not get a document.
        for (stream, code) in [(&mut orphan, "INVALID_COLLECTION"), (&mut revoked, "UNAUTHORIZED")] {
            let mut said = stream.next_event().await;
            if said.event.as_deref() == Some("resync") {
                said = stream.next_event().await;
            }
            assert_eq!(said.json()["code"], code);
        }
        assert_eq!(revoked.try_next_block().await, None);
        let list = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/posts")).await;
        assert_eq!(list.error(), (401, "UNAUTHORIZED"));
        assert_eq!(app.get("/collections/removed").await.error(), (404, "INVALID_COLLECTION"));
        let document = app.create("posts", json!({})).await;
        assert_eq!(good.next_event().await.json()["document"]["id"], document["id"]);
    }
}
