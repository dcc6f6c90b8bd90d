//! Databases of other versions: older ones are migrated, however large they are and whoever starts at the same time, and newer
//! ones are refused.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use coir::{app, auth::keys::hash_key};
use migration::{Migrator, MigratorTrait};
use reqwest::Client;
use serde_json::json;

use crate::harness::{
    Database, SECRET_KEY, Sql, TestApp, app::config, dice::setting, on_both_databases, postgres,
    process::Process,
};

/// The steps of the version before orphans were looked for. A release must be able to migrate from it.
const STEPS_BEFORE: u32 = 8;
/// How long a start may take on a busy machine, beside what the test holds it up for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a write may take before PostgreSQL ends it. A step of a migration may take longer.
const LONGEST_WRITE: Duration = Duration::from_secs(11);

/// Makes a database with the schema of the earlier version.
async fn migrate_to_before(url: &str) {
    let url = if url.starts_with("sqlite:") { format!("{url}?mode=rwc") } else { url.to_owned() };
    let db = sea_orm::Database::connect(url).await.unwrap();
    Migrator::up(&db, Some(STEPS_BEFORE)).await.unwrap();
    db.close().await.unwrap();
}

/// Fills it with one collection of `count` documents, their log and some results of idempotency keys, and with documents whose
/// collection is gone.
async fn fill(sql: &mut Sql, count: usize) {
    let (numbers, json) = match sql {
        Sql::Sqlite(_) => (
            format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count})"),
            "jsonb",
        ),
        Sql::Postgres(_) => (format!("WITH n AS (SELECT n FROM generate_series(1, {count}) AS n)"), "CAST"),
    };
    let data = |text: &str| match json {
        "jsonb" => format!("jsonb({text})"),
        _ => format!("CAST({text} AS JSONB)"),
    };
    let documents = |collection: &str, condition: &str| {
        format!(
            "INSERT INTO documents (collection_id, id, size, created_at, updated_at, version, data) {numbers} \
             SELECT '{collection}', 'd' || n, 100, n, n, 1, {} FROM n WHERE {condition};",
            data("'{\"n\":' || n || '}'")
        )
    };
    let (hash, head) = (hash_key(SECRET_KEY), count + 1);
    sql.execute(&format!(
        "INSERT INTO projects (id, name, created_at) VALUES ('p', 'default', 1);
         INSERT INTO api_keys (id, project_id, kind, prefix, hash, created_at) VALUES ('k', 'p', 'secret', 'sk_01234', '{hash}', 1);
         INSERT INTO collections (id, project_id, name, created_at) VALUES ('posts-id', 'p', 'posts', 1);
         INSERT INTO changes (project_id, sequence, at, size, control)
             VALUES ('p', 1, 1, 300, '{{\"type\":\"collectionCreated\",\"collection\":\"posts-id\",\"name\":\"posts\"}}');
         INSERT INTO changes (project_id, sequence, at, size, collection_id, document_id, after) {numbers}
             SELECT 'p', n + 1, n, 400, 'posts-id', 'd' || n,
                    '{{\"createdAt\":' || n || ',\"updatedAt\":' || n || ',\"version\":1,\"data\":{{\"n\":' || n || '}}}}' FROM n;
         INSERT INTO heads (project_id, epoch, head, head_at, floor, floor_at, control, bytes)
             VALUES ('p', '00000000000000aa', {head}, {count}, 0, 0, 1, {bytes});
         INSERT INTO idempotency (project_id, caller, key, request, outcome, created_at) {numbers}
             SELECT 'p', 'k', 'i' || n, 'r', 'o', 1 FROM n;",
        bytes = head * 200,
    ))
    .await;
    sql.execute(&documents("posts-id", "TRUE")).await;
    sql.execute(&documents("gone-1", "n <= 1000")).await;
    sql.execute(&documents("gone-2", "n <= 10")).await;
}

/// Starts a server in a thread of its own, with its log in a file.
fn start(url: &str, log: &Path) -> tokio::task::JoinHandle<Process> {
    let (url, log) = (url.to_owned(), File::create(log).unwrap());
    tokio::task::spawn_blocking(move || Process::start_logged(&url, log))
}

async fn logged(log: &Path, text: &str) {
    let begun = Instant::now();
    while !fs::read_to_string(log).unwrap().contains(text) {
        assert!(begun.elapsed() < LIMIT, "the log does not say `{text}`: {:?}", fs::read_to_string(log));
        tokio::task::yield_now().await;
    }
}

