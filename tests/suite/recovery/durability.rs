//! What a 2xx answer to a write is worth (P1): the settings of the writer's connection. That the disk is waited for
//! before the answer shows `tests/trace-fsync`; that nothing acknowledged is lost, `crash.rs`.

use coir::store::Durability;
use serde_json::json;

use crate::harness::{Database, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_waited_for_unless_the_settings_say_otherwise() {
    for (database, durability, report) in [
        (Database::Sqlite, None, "synchronous = 2"),
        (Database::Sqlite, Some(Durability::Normal), "synchronous = 1"),
        (Database::Postgres, None, "synchronous_commit = on"),
        (Database::Postgres, Some(Durability::Normal), "synchronous_commit = off"),
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
