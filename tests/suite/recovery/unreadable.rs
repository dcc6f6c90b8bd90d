//! Entries of the change log that this version can't read: a control entry of a newer node, or a row that is garbled. They
//! concern those who need them, and nobody else.

use std::time::{Duration, Instant};

use coir::{
    api::error::{ApiError, ErrorCode},
    store::{Db, Durability, Lane},
};
use serde_json::json;

use crate::harness::{Sql, TestApp, TestStream, on_both_databases, process};

const PATIENCE: Duration = Duration::from_secs(20);

/// Appends an entry to the log of the project `default`, as another node would. `control` is the text of a control entry, and
/// `document` a collection's id with an image that can't be read.
async fn append(sql: &mut Sql, control: Option<&str>, document: Option<&str>) {
    let quoted = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    let (control_text, collection) = (quoted(control), quoted(document));
    let (id, image) = match document {
        Some(_) => ("'garbled'", "'{\"version\":'"),
        None => ("NULL", "NULL"),
    };
    let moved = if control.is_some() { "control = head + 1, control_at = head_at + 1, " } else { "" };
    sql.execute(&format!(
        "BEGIN; \
         INSERT INTO changes (project_id, sequence, at, size, collection_id, document_id, before, after, control) \
         SELECT project_id, head + 1, head_at + 1, 400, {collection}, {id}, NULL, {image}, {control_text} FROM heads \
         WHERE project_id = (SELECT id FROM projects WHERE name = 'default'); \
         UPDATE heads SET {moved}bytes = bytes + 100, head = head + 1, head_at = head_at + 1 \
         WHERE project_id = (SELECT id FROM projects WHERE name = 'default'); \
         COMMIT"
    ))
    .await;
}

/// Creates another project, and returns its secret key.
async fn create_project(app: &TestApp) -> String {
    let mut command = process::command(&["projects", "create", "other", "--open"]);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split_whitespace().find(|word| word.starts_with("sk_")).unwrap().to_owned()
}

async fn open(app: &TestApp, key: &str, collection: &str) -> TestStream {
    let request = app.request_as(key, reqwest::Method::GET, &format!("/realtime/sse/{collection}"));
    let mut stream = TestStream::open(request).await;
    stream.opened().await;
    stream
}

async fn create_as(app: &TestApp, key: &str, collection: &str, n: u64) {
    let request = app.request_as(key, reqwest::Method::POST, &format!("/collections/{collection}"));
    let answer = app.send(request.json(&json!({ "n": n }))).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Expects the event of a document with this number, and nothing before it.
async fn expect_event(stream: &mut TestStream, n: u64) {
    let event = tokio::time::timeout(PATIENCE, stream.next_event()).await;
    let event = event.unwrap_or_else(|_| panic!("no event of document {n}")).json();
    assert_eq!(event["document"]["data"]["n"], n, "{event}");
}

on_both_databases! {
    async fn a_control_entry_of_a_newer_node_makes_caches_stale_and_stops_no_stream(app: &TestApp) {
        let key = crate::harness::SECRET_KEY;
        let other = create_project(app).await;
        create_as(app, key, "posts", 0).await;
        create_as(app, &other, "posts", 0).await;
        let mut streams = [open(app, key, "posts").await, open(app, &other, "posts").await];
        let mut sql = app.sql().await;
        for (round, entry) in [r#"{"type":"sharded","count":3}"#, "not JSON at all"].into_iter().enumerate() {
            // The newer node has done something that this one knows nothing about, such as this.
            let name = format!("renamed{round}");
            let default = "(SELECT id FROM projects WHERE name = ''default'')".replace("''", "'");
            sql.execute(&format!("UPDATE collections SET name = '{name}' WHERE name <> '_users' AND project_id = {default}")).await;
            append(&mut sql, Some(entry), None).await;
            let n = round as u64 + 1;
            create_as(app, &other, "posts", n).await;
            expect_event(&mut streams[1], n).await;
            let begun = Instant::now();
            while app.get(&format!("/collections/{name}")).await.status != 200 {
                assert!(begun.elapsed() < PATIENCE, "the collections are not read anew");
            }
            create_as(app, key, &name, n).await;
            expect_event(&mut streams[0], n).await;
        }
    }

    async fn an_entry_that_can_not_be_read_is_told_to_its_own_subscribers_only(app: &TestApp) {
        let key = crate::harness::SECRET_KEY;
        let other = create_project(app).await;
        create_as(app, key, "posts", 0).await;
        create_as(app, key, "comments", 0).await;
        create_as(app, &other, "posts", 0).await;
        let mut posts = open(app, key, "posts").await;
        let mut comments = open(app, key, "comments").await;
        let mut elsewhere = open(app, &other, "posts").await;
        let mut socket = app.socket().await;
        socket.subscribe_named("all", "posts", json!({})).await;
        let mut sql = app.sql().await;
        let ids = sql.texts(
            "SELECT c.id FROM collections AS c JOIN projects AS p ON p.id = c.project_id \
             WHERE p.name = 'default' AND c.name = 'posts'",
        );
        let id = ids.await.remove(0);
        // Two in a row are one gap.
        append(&mut sql, None, Some(&id)).await;
        append(&mut sql, None, Some(&id)).await;
        create_as(app, key, "comments", 1).await;
        create_as(app, &other, "posts", 1).await;
        create_as(app, key, "posts", 1).await;
        expect_event(&mut comments, 1).await;
        expect_event(&mut elsewhere, 1).await;

        let resync = tokio::time::timeout(PATIENCE, posts.next_event()).await.expect("nobody tells of the gap");
        assert_eq!(resync.event.as_deref(), Some("resync"), "{resync:?}");
        assert_eq!(resync.json()["code"], "CURSOR_EXPIRED");
        expect_event(&mut posts, 1).await;
        assert_eq!(socket.next().await["type"], "resync");
        // Who comes back with a cursor from before is told as well, and the streams go on.
        create_as(app, key, "posts", 2).await;
        expect_event(&mut posts, 2).await;
        let snapshot = app.get("/collections/posts").await;
        assert_eq!(snapshot.data().as_array().unwrap().len(), 3);
    }
}

on_both_databases! {
    async fn a_read_that_panics_is_a_fault_of_the_server_and_stops_no_other(app: &TestApp) {
        let url = &app.config.database_url;
        let db = Db::connect(url, Durability::Full, Duration::from_secs(10)).await.unwrap();
        let panics = |_| async { if true { panic!("as asked") } else { Ok(()) } };
        for _ in 0..20 {
            let err = db.read(Lane::Point, panics).await.unwrap_err();
            assert!(err.to_string().contains("panicked"), "{err}");
            assert_eq!(ApiError::from(err).code, ErrorCode::Internal);
        }
        let works = db.read(Lane::Point, |_| async { Ok(7) }).await;
        assert_eq!(works.unwrap(), 7);
        db.close().await;
    }
}
