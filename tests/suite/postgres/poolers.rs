//! PgBouncer in front of PostgreSQL: session mode works, and the other modes are refused by name.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{TestApp, app::config, pgbouncer::PgBouncer, postgres, process};

async fn start(pool_mode: &'static str, settings: &'static str) -> PgBouncer {
    let start = move || PgBouncer::start(&postgres::database_url(), pool_mode, settings);
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Returns what a server that does not start says.
fn refusal(mut command: Command) -> String {
    let output = command.env("COIR_LISTEN", "127.0.0.1:0").stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "it starts");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_works_and_keeps_the_settings() {
    let pooler = start("session", "").await;
    let app = TestApp::start_on(config(&pooler.url()), None).await;
    assert_eq!(app.durability(), "durability full (PostgreSQL synchronous_commit=on)");
    app.create("posts", json!({ "n": 0 })).await;
    let mut stream = app.stream("/realtime/sse/posts", None).await;
    stream.opened().await;
    let document = app.create("posts", json!({ "n": 1 })).await;
    assert_eq!(stream.next_event().await.json()["document"]["id"], document["id"]);
    assert_eq!(app.get("/collections/posts").await.data().as_array().unwrap().len(), 2);
    drop(stream);
    // The driver of the tests sends a setting with the start of a connection, which the pooler refuses.
    app.stop_without_looking().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_another_mode_is_refused_by_name() {
    for (mode, settings) in [
        ("transaction", ""),
        ("transaction", "server_round_robin = 1"),
        ("transaction", "ignore_startup_parameters = options,extra_float_digits"),
        ("statement", ""),
    ] {
        let pooler = start(mode, settings).await;
        let mut command = process::command(&["serve"]);
        command.env("DATABASE_URL", pooler.url());
        let said = tokio::task::spawn_blocking(move || refusal(command)).await.unwrap();
        assert!(said.contains("pool_mode = session"), "{mode}, {settings}: {said}");
    }
}