async fn upgrade(url: &str, directory: &Path) {
    let count = setting("COIR_TEST_UPGRADE_DOCUMENTS", 30_000);
    migrate_to_before(url).await;
    let mut sql = Sql::connect(url).await;
    fill(&mut sql, count).await;
    let begun = Instant::now();
    let logs = ["one", "two"].map(|name| directory.join(name));
    let (one, two) = tokio::join!(start(url, &logs[0]), start(url, &logs[1]));
    eprintln!("both nodes serve {count} documents of the earlier version after {:?}", begun.elapsed());
    let nodes = [one.unwrap(), two.unwrap()];
    let http = Client::new();
    for (n, node) in nodes.iter().enumerate() {
        let url = format!("{}/collections/posts", node.url);
        let counted = http.get(format!("{url}/query/count")).bearer_auth(SECRET_KEY).send().await.unwrap();
        let counted: serde_json::Value = counted.json().await.unwrap();
        assert_eq!(counted["data"]["count"], count + n, "{counted}");
        let written = http.post(url).bearer_auth(SECRET_KEY).json(&json!({ "n": 0 })).send().await.unwrap();
        assert_eq!(written.status(), 201);
    }
    // The documents whose collection is gone are deleted in the background.
    let orphans = "SELECT COUNT(*) FROM documents WHERE collection_id LIKE 'gone-%'";
    let begun = Instant::now();
    while sql.integers(orphans).await[0] > 0 {
        assert!(
            begun.elapsed() < LIMIT,
            "{:?} documents without a collection are left",
            sql.integers(orphans).await
        );
    }
    assert_eq!(sql.integers("SELECT COUNT(*) FROM documents").await, [count as i64 + 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_a_large_database_serves_on_two_nodes_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    upgrade(&url, directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_a_large_database_serves_on_two_nodes_on_postgres() {
    let directory = tempfile::tempdir().unwrap();
    let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
    upgrade(&url, directory.path()).await;
}

on_both_databases! {
    async fn a_database_of_a_newer_version_is_refused(app: &TestApp) {
        let step = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_fly', 1)";
        app.sql().await.execute(step).await;
        let Err(refused) = app::start(app.config.clone()).await else { panic!("it has started") };
        let message = refused.to_string();
        assert!(message.contains("newer version of Coir") && message.contains("m20990101_000001_fly"), "{message}");
    }
}

/// The number of the lock is the same in every version.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_another_process_that_migrates_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
    let mut other = Sql::connect(&url).await;
    other.execute(&format!("SELECT pg_advisory_lock({})", 0x0043_4f49_5221_i64)).await;
    let log = directory.path().join("log");
    let starting = start(&url, &log);
    logged(&log, "another process migrates the database").await;
    assert!(!starting.is_finished());
    other.execute(&format!("SELECT pg_advisory_unlock({})", 0x0043_4f49_5221_i64)).await;
    let node = starting.await.unwrap();
    let written = Client::new().post(format!("{}/collections/posts", node.url)).bearer_auth(SECRET_KEY);
    assert_eq!(written.json(&json!({})).send().await.unwrap().status(), 201);
}

/// A dump reads a table for as long as it takes. A step that changes the table waits, and nobody waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_longer_than_a_write_may_take_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
    migrate_to_before(&url).await;
    let (mut dump, mut writer) = (Sql::connect(&url).await, Sql::connect(&url).await);
    fill(&mut writer, 10).await;
    dump.execute("BEGIN; LOCK TABLE heads IN ACCESS SHARE MODE").await;
    let log = directory.path().join("log");
    let starting = start(&url, &log);
    logged(&log, "another session reads a table").await;
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_WRITE {
        let asked = Instant::now();
        writer.execute("UPDATE heads SET head_at = head_at + 1").await;
        assert!(asked.elapsed() < Duration::from_secs(3), "a write took {:?}", asked.elapsed());
        assert!(!starting.is_finished());
    }
    dump.execute("ROLLBACK").await;
    starting.await.unwrap();
}

/// A start that finds nothing to do asks for no lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_beside_one_that_holds_the_lock_if_there_is_nothing_to_migrate() {
    let app = TestApp::start(Database::Postgres).await;
    let mut other = app.sql().await;
    other.execute(&format!("SELECT pg_advisory_lock({})", 0x0043_4f49_5221_i64)).await;
    TestApp::start_on(config(&app.config.database_url), None).await.stop().await;
    app.stop().await;
}
