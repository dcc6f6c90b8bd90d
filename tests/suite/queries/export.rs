//! Exports are complete in every format and go at the reader's pace. An export that fails is cut, so that it doesn't look
//! complete.

use std::{collections::BTreeSet, fs, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{PUBLISHABLE_KEY, TestApp, data_of, list_all, on_both_databases, path_with, process};
use crate::users::{ask, keys::run, sign_up};

const PATIENCE: Duration = Duration::from_secs(30);
/// The number of readers that stall: more than read at a time.
const STALLED: usize = 24;

/// Requests an export and returns its content type, its `Content-Disposition` and its text.
async fn export(app: &TestApp, parameters: &[(&str, &str)]) -> (String, String, String) {
    let path = path_with("/collections/things/export", parameters);
    let response = app.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{parameters:?}");
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let (kind, name) = (header("content-type"), header("content-disposition"));
    (kind, name, response.text().await.unwrap())
}

async fn write_many(app: &TestApp, count: usize, padding: usize) {
    for first in (0..count).step_by(500) {
        let documents: Vec<_> = (first..count.min(first + 500))
            .map(|n| json!({ "n": n, "even": n % 2 == 0, "text": "x".repeat(padding) }))
            .collect();
        let answer = app.post("/collections/things/batch", json!({ "documents": documents })).await;
        assert_eq!(answer.status, 201, "{:?}", answer.error());
    }
}

/// Begins to read an export and stops after the first bytes. Returns `None` if the server has no room for it.
async fn stall(app: &TestApp, key: &str, parameters: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    let mut stream = socket.connect(app.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /collections/things/export?{parameters} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert!([b"HTTP/1.1 200", b"HTTP/1.1 503"].contains(&&begin), "{begin:?}");
    (&begin == b"HTTP/1.1 200").then_some(stream)
}

fn numbers(documents: &[Value]) -> Vec<i64> {
    documents.iter().map(|document| document["data"]["n"].as_i64().unwrap()).collect()
}

on_both_databases! {
    async fn json_and_ndjson_exports_have_every_matching_document_in_order(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        assert_eq!(export(app, &[]).await.2.split_whitespace().collect::<String>(), "[]");
        assert_eq!(export(app, &[("format", "ndjson")]).await.2, "");
        // These are more than a page, and the sort has ties across its end.
        write_many(app, 2500, 10).await;
        let (kind, name, text) = export(app, &[("orderBy", "n")]).await;
        assert_eq!((kind.as_str(), name.as_str()), ("application/json", "attachment; filename=\"things.json\""));
        let documents: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(numbers(&documents), (0..2500).collect::<Vec<_>>());
        let listed = app.get(&path_with("/collections/things", &[("orderBy", "n"), ("limit", "1000")])).await;
        assert_eq!(&documents[..1000], listed.data().as_array().unwrap());

        let (kind, name, text) = export(app, &[("format", "ndjson"), ("even", "true"), ("orderBy", "even,-n"), ("select", "n")]).await;
        assert_eq!((kind.as_str(), name.as_str()), ("application/x-ndjson", "attachment; filename=\"things.ndjson\""));
        let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(numbers(&documents), (0..2500).rev().filter(|n| n % 2 == 0).collect::<Vec<_>>());
        assert!(documents.iter().all(|document| document["data"].as_object().unwrap().len() == 1));
        let unsorted: Vec<Value> = serde_json::from_str(&export(app, &[("filters", r#"{"even":false}"#)]).await.2).unwrap();
        let all: BTreeSet<_> = numbers(&unsorted).into_iter().collect();
        assert_eq!((unsorted.len(), all.len()), (1250, 1250));
    }

    async fn a_table_has_the_documents_own_columns_and_every_field_by_name(app: &TestApp) {
        for (id, data) in [
            ("a", json!({ "b": "plain", "a": 1.5, "id": "mine", "list": [1, { "x": "y" }], "none": null })),
            ("b", json!({ "b": "quote \" comma, line\nend", "yes": true, "a": "", "é": "ü" })),
            ("c", json!({})),
        ] {
            assert_eq!(app.put(&format!("/collections/things/{id}"), data).await.status, 201);
        }
        let (kind, name, text) = export(app, &[("format", "csv"), ("orderBy", "id")]).await;
        assert!(kind.starts_with("text/csv"), "{kind}");
        assert_eq!(name, "attachment; filename=\"things.csv\"");
        let own = |id: &'static str| async move {
            let document = app.get(&format!("/collections/things/{id}")).await.data().clone();
            format!("{id},{},{},1", document["createdAt"].as_str().unwrap(), document["updatedAt"].as_str().unwrap())
        };
        let expected = [
            "id,createdAt,updatedAt,version,a,b,data.id,list,none,yes,é".to_owned(),
            format!("{},1.5,plain,mine,\"[1,{{\"\"x\"\":\"\"y\"\"}}]\",,,", own("a").await),
            format!("{},\"\",\"quote \"\" comma, line\nend\",,,,true,ü", own("b").await),
            format!("{},,,,,,,", own("c").await),
            String::new(),
        ];
        assert_eq!(text, expected.join("\r\n"));

        app.put("/collections/owners/o", json!({ "name": "O" })).await;
        app.patch("/collections/things/c", json!({ "owner_id": "o" })).await;
        let (.., text) = export(app, &[("format", "csv"), ("id", "c"), ("select", "owner_id,b"), ("populate", "owner")]).await;
        let (header, row) = text.trim_end().split_once("\r\n").unwrap();
        assert_eq!(header, "id,createdAt,updatedAt,version,owner_id,b,owner");
        assert!(row.contains(",2,o,,\"{") && row.contains("\"\"name\"\":\"\"O\"\""), "{row}");

        let many: serde_json::Map<_, _> = (0..1001).map(|n| (format!("f{n}"), json!(n))).collect();
        app.put("/collections/things/many", Value::Object(many)).await;
        let refused = app.get("/collections/things/export?format=csv").await;
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("select"), "{:?}", refused.error());
        assert!(export(app, &[("format", "csv"), ("select", "a")]).await.2.starts_with("id,"));
    }

    async fn an_export_with_invalid_parameters_is_refused(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        for (parameters, named) in [
            (vec![("format", "xml")], "format"),
            (vec![("limit", "10")], "limit"),
            (vec![("after", "x")], "after"),
            (vec![("orderBy", "")], "orderBy"),
            (vec![("a..b", "1")], "a..b"),
            (vec![("select", "")], "select"),
            (vec![("populate", "*")], "populate"),
        ] {
            let answer = app.get(&path_with("/collections/things/export", &parameters)).await;
            assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{parameters:?}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains(named), "{parameters:?}");
        }
        assert_eq!(app.get("/collections/none/export").await.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(app.post("/collections/things/export", json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
    }

    async fn stalled_export_readers_hold_nothing_that_others_need(app: &TestApp) {
        // The export has several pages and is far larger than the buffers between the server and its reader.
        write_many(app, 1000, 10_000).await;
        app.put("/collections/owners/o", json!({ "text": "x".repeat(10_000) })).await;
        let mut stalled = Vec::new();
        for parameters in ["format=json", "format=ndjson", "populate=owner"].repeat(STALLED / 3) {
            stalled.extend(stall(app, PUBLISHABLE_KEY, parameters).await);
        }
        assert!(stalled.len() > 10, "{} exports began", stalled.len());
        // There are more stalled exports than turns to read, and others read on, and export.
        let list = app.get("/collections/things?limit=3");
        assert_eq!(tokio::time::timeout(PATIENCE, list).await.unwrap().status, 200);
        for parameters in [&[("n", "7")][..], &[("populate", "owner"), ("n__lt", "20")]] {
            let whole = tokio::time::timeout(PATIENCE, export(app, parameters)).await.expect("others can export");
            assert!(whole.2.trim_end().ends_with(']'));
        }

        // The other documents are removed before they are read, so the exports are cut.
        stalled.truncate(2);
        assert_eq!(app.delete("/collections/things").await.status, 200);
        for mut stream in stalled {
            let mut rest = Vec::new();
            // A connection reset is also a cut, so the result doesn't matter.
            let _ = stream.read_to_end(&mut rest).await;
            assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "an export that was cut looks complete");
        }
    }

    async fn an_export_can_be_imported_under_the_same_ids(app: &TestApp) {
        write_many(app, 30, 3).await;
        // The data of this document looks like an exported document.
        app.put("/collections/things/odd", json!({ "id": "x", "collection": "y", "data": { "n": 1 }, "createdAt": "never", "updatedAt": "never", "version": 1 })).await;
        let directory = tempfile::tempdir().unwrap();
        let expected = data_of(&list_all(&app.http, &app.url, "things").await);
        assert_eq!(expected.len(), 31);
        for format in ["json", "ndjson"] {
            let file = directory.path().join(format!("things.{format}"));
            fs::write(&file, export(app, &[("format", format)]).await.2).unwrap();
            let collection = format!("copy-{format}");
            let arguments = ["import", &collection, file.to_str().unwrap(), "--url", &app.url].map(str::to_owned);
            let run = move || process::command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output();
            // The second import overwrites the documents of the first.
            for _ in 0..2 {
                let output = tokio::task::spawn_blocking(run.clone()).await.unwrap().unwrap();
                assert!(output.status.success(), "{output:?}");
                assert_eq!(data_of(&list_all(&app.http, &app.url, &collection).await), expected, "{format}");
            }
        }
    }

    /// What was read of it is shown, and no page after that.
    async fn an_export_ends_when_its_key_is_revoked_or_its_session_ends(app: &TestApp) {
        write_many(app, 8000, 2000).await;
        let ada = sign_up(app, "ada@example.com").await;
        let key = run(app, &["keys", "create", "publishable"]).await;
        let mut readers = Vec::new();
        for credential in [&ada.access, &key] {
            readers.push(stall(app, credential, "format=ndjson&orderBy=createdAt").await.unwrap());
        }
        ask(app, &ada.access, Method::POST, "/users/logout", Value::Null).await;
        run(app, &["keys", "revoke", &key]).await;
        for mut reader in readers {
            let mut rest = Vec::new();
            // The connection is cut, so that the client knows that the export is incomplete.
            let _ = reader.read_to_end(&mut rest).await;
            let text = String::from_utf8_lossy(&rest);
            assert!(text.contains("\"n\":0,") && !text.contains("\"n\":7999,"), "{} bytes came", rest.len());
        }
    }
}
