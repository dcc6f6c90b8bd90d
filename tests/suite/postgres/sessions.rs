//! The settings of the server's sessions, whatever those of the database are.

use std::time::Duration;

use coir::store::{Db, Durability, Lane};
use sea_orm::ConnectionTrait;

use crate::harness::{Database, Sql, TestApp, postgres};

/// Reads a setting in a session of a lane.
async fn setting(db: &Db, lane: Lane, name: &'static str) -> String {
    let read = move |db: coir::store::ReadConnection| async move {
        let sql = format!("SELECT current_setting('{name}')");
        let row =
            db.query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql)).await?;
        Ok(row.unwrap().try_get_by_index::<String>(0)?)
    };
    db.read(lane, read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_do_not_change_how_sessions_work() {
    let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let mut sql = Sql::connect(&url).await;
    for setting in [
        "jit = on",
        "statement_timeout = '1h'",
        "lock_timeout = '1ms'",
        "default_transaction_isolation = 'serializable'",
        "synchronous_commit = off",
        "extra_float_digits = 0",
    ] {
        sql.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let db = Db::connect(&url, Durability::Full, Duration::from_secs(7)).await.unwrap();
    assert_eq!(db.durability_report().await.unwrap(), "durability full (PostgreSQL synchronous_commit=on)");
    for (lane, scans) in [
        (Lane::Point, "on"),
        (Lane::Relay, "on"),
        (Lane::Scan, "off"),
        (Lane::Stream, "off"),
        (Lane::Index, "off"),
    ] {
        for (name, value) in [
            ("jit", "off"),
            ("statement_timeout", "7s"),
            ("lock_timeout", "0"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "on"),
            ("extra_float_digits", "1"),
            ("enable_seqscan", scans),
        ] {
            assert_eq!(setting(&db, lane, name).await, value, "{lane:?}: {name}");
        }
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stronger_durability_of_the_database_stays_unless_normal_is_asked_for() {
    for (stored, durability, report) in [
        ("remote_apply", Durability::Full, "durability full (PostgreSQL synchronous_commit=remote_apply)"),
        ("on", Durability::Full, "durability full (PostgreSQL synchronous_commit=on)"),
        ("local", Durability::Full, "durability full (PostgreSQL synchronous_commit=on)"),
        ("off", Durability::Full, "durability full (PostgreSQL synchronous_commit=on)"),
        ("on", Durability::Normal, "durability normal (PostgreSQL synchronous_commit=off)"),
    ] {
        let url = tokio::task::spawn_blocking(postgres::database_url).await.unwrap();
        let name = url.rsplit('/').next().unwrap();
        let mut sql = Sql::connect(&url).await;
        sql.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = {stored}")).await;
        let db = Db::connect(&url, durability, Duration::from_secs(7)).await.unwrap();
        assert_eq!(db.durability_report().await.unwrap(), report, "{stored}, {durability:?}");
        db.close().await;
    }
}

/// A statement that was prepared before a column got another type is prepared anew.
#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_fail_when_a_table_is_altered() {
    let app = TestApp::start(Database::Postgres).await;
    let document = app.create("posts", serde_json::json!({ "n": 1 })).await;
    let path = format!("/collections/posts/{}", document["id"].as_str().unwrap());
    for length in [200, 300, 400] {
        assert_eq!(app.get(&path).await.status, 200);
        assert_eq!(app.patch(&path, serde_json::json!({ "n": length })).await.status, 200);
        let sql = format!("ALTER TABLE documents ALTER COLUMN id TYPE varchar({length}) COLLATE \"C\"");
        app.sql().await.execute(&sql).await;
        for _ in 0..3 {
            assert_eq!(app.get(&path).await.status, 200, "{length}");
            assert_eq!(app.get("/collections/posts").await.status, 200, "{length}");
            let patched = app.patch(&path, serde_json::json!({ "n": 1 })).await;
            assert_eq!(patched.status, 200, "{length}: {patched:?}");
        }
    }
    app.stop().await;
}

/// A session that the server ended is replaced, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_fail_when_an_administrator_ends_all_sessions() {
    let app = TestApp::start(Database::Postgres).await;
    let document = app.create("posts", serde_json::json!({ "n": 1 })).await;
    let path = format!("/collections/posts/{}", document["id"].as_str().unwrap());
    let mut sql = app.sql().await;
    for round in 0..5 {
        sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'coir'",
        )
        .await;
        assert_eq!(app.get(&path).await.status, 200, "round {round}");
        assert_eq!(app.get("/collections/posts").await.status, 200, "round {round}");
        app.create("posts", serde_json::json!({ "n": round })).await;
    }
    app.stop().await;
}
