//! Keys that are shown only once are shown, also if nobody hears that the database has committed them.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::harness::{
    Database, SilentProxy, Sql, fresh_database,
    process::{self, Process},
};

const NOTICE: Duration = Duration::from_secs(60);

/// A database whose tables are there, and in which a commit that adds a row to `table` waits for a lock.
async fn database(table: &str, is_empty: bool) -> (SilentProxy, String, Sql) {
    let (direct, _) = fresh_database(Database::Postgres).await;
    let mut migrate = process::command(&["migrate"]);
    migrate.env("DATABASE_URL", &direct);
    assert!(migrate.output().unwrap().status.success());
    let mut sql = Sql::connect(&direct).await;
    if is_empty {
        sql.execute("DELETE FROM heads; DELETE FROM audit; DELETE FROM api_keys; DELETE FROM collections; DELETE FROM projects")
            .await;
    }
    sql.execute(&format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION wait(); \
         SELECT pg_advisory_lock(1)"
    ))
    .await;
    let (proxy, url) = SilentProxy::before(&direct).await;
    (proxy, url, sql)
}

/// Lets the commit that waits happen, and loses its answer.
async fn lose_the_answer(proxy: &SilentProxy, sql: &mut Sql, table: &str) {
    let count = format!("SELECT COUNT(*) FROM {table}");
    let before = sql.integers(&count).await[0];
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let begun = Instant::now();
    while sql.integers(waiting).await[0] == 0 {
        assert!(begun.elapsed() < NOTICE, "nothing waits for the lock");
        // A transaction sees the same activity all the time otherwise.
        sql.execute("SELECT pg_stat_clear_snapshot()").await;
    }
    proxy.silence_answers();
    sql.execute("SELECT pg_advisory_unlock(1)").await;
    while sql.integers(&count).await[0] == before {
        assert!(begun.elapsed() < NOTICE, "nothing is committed");
    }
    proxy.cut();
    proxy.resume();
}

/// The command without the keys that tests give.
fn command(arguments: &[&str], url: &str) -> Command {
    let mut command = process::command(arguments);
    command.env_remove("COIR_API_KEY").env_remove("COIR_PUBLISHABLE_KEY").env("DATABASE_URL", url);
    command
}

/// Checks that a text shows each key of a project.
async fn has_keys(text: &str, url: &str, project: &str) {
    let mut sql = Sql::connect(url).await;
    let mut keys: Vec<_> = text
        .split_whitespace()
        .filter(|word| word.len() > 30 && (word.starts_with("pk_") || word.starts_with("sk_")))
        .map(|key| key.chars().take(11).collect::<String>())
        .collect();
    keys.sort();
    keys.dedup();
    let mut stored = sql
        .texts(&format!(
            "SELECT prefix FROM api_keys WHERE project_id = (SELECT id FROM projects WHERE name = '{project}')"
        ))
        .await;
    stored.sort();
    assert!(!keys.is_empty());
    assert_eq!(keys, stored, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_shows_its_keys_also_if_the_answer_to_the_commit_is_lost() {
    let (proxy, url, mut sql) = database("projects", true).await;
    let serve = command(&["serve"], &url);
    let start = tokio::task::spawn_blocking(move || Process::spawn_in_directory(serve));
    lose_the_answer(&proxy, &mut sql, "projects").await;
    let server = tokio::time::timeout(NOTICE, start).await.expect("the keys are not shown").unwrap();
    has_keys(&server.welcome, &url, "default").await;
    // They work.
    let key = server.welcome.split_whitespace().find(|word| word.starts_with("sk_")).unwrap();
    let list = reqwest::Client::new().get(format!("{}/collections", server.url)).bearer_auth(key);
    assert_eq!(list.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_shows_what_it_has_made_also_if_the_answer_to_the_commit_is_lost() {
    for (arguments, table) in [
        (&["projects", "create", "acme"][..], "projects"),
        (&["keys", "create", "secret"], "api_keys"),
        (&["migrate"], "projects"),
    ] {
        let (proxy, url, mut sql) = database(table, arguments[0] == "migrate").await;
        if arguments[0] == "keys" {
            sql.execute("ALTER TABLE api_keys DISABLE TRIGGER wait; DELETE FROM api_keys; ALTER TABLE api_keys ENABLE TRIGGER wait").await;
        }
        let mut run = command(arguments, &url);
        let output = tokio::task::spawn_blocking(move || run.output().unwrap());
        lose_the_answer(&proxy, &mut sql, table).await;
        let output = output.await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        has_keys(&printed, &url, if arguments[0] == "projects" { "acme" } else { "default" }).await;
    }
}
