//! Documents over REST.

use serde_json::json;

use crate::harness::on_both_databases;

on_both_databases! {
    async fn a_document_reads_back_as_it_was_written(app: &TestApp) {
        let created = app.create("posts", json!({ "title": "Hello", "n": 1.5, "nested": { "a": [1, null, "x"] } })).await;
        assert_eq!(created["collection"], "posts");
        assert_eq!(created["version"], 1);
        assert_eq!(created["createdAt"], created["updatedAt"]);

        let read = app.get(&format!("/collections/posts/{}", created["id"].as_str().unwrap())).await;
        assert_eq!(read.data(), &created);
    }
}
