//! Declared indexes: valid declarations, building in the background, and the writes that a unique index refuses.

use std::time::{Duration, Instant};

use futures_util::future;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Database, PUBLISHABLE_KEY, TestApp,
    indexes::{declare, settled},
    on_both_databases, postgres, process,
};

fn states(indexes: &[Value]) -> Vec<&str> {
    indexes.iter().map(|index| index["state"].as_str().unwrap()).collect()
}

/// Counts the indexes in the database that belong to declared indexes.
async fn count_in_database(app: &TestApp) -> i64 {
    let mut sql = app.sql().await;
    let text = match sql {
        crate::harness::Sql::Sqlite(_) => {
            "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'index' AND name LIKE 'coir!_%' ESCAPE '!'"
        }
        crate::harness::Sql::Postgres(_) => {
            "SELECT COUNT(*) FROM pg_class WHERE relkind = 'i' AND relname LIKE 'coir!_%' ESCAPE '!'"
        }
    };
    sql.integers(text).await[0]
}

/// Waits until the database has `count` indexes that belong to declared indexes.
async fn has_in_database(app: &TestApp, count: i64) {
    let begun = Instant::now();
    while count_in_database(app).await != count {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the database has {}",
            count_in_database(app).await
        );
    }
}

on_both_databases! {
    async fn declared_indexes_are_shown_with_their_state(app: &TestApp) {
        let body = json!({ "name": "posts", "indexes": [{ "fields": ["status", "-createdAt"] }] });
        let answer = app.post("/collections", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        assert_eq!(answer.data()["indexes"][0]["fields"], json!(["status", "-createdAt"]));
        let indexes = settled(app, "posts").await;
        assert_eq!(states(&indexes), ["ready"]);
        assert_eq!(indexes[0]["unique"], false);
        let name = indexes[0]["name"].as_str().unwrap();

        let both = json!([{ "fields": ["email"], "unique": true }, { "fields": ["status", "-createdAt"] }]);
        let indexes = declare(app, "posts", both).await;
        assert_eq!(states(&indexes), ["ready", "ready"]);
        assert!(indexes.iter().any(|index| index["name"] == name), "an index that was declared before keeps its name");
        has_in_database(app, 3).await;

        let answer = app.patch("/collections/posts/settings", json!({ "name": "articles" })).await;
        assert_eq!(answer.data()["indexes"].as_array().unwrap().len(), 2, "a change of another setting keeps the indexes");
        let indexes = declare(app, "articles", json!([])).await;
        assert_eq!(indexes.len(), 0, "an index that is left out is dropped");
        has_in_database(app, 0).await;
    }

    async fn indexes_of_a_removed_collection_go_with_it(app: &TestApp) {
        app.create("posts", json!({ "a": 1 })).await;
        declare(app, "posts", json!([{ "fields": ["a"] }, { "fields": ["b"], "unique": true }])).await;
        has_in_database(app, 3).await;
        assert_eq!(app.delete("/collections/posts").await.status, 200);
        has_in_database(app, 0).await;
        app.create("posts", json!({ "a": 1 })).await;
        assert_eq!(settled(app, "posts").await.len(), 0);
    }

    async fn a_bad_declaration_is_refused_with_a_sentence(app: &TestApp) {
        app.create("posts", json!({ "a": 1 })).await;
        let many: Vec<_> = (0..17).map(|n| json!({ "fields": [format!("f{n}")] })).collect();
        let fields: Vec<_> = (0..9).map(|n| format!("f{n}")).collect();
        for indexes in [
            json!([{ "fields": [] }]),
            json!([{ "fields": [""] }]),
            json!([{ "fields": ["a", "a"] }]),
            json!([{ "fields": ["a"] }, { "fields": ["data.a"] }]),
            json!([{ "fields": ["id"] }]),
            json!([{ "fields": fields }]),
            json!([{ "fields": "a" }]),
            json!([{ "fields": ["a"], "unique": "yes" }]),
            json!([{ "fields": ["a"], "type": "hash" }]),
            json!([{}]),
            json!("a"),
            json!(many),
        ] {
            let answer = app.patch("/collections/posts/settings", json!({ "indexes": indexes })).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{indexes}");
            let answer = app.post("/collections", json!({ "name": "others", "indexes": indexes })).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{indexes}");
        }
        let body = json!({ "indexes": [{ "fields": ["a"] }] });
        let request = app.request_as(PUBLISHABLE_KEY, Method::PATCH, "/collections/posts/settings");
        assert_eq!(app.send(request.json(&body)).await.error(), (403, "FORBIDDEN"));
        let body = json!({ "name": "others", "indexes": [{ "fields": ["a"] }] });
        let request = app.request_as(PUBLISHABLE_KEY, Method::POST, "/collections");
        assert_eq!(app.send(request.json(&body)).await.error(), (403, "FORBIDDEN"));
        let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/posts/settings");
        assert!(app.send(request).await.data().get("indexes").is_none());
    }

    async fn names_of_fields_are_never_sql(app: &TestApp) {
        let names = [
            "a'b", "a\"b", "a`b", "a?1", "a$1", "b$2", "?", "a;DROP TABLE documents;--", "a\\\\b", "é😀", "a b", "{}", "a)",
            "--", "/*", "a''b",
        ];
        let document: serde_json::Map<_, _> = names.iter().map(|name| (name.replace("\\\\", "\\"), json!("x"))).collect();
        app.create("posts", Value::Object(document)).await;
        let indexes: Vec<_> = names.iter().map(|name| json!({ "fields": [name, format!("-x.{name}.0")] })).collect();
        let indexes = declare(app, "posts", json!(indexes)).await;
        for (index, name) in indexes.iter().zip(names) {
            // Only `--` begins with a minus among these names. It declares the field `-`, descending.
            assert_eq!(index["state"], "ready", "{index}");
            let filter = json!({ (format!("data.{name}")): "x" }).to_string();
            let answer = app.get(&crate::harness::path_with("/collections/posts", &[("filters", &filter)])).await;
            assert_eq!(answer.data().as_array().unwrap().len(), 1, "{name}: {answer:?}");
        }
    }

    async fn a_unique_index_refuses_only_duplicates(app: &TestApp) {
        app.create("people", json!({ "email": "a@x", "team": 1 })).await;
        declare(app, "people", json!([{ "fields": ["email", "team"], "unique": true }])).await;
        for data in [
            json!({ "email": "a@x", "team": 2 }),
            json!({ "email": "A@x", "team": 1 }),
            json!({ "email": "a@x", "team": "1" }),
            json!({ "email": "a@x" }),
            json!({ "email": "a@x" }),
            json!({ "email": "a@x", "team": null }),
            json!({ "email": "a@x", "team": [1] }),
            json!({ "email": "a@x", "team": [1] }),
            json!({}),
            json!({}),
        ] {
            let answer = app.post("/collections/people", data.clone()).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{data}: {answer:?}");
        }
        let doubled = json!({ "email": "a@x", "team": 1.0 });
        let answer = app.post("/collections/people", doubled.clone()).await;
        assert_eq!(answer.error(), (409, "CONFLICT"));
        let name = settled(app, "people").await[0]["name"].clone();
        assert_eq!(answer.body["error"]["details"], json!({ "index": name, "fields": ["email", "team"] }));
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("email") && message.contains(name.as_str().unwrap()), "{message}");

        let other = app.create("people", json!({ "email": "b@x", "team": 1 })).await;
        let path = format!("/collections/people/{}", other["id"].as_str().unwrap());
        assert_eq!(app.patch(&path, json!({ "email": "a@x" })).await.error(), (409, "CONFLICT"));
        assert_eq!(app.put(&path, doubled.clone()).await.error(), (409, "CONFLICT"));
        assert_eq!(app.get(&path).await.data()["data"]["email"], "b@x");
        let answer = app.post("/collections/other", doubled.clone()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "another collection does not have the index");
        declare(app, "people", json!([])).await;
        has_in_database(app, 0).await;
        assert_eq!(app.post("/collections/people", doubled).await.status, StatusCode::CREATED);
    }

    async fn a_unique_index_admits_one_of_many_concurrent_duplicates(app: &TestApp) {
        app.create("people", json!({ "email": "first" })).await;
        declare(app, "people", json!([{ "fields": ["email"], "unique": true }])).await;
        for round in 0..5 {
            let create = |n: usize| app.post("/collections/people", json!({ "email": format!("e{round}"), "n": n }));
            let answers = future::join_all((0..64).map(create)).await;
            let created = answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count();
            assert_eq!(created, 1);
            for answer in answers.iter().filter(|answer| answer.status != StatusCode::CREATED) {
                assert_eq!(answer.error(), (409, "CONFLICT"));
            }
        }
    }

    async fn only_the_violator_of_a_unique_index_fails(app: &TestApp) {
        app.create("people", json!({ "email": "taken" })).await;
        declare(app, "people", json!([{ "fields": ["email"], "unique": true }])).await;
        let create = async |n: usize| {
            for round in 0..5 {
                let email = if n == 0 { "taken".to_owned() } else { format!("{n}-{round}") };
                let answer = app.post("/collections/people", json!({ "email": email })).await;
                let expected = if n == 0 { StatusCode::CONFLICT } else { StatusCode::CREATED };
                assert_eq!(answer.status, expected, "{n}: {answer:?}");
            }
        };
        future::join_all((0..32).map(create)).await;
        let sequences = app.sql().await.document_sequences().await;
        assert_eq!(sequences.len(), 1 + 31 * 5);
    }

    async fn an_index_that_cannot_be_built_says_why(app: &TestApp) {
        for n in 0..3 {
            app.create("posts", json!({ "slug": "same", "n": n })).await;
        }
        let long = app.create("posts", json!({ "slug": "x".repeat(1025), "n": 3 })).await;
        let declared = json!([{ "fields": ["slug"], "unique": true }, { "fields": ["n"] }]);
        let indexes = declare(app, "posts", declared.clone()).await;
        assert_eq!(states(&indexes), ["failed", "ready"]);
        let id = long["id"].as_str().unwrap();
        let why = indexes[0]["error"].as_str().unwrap();
        assert!(why.contains(id) && why.contains("slug") && why.contains("1025"), "{why}");

        assert_eq!(app.delete(&format!("/collections/posts/{id}")).await.status, 200);
        let indexes = declare(app, "posts", declared.clone()).await;
        let why = indexes[0]["error"].as_str().unwrap();
        assert!(why.contains("3 documents") && why.contains("\"same\""), "{why}");
        has_in_database(app, 1).await;
        let answer = app.post("/collections/posts", json!({ "slug": "same" })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "an index that failed refuses nothing: {answer:?}");

        let list = app.get("/collections/posts?slug=same").await;
        for document in &list.data().as_array().unwrap()[1..] {
            app.delete(&format!("/collections/posts/{}", document["id"].as_str().unwrap())).await;
        }
        assert_eq!(states(&declare(app, "posts", declared).await), ["ready", "ready"], "the index is built once the duplicates are deleted");
    }

    async fn a_string_that_is_too_long_is_refused_where_it_is_indexed(app: &TestApp) {
        let id = app.create("posts", json!({ "a": { "b": "x" } })).await["id"].as_str().unwrap().to_owned();
        declare(app, "posts", json!([{ "fields": ["a.b", "c/d", "e"] }])).await;
        let fits = json!({ "a": { "b": "é".repeat(512) }, "c/d": "x".repeat(1024), "e": ["x".repeat(5000)] });
        assert_eq!(app.post("/collections/posts", fits).await.status, StatusCode::CREATED);
        let path = format!("/collections/posts/{id}");
        for (answer, pointer) in [
            (app.post("/collections/posts", json!({ "a": { "b": "é".repeat(513) } })).await, "/a/b"),
            (app.put(&path, json!({ "c/d": "x".repeat(1025) })).await, "/c~1d"),
            (app.patch(&path, json!({ "e": "x".repeat(1025) })).await, "/e"),
            (
                app.post(
                    "/collections/posts",
                    json!({ "a": { "b": "x".repeat(1000) }, "c/d": "x".repeat(1000), "e": "x".repeat(49) }),
                )
                .await,
                "/e",
            ),
        ] {
            assert_eq!(answer.error(), (422, "SCHEMA_VIOLATION"));
            assert_eq!(answer.body["error"]["details"][0]["pointer"], pointer);
        }
        let long = json!({ "other": "x".repeat(5000) });
        assert_eq!(app.post("/collections/posts", long).await.status, StatusCode::CREATED);
    }

    async fn the_longest_indexed_strings_fit(app: &TestApp) {
        let fields: Vec<_> = (0..8).map(|n| format!("f{n}")).collect();
        declare_on_new(app, json!([{ "fields": fields }, { "fields": ["f0", "f1"], "unique": true }])).await;
        // Random text does not compress, so an index entry has its full length. The numbers have the longest spellings.
        let mut seed = 7_u64;
        let mut text = |length: usize| -> String {
            (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(33 + u8::try_from((seed >> 33) % 94).unwrap())
                })
                .collect()
        };
        let documents = [
            json!({ "f0": text(1024), "f1": text(1024) }),
            json!({ "f0": text(1024), "f1": text(512), "f2": text(512), "f3": 1.797_693_134_862_315_7e308,
                    "f4": 5e-324, "f5": i64::MIN, "f6": -1.234_567_890_123_456_7e-300, "f7": true }),
            json!({ "f0": text(256), "f1": text(256), "f2": text(256), "f3": text(256), "f4": text(256),
                    "f5": text(256), "f6": text(256), "f7": text(256) }),
        ];
        for document in documents {
            let answer = app.post("/collections/posts", document).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        }
    }

    async fn an_index_build_blocks_neither_writes_nor_lists(app: &TestApp) {
        let done = std::sync::atomic::AtomicBool::new(false);
        let write = async |writer: usize| {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || n < 20 {
                let answer = app.post("/collections/posts", json!({ "writer": writer, "n": n })).await;
                assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
                let path = format!("/collections/posts?writer={writer}&orderBy=n&limit=1000");
                let answer = app.get(&path).await;
                let found = answer.data().as_array().unwrap().len();
                assert_eq!(found, n.min(999) + 1, "{answer:?}");
                n += 1;
            }
        };
        let declare_all = async {
            app.create("posts", json!({ "writer": 99, "n": 0 })).await;
            for round in 0..4 {
                let indexes = declare(app, "posts", json!([{ "fields": ["writer", "n"], "unique": round % 2 == 0 }])).await;
                assert_eq!(states(&indexes), ["ready"]);
                assert_eq!(declare(app, "posts", json!([])).await.len(), 0);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        future::join(future::join_all((0..3).map(write)), declare_all).await;
        has_in_database(app, 0).await;
    }

    async fn a_database_declares_a_bounded_number_of_indexes(app: &TestApp) {
        let list = |name: &str| json!((0..16).map(|n| json!({ "fields": [format!("{name}{n}")] })).collect::<Vec<_>>());
        for collection in ["a", "b", "c", "d"] {
            let body = json!({ "name": collection, "indexes": list(collection) });
            assert_eq!(app.post("/collections", body).await.status, StatusCode::CREATED);
        }
        let one = json!({ "name": "e", "indexes": [{ "fields": ["x"] }] });
        let answer = app.post("/collections", one.clone()).await;
        assert_eq!(answer.error(), (409, "CONFLICT"));
        assert_eq!(app.get("/collections/e/settings").await.status, 404, "the collection was not created");
        let mut others = list("a").as_array().unwrap().clone();
        others[3] = json!({ "fields": ["another"] });
        assert_eq!(app.patch("/collections/a/settings", json!({ "indexes": others })).await.status, 200, "an index may take the place of another");
        assert_eq!(app.patch("/collections/b/settings", json!({ "indexes": [] })).await.status, 200);
        assert_eq!(app.post("/collections", one).await.status, StatusCode::CREATED);
    }

    async fn another_node_knows_of_an_index(app: &TestApp) {
        let other = app.start_second_node().await;
        app.create("people", json!({ "email": "a" })).await;
        declare(app, "people", json!([{ "fields": ["email"], "unique": true }])).await;
        let answer = other.post("/collections/people", json!({ "email": "a" })).await;
        assert_eq!(answer.error(), (409, "CONFLICT"));
        assert_eq!(answer.body["error"]["details"]["fields"], json!(["email"]));
        let answer = other.post("/collections/people", json!({ "email": "x".repeat(2000) })).await;
        assert_eq!(answer.error(), (422, "SCHEMA_VIOLATION"));
        // The second node can declare an index as well.
        declare(&other, "people", json!([{ "fields": ["n"] }])).await;
        other.stop().await;
    }
}

async fn declare_on_new(app: &TestApp, indexes: Value) {
    let answer = app.post("/collections", json!({ "name": "posts", "indexes": indexes })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let indexes = settled(app, "posts").await;
    assert!(indexes.iter().all(|index| index["state"] == "ready"), "{indexes:?}");
}

/// Kills a server while it builds indexes, at another moment each time. The next start must build them to the end.
async fn an_index_build_continues_after_a_kill(database: Database) {
    let directory = tempfile::tempdir().unwrap();
    let url = match database {
        Database::Sqlite => format!("sqlite://{}", directory.path().join("coir.db").display()),
        Database::Postgres => tokio::task::spawn_blocking(postgres::database_url).await.unwrap(),
    };
    let app = TestApp::start_on(crate::harness::app::config(&url), None).await;
    for begin in (0..2000).step_by(500) {
        let documents: Vec<_> = (begin..begin + 500).map(|n| json!({ "n": n })).collect();
        let answer = app.post("/collections/posts/batch", json!({ "documents": documents })).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    app.stop().await;
    let http = reqwest::Client::new();
    for round in 0..4 {
        let own = url.clone();
        let mut server =
            tokio::task::spawn_blocking(move || process::Process::start(&own, "127.0.0.1:0")).await.unwrap();
        let indexes: Vec<_> = (0..8)
            .map(|n| json!({ "fields": ["n", format!("r{round}"), format!("f{n}")], "unique": n % 2 == 0 }))
            .collect();
        let request = http
            .patch(format!("{}/collections/posts/settings", server.url))
            .bearer_auth(crate::harness::SECRET_KEY)
            .json(&json!({ "indexes": indexes }));
        assert_eq!(request.send().await.unwrap().status(), 200);
        for _ in 0..4 * round {
            let url = format!("{}/collections/posts/settings", server.url);
            http.get(url).bearer_auth(crate::harness::SECRET_KEY).send().await.unwrap();
        }
        tokio::task::spawn_blocking(move || server.kill()).await.unwrap();
    }
    let app = TestApp::start_on(crate::harness::app::config(&url), None).await;
    let indexes = settled(&app, "posts").await;
    assert_eq!(states(&indexes), ["ready"; 8]);
    has_in_database(&app, 12).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_build_continues_after_a_kill_on_sqlite() {
    an_index_build_continues_after_a_kill(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_build_continues_after_a_kill_on_postgres() {
    an_index_build_continues_after_a_kill(Database::Postgres).await;
}
