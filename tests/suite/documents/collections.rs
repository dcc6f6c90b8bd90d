//! Collections: create, list, rename, remove.

use std::time::{Duration, Instant};

use coir::store::{Db, Durability, Lane, collections::catalog::Catalogs, log::ends};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::harness::{Database, PUBLISHABLE_KEY, TestApp, on_both_databases};

async fn names(app: &TestApp) -> Vec<String> {
    let answer = app.get("/collections").await;
    let collections = answer.data().as_array().unwrap();
    collections.iter().map(|collection| collection["name"].as_str().unwrap().to_owned()).collect()
}

/// Counts the document rows in the database, over all collections.
async fn count_rows(app: &TestApp) -> i64 {
    let db = sea_orm::Database::connect(&*app.config.database_url).await.unwrap();
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
            ("an unknown member", json!({ "name": "drafts", "policies": {} })),
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

    async fn collections_are_listed_page_by_page(app: &TestApp) {
        for name in ["d", "B", "a", "C", "e"] {
            app.create(name, json!({})).await;
        }
        let page = async |parameters: &str| {
            let answer = app.get(&format!("/collections{parameters}")).await;
            let names: Vec<_> = answer.data().as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
            (names.concat(), answer.body["nextCursor"].as_str().map(str::to_owned))
        };
        assert_eq!(page("").await, ("BCade".to_owned(), None));
        assert_eq!(page("?limit=5").await, ("BCade".to_owned(), None));
        let (names, next) = page("?limit=2").await;
        assert_eq!(names, "BC");
        // The next page begins behind the last name, whether or not it is still there.
        app.delete("/collections/C").await;
        app.create("D", json!({})).await;
        let (names, next) = page(&format!("?limit=2&after={}", next.unwrap())).await;
        assert_eq!(names, "Da");
        assert_eq!(page(&format!("?limit=2&after={}", next.unwrap())).await, ("de".to_owned(), None));
        for (parameters, code) in [("limit=0", "INVALID_FILTER"), ("limit=1001", "INVALID_FILTER"), ("after=%C3%A9", "INVALID_CURSOR"), ("after=YSBi", "INVALID_CURSOR")] {
            assert_eq!(app.get(&format!("/collections?{parameters}")).await.error(), (400, code), "{parameters}");
        }
        // The client libraries know no pages.
        let names = async |parameters: &str| {
            let answer = app.get(&format!("/collections/{parameters}")).await;
            answer.body.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<String>()
        };
        assert_eq!(names("").await, "BDade");
        assert_eq!(names("?limit=2&offset=1").await, "Da");
    }

    async fn a_new_collection_costs_the_same_however_many_there_are(app: &TestApp) {
        let begun = Instant::now();
        for part in 0..10 {
            let create = |n| json!({ "op": "create", "collection": format!("c{part}x{n}"), "data": {} });
            let operations: Vec<_> = (0..999).map(create).collect();
            let (written, other) = tokio::join!(
                app.post("/transactions", json!({ "operations": operations })),
                app.put("/collections/other/a", json!({})),
            );
            assert!(written.status == 200 && other.status.is_success(), "{written:?} {other:?}");
        }
        // A copy of all collections for each new one takes minutes in a debug build.
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let over = app.post("/transactions", json!({ "operations": (0..10).map(|n| json!({ "op": "create", "collection": format!("y{n}"), "data": {} })).collect::<Vec<_>>() })).await;
        assert_eq!(over.error(), (409, "CONFLICT"));
        assert_eq!(app.get("/collections/y0").await.error(), (404, "INVALID_COLLECTION"), "a transaction is all or nothing");

        // After a restart, everyone who waits for the collections gets the same read.
        let db = Db::connect(&app.config.database_url, Durability::Full, Duration::from_secs(60)).await.unwrap();
        let project = db.read(Lane::Point, |db| async move { ends::list(&db).await }).await.unwrap().ends[0].project.clone();
        let catalogs = Catalogs::new(db.clone());
        let all = futures_util::future::join_all((0..32).map(|_| catalogs.get(&project))).await;
        let first = all[0].as_ref().unwrap();
        assert_eq!(first.count(), 9991);
        assert!(all.iter().all(|other| std::sync::Arc::ptr_eq(first, other.as_ref().unwrap())));
        db.close().await;
    }
}

async fn refuse_too_many(database: Database) {
    let app = TestApp::start_with(database, |config| config.limits.collections = 2).await;
    app.create("a", json!({})).await;
    assert_eq!(app.post("/collections", json!({ "name": "b" })).await.status, 201);
    for (why, method, path, body) in [
        ("by itself", Method::POST, "/collections", json!({ "name": "c" })),
        ("by the first write", Method::POST, "/collections/c", json!({})),
        ("with an id", Method::PUT, "/collections/c/a", json!({})),
        ("in a batch", Method::POST, "/collections/c/batch", json!({ "documents": [{}] })),
        ("by a client library", Method::POST, "/collections/c/documents", json!({ "data": {} })),
    ] {
        let refused = app.send(app.request_as(PUBLISHABLE_KEY, method, path).json(&body)).await;
        assert_eq!(refused.status, 409, "{why}: {refused:?}");
    }
    app.create("a", json!({})).await;
    assert_eq!(app.patch("/collections/b/settings", json!({ "name": "c" })).await.status, 200);
    assert_eq!(app.delete("/collections/c").await.status, 200);
    app.create("d", json!({})).await;
    assert_eq!(names(&app).await, ["a", "d"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_a_bounded_number_of_collections_on_sqlite() {
    refuse_too_many(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_a_bounded_number_of_collections_on_postgres() {
    refuse_too_many(Database::Postgres).await;
}
