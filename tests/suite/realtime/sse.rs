//! `GET /realtime/sse/{collection}`: the exact text of its blocks, errors as HTTP statuses, and resuming from a cursor.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{
    Block, Database, PUBLISHABLE_KEY, SECRET_KEY, TestApp, TestStream, alter_cursor, event,
    on_both_databases, process,
};

fn block(id: &str) -> Block {
    Block { id: Some(id.to_owned()), ..Block::default() }
}

on_both_databases! {
    async fn a_stream_begins_with_a_retry_time_and_each_event_has_its_cursor(app: &TestApp) {
        let opened_at = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let response = app.request(Method::GET, "/realtime/sse/posts").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        drop(response);

        let mut stream = app.stream("/realtime/sse/posts", None).await;
        assert_eq!(stream.next_block().await, Block { retry: Some(Duration::from_secs(1)), ..block(&opened_at) });
        let answer = app.post("/collections/posts", json!({ "title": "a\nb", "n": 1 })).await;
        let (id, at) = (answer.data()["id"].as_str().unwrap(), answer.data()["createdAt"].as_str().unwrap());
        let data = format!(
            r#"{{"type":"event","collection":"posts","event":"created","document":{{"id":"{id}","data":{{"n":1,"title":"a\nb"}},"createdAt":"{at}"}}}}"#
        );
        // The event has no name, so that a browser's `onmessage` receives it.
        assert_eq!(stream.next_block().await, Block { data: Some(data), ..block(answer.header("x-cursor")) });
    }

    async fn a_stream_is_filtered_by_json_and_by_text(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut typed = app.stream("/realtime/sse/posts?filters=%7B%22room%22%3A7%7D", None).await;
        let mut text = app.stream("/realtime/sse/posts?room=7", None).await;
        let mut both = app.stream("/realtime/sse/posts?filters=%7B%22room%22%3A%227%22%7D&n=2", None).await;
        for stream in [&mut typed, &mut text, &mut both] {
            stream.opened().await;
        }
        app.create("posts", json!({ "room": 8 })).await;
        let string = app.create("posts", json!({ "room": "7", "n": 1 })).await;
        let number = app.create("posts", json!({ "room": 7, "n": 2 })).await;
        let last = app.create("posts", json!({ "room": "7", "n": 2 })).await;
        assert_eq!(typed.next_event().await.json(), event("posts", "created", &number));
        for document in [&string, &number, &last] {
            assert_eq!(text.next_event().await.json(), event("posts", "created", document));
        }
        assert_eq!(both.next_event().await.json(), event("posts", "created", &last));
    }

    async fn an_error_before_a_stream_starts_is_a_status(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        for (why, key, path, expected) in [
            ("no key", "", "posts", (401, "UNAUTHORIZED")),
            ("no key and an unknown collection", "", "none", (401, "UNAUTHORIZED")),
            ("an unknown key", "pk_00000000000000000000", "posts", (401, "UNAUTHORIZED")),
            ("a name that no collection can have", SECRET_KEY, "1none", (404, "INVALID_COLLECTION")),
            ("filters that are not JSON", SECRET_KEY, "posts?filters=status", (400, "INVALID_FILTER")),
            ("filters that are a list", SECRET_KEY, "posts?filters=%5B%5D", (400, "INVALID_FILTER")),
            ("filters twice", SECRET_KEY, "posts?filters=%7B%7D&filters=%7B%7D", (400, "INVALID_FILTER")),
            ("a parameter that only lists have", SECRET_KEY, "posts?limit=1", (400, "INVALID_FILTER")),
        ] {
            let mut request = app.http.get(format!("{}/realtime/sse/{path}", app.url));
            if !key.is_empty() {
                request = request.bearer_auth(key);
            }
            assert_eq!(app.send(request).await.error(), expected, "{why}");
        }
        let url = format!("{}/realtime/sse/posts?token=", app.url);
        let refused = app.send(app.http.get(format!("{url}{SECRET_KEY}"))).await;
        assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
        assert!(refused.body["error"]["hint"].as_str().unwrap().contains("must not be in a URL"));
        TestStream::open(app.http.get(format!("{url}{PUBLISHABLE_KEY}"))).await.opened().await;
    }

    async fn a_cursor_replays_later_changes_and_the_header_wins_over_the_url(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut cursors = Vec::new();
        for n in 0..3 {
            cursors.push(app.post("/collections/posts", json!({ "n": n })).await.header("x-cursor").to_owned());
        }
        let since = |cursor: &str| format!("/realtime/sse/posts?since={cursor}");
        let streams = [
            ("a cursor in the header", "/realtime/sse/posts".to_owned(), Some(&*begin), 0),
            ("a cursor in the URL", since(&cursors[0]), None, 1),
            ("the header wins over the URL", since(&begin), Some(&*cursors[1]), 2),
            ("an empty header counts as no cursor", "/realtime/sse/posts".to_owned(), Some(""), 3),
            ("an empty header does not override the URL", since(&cursors[0]), Some(""), 1),
            ("the cursor of the last change", since(&cursors[2]), None, 3),
        ];
        let mut open = Vec::new();
        for (why, path, header, first) in streams {
            let mut stream = app.stream(&path, header).await;
            stream.opened().await;
            open.push((why, stream, first));
        }
        app.create("posts", json!({ "n": 3 })).await;
        for (why, mut stream, first) in open {
            for n in first..=3 {
                assert_eq!(stream.next_event().await.json()["document"]["data"]["n"], n, "{why}");
            }
        }
    }

    async fn a_cursor_may_be_in_the_url_under_the_names_of_the_header_and_the_newest_wins(app: &TestApp) {
        let begin = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut cursors = Vec::new();
        for n in 0..3 {
            cursors.push(app.post("/collections/posts", json!({ "n": n })).await.header("x-cursor").to_owned());
        }
        let [first, second, third] = &cursors[..] else { panic!() };
        for (why, query, header, expected) in [
            ("as a polyfill writes it", format!("lastEventId={first}"), None, 1),
            ("as the header is called", format!("Last-Event-ID={second}"), None, 2),
            ("the URL is newer than the header", format!("lastEventId={second}"), Some(&begin), 2),
            ("the header is newer than the URL", format!("lastEventId={first}"), Some(third), 3),
            ("the page began with `since`", format!("since={begin}&lastEventId={second}"), None, 2),
            ("`since` is newer", format!("since={third}&lastEventId={second}"), Some(first), 3),
            ("one more each time", format!("lastEventId={first}&lastEventId={third}&lastEventId={second}"), None, 3),
            ("an empty one counts as none", format!("lastEventId=&since={first}"), Some(&String::new()), 1),
            ("one is no cursor", format!("lastEventId=0&since={first}"), None, 1),
        ] {
            let last = header.map(String::as_str);
            let mut stream = app.stream(&format!("/realtime/sse/posts?{query}&n__lt=9"), last).await;
            stream.opened().await;
            app.create("posts", json!({ "n": 8 })).await;
            let seen = stream.next_event().await.json()["document"]["data"]["n"].clone();
            assert_eq!(seen, if expected < 3 { json!(expected) } else { json!(8) }, "{why}");
        }
        let mut garbled = app.stream("/realtime/sse/posts?lastEventId=0", None).await;
        assert_eq!(garbled.next_event().await.json()["code"], "INVALID_CURSOR");
        let refused = app.get("/collections/posts?lastEventId=0").await;
        assert_eq!(refused.error(), (400, "INVALID_FILTER"));
    }

    async fn an_unusable_cursor_is_reported_on_the_stream_which_then_goes_live(app: &TestApp) {
        let good = app.post("/collections", json!({ "name": "posts" })).await.header("x-cursor").to_owned();
        let mut command = process::command(&["projects", "create", "other", "--open"]);
        command.env("DATABASE_URL", &app.config.database_url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let foreign_key = output.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
        let create = app.request_as(foreign_key, Method::POST, "/collections").json(&json!({ "name": "posts" }));
        let foreign = app.send(create).await.header("x-cursor").to_owned();

        for (why, cursor, code) in [
            ("garbled", "abc".to_owned(), "INVALID_CURSOR"),
            ("one letter changed", good.replacen('A', "B", 1), "INVALID_CURSOR"),
            ("a cursor of another project", foreign, "INVALID_CURSOR"),
            ("a sequence beyond the end of the log", alter_cursor(&good, |bytes| bytes[20] += 77), "CURSOR_EXPIRED"),
            ("a cursor of another database history", alter_cursor(&good, |bytes| bytes[5] ^= 1), "CURSOR_EXPIRED"),
            ("a sequence whose change is a different one", alter_cursor(&good, |bytes| bytes[28] ^= 1), "CURSOR_EXPIRED"),
        ] {
            let mut stream = app.stream("/realtime/sse/posts", Some(&cursor)).await;
            let resync = stream.next_event().await;
            let id = resync.id.clone().unwrap();
            assert_eq!(resync.event.as_deref(), Some("resync"), "{why}");
            let mut data = resync.json();
            assert!(data.as_object_mut().unwrap().remove("message").is_some_and(|words| words.is_string()), "{why}");
            assert_eq!(data, json!({ "type": "resync", "code": code, "cursor": id }), "{why}");
            let document = app.create("posts", json!({})).await;
            assert_eq!(stream.next_event().await.json(), event("posts", "created", &document), "{why}");
        }
    }

    async fn a_removed_collection_ends_its_streams_with_an_error(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let mut stream = app.stream("/realtime/sse/posts", None).await;
        stream.opened().await;
        app.delete("/collections/posts").await;
        let error = stream.next_event().await;
        assert_eq!(error.event.as_deref(), Some("error"));
        let data = r#"{"type":"error","code":"INVALID_COLLECTION","message":"the collection was removed, and the subscription has ended; subscribe again to wait for a new one"}"#;
        assert_eq!(error.data.as_deref(), Some(data));
        assert_eq!(stream.try_next_block().await, None);
    }

    async fn a_project_created_by_another_process_is_live_at_once(app: &TestApp) {
        let mut command = process::command(&["projects", "create", "fresh", "--open"]);
        command.env("DATABASE_URL", &app.config.database_url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        let key = output.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
        let create = app.request_as(key, Method::POST, "/collections").json(&json!({ "name": "posts" }));
        app.send(create).await;
        let mut stream = TestStream::open(app.request_as(key, Method::GET, "/realtime/sse/posts")).await;
        let first = stream.next_block().await;
        assert!(first.id.is_some() && first.comment.is_none(), "{first:?}");
        let create = app.request_as(key, Method::POST, "/collections/posts").json(&json!({ "n": 1 }));
        let document = app.send(create).await.data().clone();
        assert_eq!(stream.next_event().await.json(), event("posts", "created", &document));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_move_the_cursor_past_changes_that_were_no_events() {
    let second = Duration::from_secs(1);
    let app = TestApp::start_with(Database::Sqlite, |config| config.heartbeat = second).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let mut stream = app.stream("/realtime/sse/posts?filters=%7B%22n%22%3A1%7D", None).await;
    let begin = stream.opened().await;
    app.post("/collections/posts", json!({ "n": 2 })).await;
    let end = app.post("/collections/others", json!({ "n": 1 })).await.header("x-cursor").to_owned();

    let mut id = begin;
    while id != end {
        let heartbeat = stream.next_block().await;
        assert!(heartbeat.comment.is_some() && heartbeat.data.is_none(), "{heartbeat:?}");
        id = heartbeat.id.unwrap();
    }
    // A client that resumes from this cursor misses nothing.
    app.create("posts", json!({ "n": 1 })).await;
    let mut again = app.stream("/realtime/sse/posts?filters=%7B%22n%22%3A1%7D", Some(&end)).await;
    assert_eq!(again.next_event().await, stream.next_event().await);
    drop((stream, again));
    app.stop().await;
}

async fn resume_after_2000_changes_and_a_restart(database: Database) {
    let app = TestApp::start(database).await;
    app.post("/collections", json!({ "name": "posts" })).await;
    let mut live = app.stream("/realtime/sse/posts", None).await;
    let begin = live.opened().await;
    let write = async |writer: usize| {
        for n in 0..100 {
            app.create("posts", json!({ "writer": writer, "n": n })).await;
        }
    };
    let read = async {
        let mut blocks = Vec::new();
        while blocks.len() < 2000 {
            blocks.push(live.next_event().await);
        }
        blocks
    };
    let (_, seen) = tokio::join!(join_all((0..20).map(write)), read);

    // Stopping the server ends the open stream.
    let (app, end) = tokio::join!(app.restart(), live.try_next_block());
    assert_eq!(end, None);
    for from in [None, Some(0), Some(1000), Some(1900), Some(1998)] {
        let (cursor, rest) = match from {
            None => (&begin, &seen[..]),
            Some(place) => (seen[place].id.as_ref().unwrap(), &seen[place + 1..]),
        };
        let mut stream = app.stream("/realtime/sse/posts", Some(cursor)).await;
        for expected in rest {
            let (block, expected_json) = (stream.next_event().await, expected.json());
            assert_eq!((&block.id, block.json()), (&expected.id, expected_json), "from {from:?}");
        }
        let document = app.create("posts", json!({})).await;
        let id = document["id"].as_str().unwrap();
        // The documents of earlier iterations come first, because they are later than every cursor in the list.
        while stream.next_event().await.json()["document"]["id"] != id {}
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_2000_changes_and_a_restart_on_sqlite() {
    resume_after_2000_changes_and_a_restart(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_2000_changes_and_a_restart_on_postgres() {
    resume_after_2000_changes_and_a_restart(Database::Postgres).await;
}
