//! Group commit: writes that commit together stay independent. A failing write fails alone and leaves no hole in the log.

use std::collections::HashSet;

use futures_util::{FutureExt, StreamExt, future, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    Answer, SECRET_KEY, Sql, TestApp, list_all, on_both_databases, process, sequence_of, socket::PATIENCE,
};

/// The number of writes in a burst. More of them arrive while a batch commits than one batch takes.
const BURST: usize = 64;

/// Sends all requests at once and returns their answers in the same order.
async fn burst(requests: impl IntoIterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
    future::join_all(requests).await
}

fn status_count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Whether the machine was so slow that the writer gave up waiting for the test's own lock: after 5 s on SQLite. Such a batch is
/// not written.
fn was_too_slow(answers: &[Answer]) -> bool {
    status_count(answers, 503) > 0
}

/// Returns the sequences of the successful answers, in ascending order.
fn sequences(answers: &[Answer]) -> Vec<i64> {
    let successes = answers.iter().filter(|answer| answer.status.is_success());
    let mut sequences: Vec<_> = successes.map(|answer| sequence_of(answer.header("X-Cursor"))).collect();
    sequences.sort_unstable();
    sequences
}

/// Creates a collection with its first document and returns that document's sequence. A burst that follows then adds
/// entries for documents only.
async fn begin(app: &TestApp, sql: &mut Sql) -> i64 {
    let answer = app.put("/collections/posts/first", json!({ "n": 0 })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let sequences = sql.document_sequences().await;
    assert_eq!(sequences, [sequence_of(answer.header("X-Cursor"))]);
    sequences[0]
}

on_both_databases! {
    async fn a_write_that_breaks_a_precondition_or_a_limit_leaves_the_others_and_no_hole(app: &TestApp) {
        let mut sql = app.sql().await;
        app.put("/collections/posts/big", json!({ "text": "x".repeat(1_000_000) })).await;
        let before = sql.document_sequences().await.len() as i64 + 1; // plus the collection's entry

        let too_much = json!({ "more": "x".repeat(100_000) });
        let answers = burst((0..BURST).map(|n| async move {
            let request = match n % 4 {
                0 => app.request(Method::PUT, "/collections/posts/big").header("If-Match", "\"other\""),
                _ => app.request(Method::POST, "/collections/posts"),
            };
            app.send(request.json(&json!({ "n": n }))).await
        }.boxed()).chain((0..4).map(|_| app.patch("/collections/posts/big", too_much.clone()).boxed()))).await;

        assert_eq!(status_count(&answers, 412), BURST / 4);
        assert_eq!(status_count(&answers, 413), 4);
        assert_eq!(status_count(&answers, 201), BURST * 3 / 4);
        let expected: Vec<_> = (before + 1..=before + BURST as i64 * 3 / 4).collect();
        assert_eq!(sequences(&answers), expected);
        assert_eq!(sql.document_sequences().await[1..], expected);
        let big = app.get("/collections/posts/big").await;
        assert_eq!((big.data()["version"].as_u64(), &big.data()["data"]["more"]), (Some(1), &Value::Null));
    }

    async fn a_row_that_the_database_rejects_fails_only_its_own_request(app: &TestApp) {
        let mut sql = app.sql().await;
        let first = begin(app, &mut sql).await;
        sql.execute(&format!(
            "CREATE UNIQUE INDEX posts_by_email ON documents ({})",
            match &sql {
                Sql::Sqlite(_) => "json_extract(data, '$.email')",
                Sql::Postgres(_) => "(data ->> 'email')",
            }
        )).await;
        let taken = app.create("posts", json!({ "email": "taken" })).await;

        let answers = burst((0..BURST).map(|n| {
            let email = if n == BURST / 2 { "taken".to_owned() } else { format!("{n}") };
            app.post("/collections/posts", json!({ "email": email }))
        })).await;

        assert_eq!(status_count(&answers, 201), BURST - 1);
        assert_eq!(answers[BURST / 2].error(), (409, "CONFLICT"));
        let expected: Vec<_> = (first + 2..first + 1 + BURST as i64).collect();
        assert_eq!(sequences(&answers), expected);
        assert_eq!(sql.document_sequences().await[2..], expected);

        // Exactly one of two creations with an email succeeds, and an update is refused like a creation.
        let answers = burst((0..BURST).map(|n| app.post("/collections/posts", json!({ "email": format!("pair {}", n / 2) })))).await;
        assert_eq!((status_count(&answers, 201), status_count(&answers, 409)), (BURST / 2, BURST / 2));
        let path = format!("/collections/posts/{}", answers.iter().find(|answer| answer.status == 201).unwrap().data()["id"].as_str().unwrap());
        assert_eq!(app.patch(&path, json!({ "email": "taken" })).await.error(), (409, "CONFLICT"));
        // The email is free again once the document that had it is deleted.
        assert_eq!(app.delete(&format!("/collections/posts/{}", taken["id"].as_str().unwrap())).await.status, 200);
        assert_eq!(app.patch(&path, json!({ "email": "taken" })).await.status, 200);
    }

    async fn writes_to_one_document_are_serialised(app: &TestApp) {
        begin(app, &mut app.sql().await).await;

        let patches = burst((0..BURST).map(|n| app.patch("/collections/posts/first", json!({ format!("f{n}"): n })))).await;
        let versions: HashSet<_> = patches.iter().map(|answer| answer.data()["version"].as_u64().unwrap()).collect();
        assert_eq!(versions, (2..=BURST as u64 + 1).collect());
        let merged = app.get("/collections/posts/first").await;
        assert!((0..BURST).all(|n| merged.data()["data"][format!("f{n}")] == n), "an update was lost: {merged:?}");

        let puts = burst((0..BURST).map(|n| app.put("/collections/posts/first", json!({ "n": n })))).await;
        let last = puts.iter().max_by_key(|answer| answer.data()["version"].as_u64()).unwrap();
        assert_eq!(last.data()["version"], 2 * BURST + 1);
        assert_eq!(app.get("/collections/posts/first").await.data(), last.data());
    }

    async fn only_one_of_several_writes_that_expect_the_same_version_happens(app: &TestApp) {
        begin(app, &mut app.sql().await).await;
        let tag = app.get("/collections/posts/first").await.header("ETag").to_owned();
        let put = |n: usize, tag: String| {
            app.send(app.request(Method::PUT, "/collections/posts/first").header("If-Match", tag).json(&json!({ "n": n })))
        };

        let answers = burst((0..BURST).map(|n| put(n, tag.clone()))).await;
        assert_eq!((status_count(&answers, 200), status_count(&answers, 412)), (1, BURST - 1));
        assert!(answers.iter().filter(|answer| answer.status != 200).all(|answer| answer.error() == (412, "PRECONDITION_FAILED")));

        // A counter that clients increment with `If-Match` and retries loses no step.
        app.put("/collections/posts/first", json!({ "n": 0 })).await;
        future::join_all((0..8).map(|_| async {
            for _ in 0..8 {
                loop {
                    let read = app.get("/collections/posts/first").await;
                    let next = read.data()["data"]["n"].as_u64().unwrap() + 1;
                    if put(next as usize, read.header("ETag").to_owned()).await.status == 200 {
                        break;
                    }
                }
            }
        })).await;
        let read = app.get("/collections/posts/first").await;
        assert_eq!((&read.data()["data"]["n"], &read.data()["version"]), (&json!(64), &json!(67)));
    }

    async fn each_project_of_a_burst_has_a_log_of_its_own(app: &TestApp) {
        let mut keys = vec![SECRET_KEY.to_owned()];
        for name in ["second", "third"] {
            let output = process::command(&["projects", "create", name, "--open"]).env("DATABASE_URL", &app.config.database_url).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            keys.push(text.split_whitespace().find(|word| word.starts_with("sk_")).unwrap().to_owned());
        }

        let post = async |n: usize| {
            let request = app.request_as(&keys[n % 3], Method::POST, "/collections/posts");
            app.send(request.json(&json!({ "n": n }))).await
        };
        let answers = burst((0..3 * BURST).map(post)).await;

        for (project, key) in keys.iter().enumerate() {
            let mut own: Vec<_> = answers.iter().skip(project).step_by(3).map(|answer| sequence_of(answer.header("X-Cursor"))).collect();
            own.sort_unstable();
            assert_eq!(own, (2..=BURST as i64 + 1).collect::<Vec<_>>(), "sequence 1 is the collection's entry");
            let list = app.send(app.request_as(key, Method::GET, "/collections/posts?limit=1000")).await;
            let numbers: HashSet<_> = list.data().as_array().unwrap().iter().map(|document| document["data"]["n"].as_u64().unwrap() as usize).collect();
            assert_eq!(numbers, (project..3 * BURST).step_by(3).collect());
        }
    }

    async fn a_collection_created_and_changed_in_one_transaction_has_its_last_state_in_the_database(app: &TestApp) {
        let mut sql = app.sql().await;
        begin(app, &mut sql).await;
        let send = async |method: Method, path: String, body: Value| app.send(app.request(method, &path).json(&body)).await;
        let (mut removed, mut renamed, mut made, mut round) = (0, 0, 0, 0);
        // Timing decides which writes share a batch, and a change that overtakes its creation gets a 404. So the rounds repeat
        // until a rename and a removal have succeeded.
        while removed == 0 || renamed == 0 {
            assert!(round < 50, "no batch had a creation and a later change of the same collection");
            sql.lock().await;
            let writes = (0..24).flat_map(|n| {
                let (made, brief) = (format!("made{round}-{n}"), format!("brief{round}-{n}"));
                let rename = format!("/collections/{made}/settings");
                [
                    send(Method::POST, "/collections".to_owned(), json!({ "name": made })).boxed(),
                    send(Method::PATCH, rename, json!({ "name": format!("renamed{round}-{n}") })).boxed(),
                    send(Method::POST, "/collections".to_owned(), json!({ "name": brief })).boxed(),
                    send(Method::DELETE, format!("/collections/{brief}"), json!(null)).boxed(),
                ]
            });
            let (answers, ()) = future::join(burst(writes), async {
                // By the time of this answer, most of the earlier requests are waiting for the writer.
                app.get("/collections/posts/first").await;
                sql.unlock().await;
            }).await;
            round += 1;
            if was_too_slow(&answers) {
                continue;
            }
            assert!(answers.iter().step_by(2).all(|made| made.status == 201), "{answers:?}");
            removed += answers.chunks(4).filter(|group| group[3].status == 200).count();
            renamed += answers.chunks(4).filter(|group| group[1].status == 200).count();
            made += 48;
        }

        let known = app.get("/collections").await;
        let listed = known.data().as_array().unwrap().len();
        // Of a round that was too slow, nobody knows.
        assert!(listed >= 1 + made - removed && (listed == 1 + made - removed || made < 48 * round), "{listed}");
        let other = app.start_second_node().await;
        assert_eq!(other.get("/collections").await.data(), known.data());
        other.stop().await;
    }

    async fn many_changes_of_a_large_document_are_not_held_in_memory_at_once(app: &TestApp) {
        // The document is 300 KB of text and 10 MB once it is parsed, so the 32 MiB of a batch take at most four changes of it.
        app.put("/collections/posts/large", json!({ "list": vec![1; 150_000] })).await;
        let mut sql = app.sql().await;
        let mut changes = 1;
        loop {
            sql.lock().await;
            let patches = burst((0..16).map(|n| app.patch("/collections/posts/large", json!({ "n": n }))));
            let (answers, ()) = future::join(patches, async {
                // By the time of this answer, the earlier requests are waiting for the writer.
                app.get("/collections/posts/large").await;
                sql.unlock().await;
            }).await;
            changes += status_count(&answers, 200) as i64;
            if !was_too_slow(&answers) {
                assert_eq!(status_count(&answers, 200), 16, "{answers:?}");
                break;
            }
        }

        // All changes of a batch have the same time, so each group is one batch.
        let batches = sql.integers("SELECT COUNT(*) FROM changes WHERE collection_id IS NOT NULL GROUP BY at").await;
        assert_eq!(batches.iter().sum::<i64>(), changes);
        assert!(batches.iter().all(|count| *count <= 4), "{batches:?}");
    }

    // All of them come from one address, and a busy server has not read who they are yet.
    async fn a_flood_gets_503_and_every_acknowledged_write_is_stored(app: &TestApp, |config| config.limits.unauthenticated = Some(4096)) {
        let mut sql = app.sql().await;
        begin(app, &mut sql).await;
        sql.lock().await;

        // While the database is locked, 64 MiB of writes may wait, in addition to the batch that is being written. Each
        // request is sent before the next one begins, because one HTTP client per request would be too slow.
        let body = json!({ "text": "x".repeat(60_000) }).to_string();
        let address = app.url.strip_prefix("http://").unwrap();
        let mut flood = FuturesUnordered::new();
        for n in 0..1400 {
            let head = format!(
                "PUT /collections/posts/{n} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET_KEY}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(head.as_bytes()).await.unwrap();
            connection.write_all(body.as_bytes()).await.unwrap();
            flood.push(async move {
                let mut answer = String::new();
                connection.read_to_string(&mut answer).await.unwrap();
                (n, answer)
            });
        }
        let (mut acknowledged, mut is_locked, mut is_held_back) = (HashSet::from(["first".to_owned()]), true, false);
        while let Some((n, answer)) = tokio::time::timeout(PATIENCE, flood.next()).await.expect("a write hangs") {
            if answer.starts_with("HTTP/1.1 201 ") {
                acknowledged.insert(n.to_string());
            } else {
                assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("OVERLOADED"), "{answer}");
                assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
                is_held_back |= answer.contains("too many writes are waiting; try again");
            }
            // The lock is kept until then, because on a busy machine the first writes time out before the queue is full.
            if is_held_back && std::mem::take(&mut is_locked) {
                sql.unlock().await;
            }
        }

        assert!(is_held_back, "the queue was never full, although {} writes were acknowledged", acknowledged.len());
        let there: HashSet<_> = list_all(&app.http, &app.url, "posts").await.into_keys().collect();
        assert_eq!(there, acknowledged);
        assert_eq!(app.put("/collections/posts/after", json!({})).await.status, 201);
    }
}
