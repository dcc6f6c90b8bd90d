//! Declares indexes and waits for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::TestApp;

/// How long an index may take to build on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Declares exactly these indexes on a collection, waits until none is being built, and returns them.
pub async fn declare(app: &TestApp, collection: &str, indexes: Value) -> Vec<Value> {
    let path = format!("/collections/{collection}/settings");
    let answer = app.patch(&path, json!({ "indexes": indexes })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    settled(app, collection).await
}

/// Waits until none of a collection's indexes is being built, and returns them.
pub async fn settled(app: &TestApp, collection: &str) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let answer = app.get(&format!("/collections/{collection}/settings")).await;
        if answer.status == 503 {
            // A test may have cut the database off, from which the settings are read.
            assert!(begun.elapsed() < LIMIT, "{answer:?}");
            continue;
        }
        let indexes = answer.data()["indexes"].as_array().unwrap().clone();
        if indexes.iter().all(|index| index["state"] != "building") {
            return indexes;
        }
        assert!(begun.elapsed() < LIMIT, "still being built: {indexes:?}");
    }
}
