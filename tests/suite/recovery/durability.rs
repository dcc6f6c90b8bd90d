//! The durability settings of the writer's database connection. `tests/trace-fsync` shows that the server waits for the disk
//! before it answers; `crash.rs` shows that no acknowledged write is lost.

use coir::store::Durability;
use serde_json::json;

use crate::harness::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_waits_for_the_disk_unless_durability_is_normal() {
    for (database, durability, report) in [
        (Database::Sqlite, None, "durability full (SQLite synchronous=FULL)"),
        (Database::Sqlite, Some(Durability::Normal), "durability normal (SQLite synchronous=NORMAL)"),
        (Database::Postgres, None, "durability full (PostgreSQL synchronous_commit=on)"),
        (
            Database::Postgres,
            Some(Durability::Normal),
            "durability normal (PostgreSQL synchronous_commit=off)",
        ),
    ] {
        let app = TestApp::start_with(database, |config| {
            if let Some(durability) = durability {
                config.durability = durability;
            }
        })
        .await;
        assert_eq!(app.durability(), report, "{database:?}, {durability:?}");
        app.create("posts", json!({ "title": "Hello" })).await;
        app.stop().await;
    }
}
