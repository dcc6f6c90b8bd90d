//! `coir verify` follows a collection through disconnects. It exits with success if its view stays correct, and reports
//! each divergence if it does not.

use std::{
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{SECRET_KEY, TestApp, on_both_databases, postgres, process, process::Process};

async fn verify(url: &str, arguments: &[&str]) -> Output {
    let all = [&["verify", "--url", url], arguments].concat();
    let mut command = process::command(&all);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The summary that `coir verify` prints at its end. Each number stands before its word, as in `12 events`.
struct Summary(String);

impl Summary {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(" comparisons"), "{text} {}", String::from_utf8_lossy(&output.stderr));
        Self(text)
    }

    fn number(&self, word: &str) -> u64 {
        let before = self.0.split(&format!(" {word}")).next().unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{word}: {}", self.0))
    }
}

/// Asserts that the command exited with status 1 and printed an error that contains all of `words`.
fn assert_refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "the error must contain {words:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Creates, updates and deletes documents until `stop` is set.
async fn write(app: &TestApp, writer: usize, stop: &AtomicBool) {
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = format!("/collections/posts/{writer}-{}", n % 20);
        match n % 7 {
            6 => drop(app.delete(&path).await),
            _ => drop(
                app.put(
                    &path,
                    json!({ "writer": writer, "n": n, "status": if n % 2 == 0 { "a" } else { "b" } }),
                )
                .await,
            ),
        }
    }
}

on_both_databases! {
    async fn verify_follows_a_busy_collection_through_disconnects(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let stop = AtomicBool::new(false);
        let verifying = async {
            let all: [&[&str]; 3] = [&[], &["--filter", r#"{"status":"a"}"#], &["--filter", "status=b&n__gte=3"]];
            let run = |filter: &[&str]| {
                let (url, arguments) = (app.url.clone(), [&["--collection", "posts", "--for", "4s"], filter].concat());
                let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
                async move { verify(&url, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
            };
            let outputs = join_all(all.into_iter().map(run)).await;
            stop.store(true, Ordering::Relaxed);
            outputs
        };
        let (outputs, _) = tokio::join!(verifying, join_all((0..3).map(|writer| write(app, writer, &stop))));
        for output in outputs {
            assert!(output.status.success(), "{output:?}");
            let summary = Summary::of(&output);
            for word in ["events", "reconnects", "comparisons"] {
                assert!(summary.number(word) > 0, "{word}: {}", summary.0);
            }
            assert_eq!(summary.number("divergences"), 0);
        }
    }

    async fn verify_reports_a_wrong_view_as_a_divergence_and_exits_with_status_1(app: &TestApp) {
        for n in 0..3 {
            app.put(&format!("/collections/posts/{n}"), json!({ "n": n })).await;
        }
        let following = verify(&app.url, &["--collection", "posts", "--for", "3s"]);
        let tampering = async {
            // This edit bypasses the change log, so the list shows it and no stream can.
            let mut sql = app.sql().await;
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
                sql.execute("UPDATE documents SET created_at = created_at + 1000 WHERE id = '1'").await;
                app.put("/collections/posts/2", json!({})).await;
            }
        };
        let output = tokio::select! { output = following => output, () = tampering => unreachable!() };
        assert_refused(&output, &["divergence:", "1 different (1)", "the view was wrong"]);
        assert!(Summary::of(&output).number("divergences") > 0);
    }

    async fn verify_compares_a_collection_of_several_pages_with_another_snapshot(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let writes = (0..1100).map(|n| async move { app.create("posts", json!({ "n": n })).await });
        futures_util::StreamExt::collect::<Vec<_>>(futures_util::StreamExt::buffer_unordered(
            futures_util::stream::iter(writes), 32,
        )).await;
        let output = verify(&app.url, &["--collection", "posts", "--for", "2s"]).await;
        assert!(output.status.success(), "{output:?}");
        let summary = Summary::of(&output);
        assert_eq!((summary.number("documents"), summary.number("divergences")), (1100, 0));
        assert!(summary.number("comparisons") > 1);
    }

    async fn a_sentence_says_why_verify_cannot_follow(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let refused = verify("http://127.0.0.1:1", &["--collection", "posts"]).await;
        assert_refused(&refused, &["can't be reached", "Is it running?"]);
        let refused = verify("nowhere", &["--collection", "posts"]).await;
        assert_refused(&refused, &["`nowhere` is not the URL of a server"]);
        let refused = verify(&app.url, &["--collection", "none"]).await;
        assert_refused(&refused, &["INVALID_COLLECTION"]);
        let refused = verify(&app.url, &["--collection", "posts", "--filter", r#"{"n":{"#]).await;
        assert_refused(&refused, &["INVALID_FILTER"]);
        let refused = verify(&app.url, &["--collection", "posts", "--key", "sk_00000000000000000000"]).await;
        assert_refused(&refused, &["UNAUTHORIZED"]);
        let refused = verify(&app.url, &["--collection", "posts", "--for", "soon"]).await;
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("60s, 5m or 2h"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_continues_after_the_server_was_killed_and_restarted() {
    let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
    let start = |listen: String| {
        let url = url.clone();
        async move { tokio::task::spawn_blocking(move || Process::start(&url, &listen)).await.unwrap() }
    };
    let mut server = start("127.0.0.1:0".to_owned()).await;
    let (base, http) = (server.url.clone(), reqwest::Client::new());
    let address = base.strip_prefix("http://").unwrap().to_owned();
    let create = async |n: usize| {
        let path = format!("{base}/collections/posts/{n}");
        http.put(path).bearer_auth(SECRET_KEY).json(&json!({ "n": n })).send().await.unwrap().status()
    };
    assert!(create(0).await.is_success());
    let verifying = verify(&base, &["--collection", "posts", "--for", "6s"]);
    let killing = async {
        for round in 1..4 {
            for n in 0..30 {
                assert!(create(round * 30 + n).await.is_success());
            }
            server.kill();
            server = start(address.clone()).await;
        }
        server
    };
    let (output, _server) = tokio::join!(verifying, killing);
    assert!(output.status.success(), "{output:?}");
    let summary = Summary::of(&output);
    assert_eq!(summary.number("divergences"), 0);
    assert!(summary.number("reconnects") > 0 && summary.number("comparisons") > 0, "{}", summary.0);
}
