//! Collections: create, list, rename, remove.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use reqwest::Method;
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};

use crate::harness::{PUBLISHABLE_KEY, TestApp, on_both_databases};

async fn names(app: &TestApp) -> Vec<String> {
    let answer = app.get("/collections").await;
    let collections = answer.data().as_array().unwrap();
    collections.iter().map(|collection| collection["name"].as_str().unwrap().to_owned()).collect()
}

/// Counts the document rows in the database, over all collections.
async fn count_rows(app: &TestApp) -> i64 {
    let db = Database::connect(&app.config.database_url).await.unwrap();
    let statement = Statement::from_string(db.get_database_backend(), "SELECT COUNT(*) FROM documents");
    let count = db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    db.close().await.unwrap();
    count
}

on_both_databases! {
    async fn a_collection_is_created_once_and_listed_by_name(app: &TestApp) {
        assert_eq!(names(app).await, Vec::<String>::new());
        let made = app.post("/collections", json!({ "name": "posts" })).await;
        assert_eq!(made.status, 201);
        assert_eq!(made.data()["name"], "posts");
        assert!(!made.header("x-cursor").is_empty());
        let (id, moment) = (made.data()["id"].as_str().unwrap(), made.data()["createdAt"].as_str().unwrap());
        assert!(moment.len() == 24 && moment.ends_with('Z'), "{moment}");

        assert_eq!(app.post("/collections", json!({ "name": "posts" })).await.error(), (409, "CONFLICT"));
        // Names are case-sensitive.
        assert_eq!(app.post("/collections", json!({ "name": "Posts" })).await.status, 201);
        app.create("authors", json!({})).await;
        assert_eq!(names(app).await, ["Posts", "authors", "posts"]);
        assert_eq!(app.get("/collections/posts").await.data(), &json!([]));
        for name_or_id in ["posts", id] {
            assert_eq!(app.get(&format!("/collections/{name_or_id}/settings")).await.data(), made.data());
        }
        assert_eq!(app.get("/collections/none/settings").await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn an_invalid_collection_name_is_refused_everywhere(app: &TestApp) {
        app.create("posts", json!({})).await;
        for (why, name) in [
            ("empty", String::new()),
            ("begins with a digit", "1posts".to_owned()),
            ("begins with an underscore", "_posts".to_owned()),
            ("a space", "my posts".to_owned()),
            ("a dot", "my.posts".to_owned()),
            ("a slash", "my/posts".to_owned()),
            ("not ASCII", "pösts".to_owned()),
            ("65 characters", "a".repeat(65)),
            ("a path of the API", "documents".to_owned()),
            ("another path of the API", "file".to_owned()),
            ("the form of an id", "b1a4e6f0-0000-7000-8000-000000000000".to_owned()),
            ("NUL", "po\u{0}sts".to_owned()),
        ] {
            let body = json!({ "name": name });
            assert_eq!(app.post("/collections", body.clone()).await.error(), (400, "INVALID_COLLECTION"), "{why}");
            let renamed = app.patch("/collections/posts/settings", body).await;
            assert_eq!(renamed.error(), (400, "INVALID_COLLECTION"), "{why}: rename");
            // `documents` and `file` are paths of the client libraries' API.
            if !name.is_empty() && !["documents", "file"].contains(&&*name) {
                let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
                let written = app.post(&format!("/collections/{encoded}"), json!({})).await;
                assert_eq!(written.error(), (400, "INVALID_COLLECTION"), "{why}: first write");
                let read = app.get(&format!("/collections/{encoded}")).await;
                assert_eq!(read.error(), (404, "INVALID_COLLECTION"), "{why}: read");
            }
        }
        assert_eq!(app.post("/collections", json!({ "name": "a".repeat(64) })).await.status, 201);
        assert_eq!(names(app).await.len(), 2);
    }

    async fn a_body_that_is_not_understood_changes_nothing(app: &TestApp) {
        app.create("posts", json!({})).await;
        for (why, body) in [
            ("an unknown member", json!({ "name": "drafts", "rules": {} })),
            ("a misspelt member", json!({ "Name": "drafts" })),
            ("a missing name", json!({})),
            ("a number instead of a name", json!({ "name": 7 })),
            ("null instead of a name", json!({ "name": null })),
            ("a list", json!(["drafts"])),
            ("a string", json!("drafts")),
        ] {
            assert_eq!(app.post("/collections", body.clone()).await.error(), (400, "INVALID_BODY"), "{why}");
            let changed = app.patch("/collections/posts/settings", body).await;
            assert_eq!(changed.error(), (400, "INVALID_BODY"), "{why}: change");
        }
        assert_eq!(names(app).await, ["posts"]);
    }

    async fn a_renamed_collection_keeps_its_documents_and_frees_its_name(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "n": 1 })).await;
        app.create("taken", json!({})).await;
        let settings = app.get("/collections/posts/settings").await.data().clone();
        let id = settings["id"].as_str().unwrap();

        let taken = app.patch("/collections/posts/settings", json!({ "name": "taken" })).await;
        assert_eq!(taken.error(), (409, "CONFLICT"));
        let renamed = app.patch("/collections/posts/settings", json!({ "name": "articles" })).await;
        assert_eq!(renamed.status, 200);
        assert_eq!((&renamed.data()["id"], &renamed.data()["name"]), (&settings["id"], &json!("articles")));

        for name_or_id in ["articles", id] {
            let read = app.get(&format!("/collections/{name_or_id}/a")).await;
            assert_eq!((&read.data()["data"], &read.data()["collection"]), (&json!({ "n": 1 }), &json!("articles")));
            assert_eq!(app.patch(&format!("/collections/{name_or_id}/a"), json!({ "n": 1 })).await.status, 200);
        }
        assert_eq!(app.get("/collections/posts").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.get("/collections/posts/a").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(names(app).await, ["articles", "taken"]);

        // The old name is free for another collection, which is empty.
        app.create("posts", json!({})).await;
        assert_eq!(app.get("/collections/posts/a").await.error(), (404, "DOCUMENT_NOT_FOUND"));
        let again = app.patch("/collections/articles/settings", json!({ "name": "articles" })).await;
        assert_eq!(again.status, 200, "a collection's own name is not a conflict");
        let missing = app.patch("/collections/none/settings", json!({ "name": "some" })).await;
        assert_eq!(missing.error(), (404, "INVALID_COLLECTION"));
    }

    async fn a_removed_collection_is_gone_and_its_name_is_free(app: &TestApp) {
        app.put("/collections/posts/a", json!({ "old": true })).await;
        app.put("/collections/kept/a", json!({})).await;
        let id = app.get("/collections/posts/settings").await.data()["id"].as_str().unwrap().to_owned();
        let old_tag = app.get("/collections/posts/a").await.header("etag").to_owned();

        let removed = app.delete("/collections/posts").await;
        assert_eq!(removed.status, 200);
        assert!(!removed.header("x-cursor").is_empty());
        for path in ["/collections/posts", "/collections/posts/a", "/collections/posts/settings"] {
            assert_eq!(app.get(path).await.error(), (404, "INVALID_COLLECTION"), "{path}");
        }
        assert_eq!(app.get(&format!("/collections/{id}/a")).await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.delete("/collections/posts").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(names(app).await, ["kept"]);

        assert_eq!(app.post("/collections", json!({ "name": "posts" })).await.status, 201);
        assert_eq!(app.get("/collections/posts").await.data(), &json!([]));
        assert_eq!(app.get("/collections/posts/a").await.error(), (404, "DOCUMENT_NOT_FOUND"));
        let again = app.put("/collections/posts/a", json!({})).await;
        assert_eq!((again.status.as_u16(), &again.data()["version"]), (201, &json!(1)));
        assert_ne!(again.header("etag"), old_tag);
        assert_eq!(app.get("/collections/kept/a").await.status, 200);
    }

    async fn only_a_secret_key_renames_and_removes(app: &TestApp) {
        app.create("posts", json!({})).await;
        let ask = |method: Method, path: &str, body: Value| {
            app.send(app.request_as(PUBLISHABLE_KEY, method, path).json(&body))
        };
        let rename = ask(Method::PATCH, "/collections/posts/settings", json!({ "name": "mine" })).await;
        assert_eq!(rename.error(), (403, "FORBIDDEN"));
        assert_eq!(ask(Method::DELETE, "/collections/posts", json!({})).await.error(), (403, "FORBIDDEN"));
        // A key that may not remove collections gets 403 for a missing one too, so it can't learn which collections exist.
        assert_eq!(ask(Method::DELETE, "/collections/none", json!({})).await.error(), (403, "FORBIDDEN"));
        assert_eq!(names(app).await, ["posts"]);
        assert_eq!(ask(Method::POST, "/collections", json!({ "name": "made" })).await.status, 201);
        assert_eq!(ask(Method::GET, "/collections/made/settings", Value::Null).await.status, 200);
    }

    async fn the_rows_of_a_removed_collection_go_in_the_background(app: &TestApp) {
        // These are more rows than a sweep deletes.
        let writes = (0..1100).map(|n| app.create("posts", json!({ "n": n })));
        stream::iter(writes).buffer_unordered(64).for_each(|_| async {}).await;
        app.create("kept", json!({})).await;
        assert_eq!(count_rows(app).await, 1101);

        app.delete("/collections/posts").await;
        let begun = Instant::now();
        while count_rows(app).await > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} rows are left", count_rows(app).await);
        }
        assert_eq!(app.get("/collections/kept").await.data().as_array().unwrap().len(), 1);
    }
}
