//! `GET /collections/{collection}/query/explain` says how the database reads a list.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, indexes::declare, on_both_databases, path_with};

const DOCUMENTS: u64 = 1000;

/// Writes 1000 documents. Three of them have a rare status, and half of the numbers are even.
async fn fill(app: &TestApp) {
    let document =
        |n: u64| json!({ "n": n, "status": if n % 400 == 7 { "rare" } else { "usual" }, "parity": n % 2 });
    let documents: Vec<_> = (0..DOCUMENTS).map(document).collect();
    let answer = app.post("/collections/things/batch", json!({ "documents": documents })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

async fn ask(app: &TestApp, parameters: &[(&str, &str)]) -> Answer {
    app.get(&path_with("/collections/things/query/explain", parameters)).await
}

async fn explain(app: &TestApp, parameters: &[(&str, &str)]) -> Value {
    ask(app, parameters).await.data().clone()
}

on_both_databases! {
    async fn an_index_lookup_names_the_index_and_reads_only_what_it_finds(app: &TestApp) {
        fill(app).await;
        let indexes = declare(app, "things", json!([{ "fields": ["status"] }])).await;
        let explanation = explain(app, &[("status", "rare")]).await;
        let rows_read = explanation["rowsRead"].as_u64().unwrap();
        assert_eq!(explanation, json!({ "plan": "index", "index": indexes[0]["name"], "wanted": null, "rowsRead": rows_read }));
        assert!((3..=10).contains(&rows_read), "3 of 1000 documents match: {explanation}");
    }

    async fn a_scan_reads_every_document_and_names_the_index_that_would_help(app: &TestApp) {
        fill(app).await;
        let explanation = explain(app, &[("status", "rare"), ("orderBy", "-n")]).await;
        assert_eq!(explanation["plan"], "scan");
        assert_eq!(explanation["wanted"], json!(["status", "-n"]));
        assert_eq!(explanation["rowsRead"], DOCUMENTS, "{explanation}");
        let explanation = explain(app, &[("status__contains", "r")]).await;
        assert_eq!((&explanation["plan"], &explanation["wanted"]), (&json!("scan"), &Value::Null), "no index finds a part of a text");
    }

    async fn alternatives_of_one_field_read_only_what_the_index_finds(app: &TestApp) {
        fill(app).await;
        declare(app, "things", json!([{ "fields": ["n"] }])).await;
        let explanation = explain(app, &[("filters", r#"{"$or":[{"n":1},{"n":2}]}"#)]).await;
        assert_eq!(explanation["plan"], "index", "{explanation}");
        assert!(explanation["rowsRead"].as_u64().unwrap() <= 10, "2 of 1000 documents match: {explanation}");
    }

    async fn the_wanted_index_helps_once_it_is_declared_and_no_longer_once_it_is_dropped(app: &TestApp) {
        fill(app).await;
        let parameters = [("filters", r#"{"status":"rare"}"#), ("orderBy", "n")];
        let wanted = explain(app, &parameters).await["wanted"].clone();
        declare(app, "things", json!([{ "fields": wanted }])).await;
        let explanation = explain(app, &parameters).await;
        assert_eq!((&explanation["plan"], &explanation["wanted"]), (&json!("index"), &Value::Null), "{explanation}");

        declare(app, "things", json!([])).await;
        let begun = Instant::now();
        while explain(app, &parameters).await["plan"] != "scan" {
            assert!(begun.elapsed() < Duration::from_secs(30), "the index is still used");
        }
    }

    async fn an_index_that_every_collection_has_serves_the_newest_documents(app: &TestApp) {
        fill(app).await;
        let explanation = explain(app, &[("limit", "5")]).await;
        assert_eq!((&explanation["plan"], &explanation["wanted"]), (&json!("index"), &Value::Null), "{explanation}");
        assert_eq!((&explanation["index"], &explanation["rowsRead"]), (&json!("documents_by_age"), &json!(5)), "{explanation}");
    }

    async fn only_a_secret_key_gets_an_explanation(app: &TestApp) {
        fill(app).await;
        let path = "/collections/things/query/explain";
        let publishable = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, path)).await;
        assert_eq!(publishable.error(), (403, "FORBIDDEN"));
        let anonymous = app.http.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(anonymous.status(), 401);
    }

    async fn an_explanation_takes_what_a_list_takes_and_refuses_what_a_list_refuses(app: &TestApp) {
        fill(app).await;
        let every = [
            ("filters", r#"{"n__gt":3}"#), ("parity", "1"), ("orderBy", "n"), ("order", "desc"), ("limit", "7"),
            ("offset", "2"), ("select", "n"), ("populate", "author"),
        ];
        assert_eq!(ask(app, &every).await.status, 200);
        for (parameters, code) in [
            (("n__isnull", "maybe"), "INVALID_FILTER"),
            (("filters", "[]"), "INVALID_FILTER"),
            (("limit", "1001"), "INVALID_FILTER"),
            (("format", "csv"), "INVALID_FILTER"),
            (("after", "x"), "INVALID_CURSOR"),
        ] {
            let answer = ask(app, &[parameters]).await;
            assert_eq!(answer.status, 400, "{parameters:?}: {answer:?}");
            assert_eq!(answer.error().1, code, "{parameters:?}");
        }
        let unknown = app.get("/collections/nothing/query/explain").await;
        assert_eq!(unknown.error(), (404, "INVALID_COLLECTION"));
        let written = app.post("/collections/things/query/explain", json!({})).await;
        assert_eq!(written.error(), (405, "METHOD_NOT_ALLOWED"));
    }

    async fn a_list_has_no_header_about_its_plan(app: &TestApp) {
        fill(app).await;
        let request = app.request(Method::GET, "/collections/things").header("Origin", "http://a.example");
        let answer = app.send(request).await;
        assert!(!answer.headers.contains_key("x-query-plan"), "{answer:?}");
        assert!(!answer.header("access-control-expose-headers").to_lowercase().contains("plan"), "{answer:?}");
    }
}
