//! The exact requests of the Cocobase client libraries, above all those of Flutter and Go, which `clients.rs` does not run.
//! The tests also check the fields that those libraries' parsers read.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

/// Sends a request as the libraries do: with the key in `x-api-key`, and a content type even without a body.
async fn call_as(app: &TestApp, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let mut request = app
        .http
        .request(method, format!("{}{path}", app.url))
        .header("x-api-key", key)
        .header("Content-Type", "application/json");
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    app.send(request).await
}

async fn get(app: &TestApp, path: &str) -> Answer {
    call_as(app, PUBLISHABLE_KEY, Method::GET, path, None).await
}

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    call_as(app, PUBLISHABLE_KEY, Method::POST, path, Some(body)).await
}

async fn patch(app: &TestApp, path: &str, body: Value) -> Answer {
    call_as(app, PUBLISHABLE_KEY, Method::PATCH, path, Some(body)).await
}

async fn delete(app: &TestApp, path: &str) -> Answer {
    call_as(app, PUBLISHABLE_KEY, Method::DELETE, path, None).await
}

/// Returns the status and the `detail` of an error.
fn detail(answer: &Answer) -> (u16, &str) {
    let members: Vec<_> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["detail"], "{answer:?}");
    (answer.status.as_u16(), answer.body["detail"].as_str().unwrap())
}

/// Asserts that a time is RFC 3339 with a zone. Go's `time.Time` accepts nothing else, and Dart's `DateTime.parse` would take
/// a time without a zone for local time.
fn assert_time(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text}");
}

/// Asserts the fields that `Document.fromJson` of the Flutter library and `Document` of the Go library read. Flutter reads
/// `collection` as an object and Go as a string; no answer suits both, and ours is an object.
fn assert_document(document: &Value, collection: &str) {
    assert!(document["id"].is_string(), "{document}");
    assert!(document["data"].is_object(), "{document}");
    assert_time(&document["created_at"]);
    assert_time(&document["updated_at"]);
    assert_eq!(document["collection"]["name"], collection);
    assert_eq!(document["collection"]["id"], document["collection_id"]);
    assert_time(&document["collection"]["created_at"]);
}

fn titles(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_array().unwrap().iter().map(|doc| doc["data"]["title"].as_str().unwrap()).collect()
}

async fn create_books(app: &TestApp) {
    let books = json!([
        { "title": "Kindred", "author": "Octavia E. Butler", "genre": "Novel", "year": 1979, "read": true },
        { "title": "Solaris", "author": "Stanisław Lem", "genre": "Science Fiction", "year": 1961, "read": false },
        { "title": "Ubik", "author": "Philip K. Dick", "genre": "Science Fiction", "year": 1969, "rating": null },
    ]);
    let answer = post(app, "/collections/books/batch/documents/create", json!({ "documents": books })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

on_both_databases! {
    async fn flutter_can_create_read_update_and_delete_documents(app: &TestApp) {
        // createDocument
        let created = post(app, "/collections/books/documents", json!({ "data": { "title": "Ubik", "n": 1 } })).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert!(!created.header("X-Cursor").is_empty());
        assert_document(&created.body, "books");
        assert_eq!(created.body["data"], json!({ "title": "Ubik", "n": 1 }));
        let path = format!("/collections/books/documents/{}", created.body["id"].as_str().unwrap());
        // getDocument, updateDocument, deleteDocument
        assert_eq!(get(app, &path).await.body, created.body);
        let updated = patch(app, &path, json!({ "data": { "n": 2 } })).await;
        assert_document(&updated.body, "books");
        assert_eq!(updated.body["data"], json!({ "title": "Ubik", "n": 2 }));
        let deleted = delete(app, &path).await;
        assert_eq!(deleted.status, 200);
        assert_eq!(deleted.body["success"], true);
        assert_eq!(deleted.body["status"], "success");
        assert_eq!(detail(&get(app, &path).await), (404, "Document not found"));
    }

    async fn flutter_can_write_documents_in_batches(app: &TestApp) {
        let documents = json!({ "documents": [{ "n": 1 }, { "n": 2 }, { "n": 3 }] });
        let created = post(app, "/collections/books/batch/documents/create", documents).await;
        assert_eq!(created.status, 201, "{created:?}");
        let ids: Vec<_> = created.body.as_array().unwrap().iter().map(|doc| doc["id"].clone()).collect();
        created.body.as_array().unwrap().iter().for_each(|document| assert_document(document, "books"));
        // batchUpdateDocuments sends a list. The new fields are in `data`, or beside the id.
        let updates = json!({ "updates": [{ "id": ids[0], "data": { "n": 10 } }, { "id": ids[1], "n": 20 }] });
        let updated = patch(app, "/collections/books/batch/documents/update", updates).await;
        assert_eq!((updated.status, updated.body), (StatusCode::OK, json!({ "updated": 2 })));
        let listed = get(app, "/collections/books/documents?sort_by=n&order=asc").await;
        let numbers: Vec<_> = listed.body.as_array().unwrap().iter().map(|doc| doc["data"].clone()).collect();
        assert_eq!(numbers, [json!({ "n": 3 }), json!({ "n": 10 }), json!({ "n": 20 })]);
        for (why, body) in [
            ("an update without an id", json!({ "updates": [{ "n": 1 }] })),
            ("an update that is not an object", json!({ "updates": [1] })),
            ("the same id twice", json!({ "updates": [{ "id": ids[0], "n": 1 }, { "id": ids[0], "n": 2 }] })),
            ("updates that are not a list", json!({ "updates": 1 })),
        ] {
            let answer = patch(app, "/collections/books/batch/documents/update", body).await;
            assert_eq!(detail(&answer).0, 400, "{why}");
        }
        // The vendor's documentation also shows an object of updates by id.
        let wrapped = json!({ "updates": { ids[0].as_str().unwrap(): { "data": { "n": 11 } } } });
        let updated = post(app, "/collections/books/batch/documents/update", wrapped).await;
        assert_eq!(updated.body[0]["data"], json!({ "n": 11 }));
        // batchDeleteDocuments: the library loses its body, so its own request is refused.
        let path = "/collections/books/batch/documents/delete";
        assert_eq!(detail(&delete(app, path).await).0, 400);
        let body = json!({ "ids": [ids[0], "none"] });
        let answer = call_as(app, PUBLISHABLE_KEY, Method::DELETE, path, Some(body)).await;
        assert_eq!(answer.body["deleted"], 1);
        let answer = post(app, path, json!({ "document_ids": [ids[1], ids[2]] })).await;
        assert_eq!((answer.body["count"].clone(), answer.body["status"].clone()), (json!(2), json!("success")));
        assert_eq!(get(app, "/collections/books/documents").await.body, json!([]));
    }

    async fn the_query_parameters_of_flutter_and_go_are_understood(app: &TestApp) {
        create_books(app).await;
        for (why, query, expected) in [
            ("Flutter's operators have two underscores", "year__gte=1965", vec!["Kindred", "Ubik"]),
            ("Flutter encodes values, not keys", "author__contains=Philip%20K", vec!["Ubik"]),
            ("Flutter's group", "[or]year__lt=1965&[or]genre=Novel", vec!["Kindred", "Solaris"]),
            ("the same field twice in a group", "[or]year=1961&[or]year=1969", vec!["Solaris", "Ubik"]),
            ("Flutter's named groups", "[or:a]year=1961&[or:a]year=1979&[or:b]genre=Novel", vec!["Kindred"]),
            ("Flutter's search in fields", "title__or__author__contains=lem", vec!["Solaris"]),
            ("Flutter's list", "year__in=1961%2C1979", vec!["Kindred", "Solaris"]),
            ("Flutter's null", "rating__isnull=true&year__notin=1979", vec!["Solaris", "Ubik"]),
            ("Go encodes everything", "%5Bor%5Dyear_lt=1965&%5Bor%5Dgenre=Novel", vec!["Kindred", "Solaris"]),
            ("Go's raw query", "[or]year_lt=1965&[or]genre=Novel", vec!["Kindred", "Solaris"]),
            ("Go's search", "title__or__author_contains=lem", vec!["Solaris"]),
            ("Go's between", "year_gte=1961&year_lte=1969", vec!["Solaris", "Ubik"]),
            ("Go's page", "limit=1&offset=1&sort=title&order=asc", vec!["Solaris"]),
            ("Python's boolean", "read=True", vec!["Kindred"]),
            ("`limit` is a parameter, and `limit_eq` filters the field `limit`", "limit_eq=3", vec![]),
        ] {
            let answer = get(app, &format!("/collections/books/documents?{query}")).await;
            let mut found = titles(&answer);
            found.sort_unstable();
            assert_eq!(found, expected, "{why}");
        }
        for (why, query, expected) in [
            ("Flutter's sort", "sort_by=year&order=asc", vec!["Solaris", "Ubik", "Kindred"]),
            ("Go's sort", "sort=year&order=desc", vec!["Kindred", "Ubik", "Solaris"]),
            ("the sort of the older documentation", "orderBy=title&sort_order=asc", vec!["Kindred", "Solaris", "Ubik"]),
            ("descending without an order", "sort=title", vec!["Ubik", "Solaris", "Kindred"]),
            ("newest first without any parameter", "", vec!["Ubik", "Solaris", "Kindred"]),
        ] {
            let answer = get(app, &format!("/collections/books/documents?{query}")).await;
            assert_eq!(titles(&answer), expected, "{why}");
        }
        for query in ["order=up", "limit=0", "limit=1001", "offset=-1", "after=x", "[or=1", "year_in="] {
            let answer = get(app, &format!("/collections/books/documents?{query}")).await;
            let status = answer.status.as_u16();
            assert!(status == 400 && detail(&answer).1.len() > 5 || query == "year_in=", "{query}: {answer:?}");
        }
    }

    async fn flutter_can_select_fields_and_populate_relations(app: &TestApp) {
        let writer = post(app, "/collections/writers/documents", json!({ "data": { "name": "Lem" } })).await.body;
        let book = json!({ "data": { "title": "Solaris", "author_id": writer["id"], "year": 1961 } });
        let book = post(app, "/collections/books/documents", book).await.body;
        let path = format!("/collections/books/documents/{}", book["id"].as_str().unwrap());
        let shown = get(app, &format!("{path}?populate=author:writers")).await.body;
        assert_document(&shown, "books");
        let listed = get(app, "/collections/books/documents?populate=author%3Awriters&select=title&select=year").await.body;
        assert_document(&listed[0], "books");
        assert_eq!(listed[0]["data"]["title"], "Solaris");
        assert_eq!(listed[0]["data"]["author_id"], Value::Null);
        for document in [&shown, &listed[0]] {
            for author in [&document["author"], &document["data"]["author"]] {
                assert_eq!((&author["id"], &author["name"]), (&writer["id"], &json!("Lem")));
                assert_time(&author["created_at"]);
            }
        }
        // There are no app users yet, so the relation is null.
        let shown = get(app, &format!("{path}?populate=author:appuser")).await;
        assert_eq!((shown.status.as_u16(), &shown.body["data"]["author"]), (200, &Value::Null));
        for query in ["populate=*", "select=", "limit=1", "n=1"] {
            assert_eq!(detail(&get(app, &format!("{path}?{query}")).await).0, 400, "{query}");
        }
    }

    async fn counts_aggregates_groups_and_schemas_have_the_fields_that_clients_read(app: &TestApp) {
        create_books(app).await;
        let path = "/collections/books/query/documents";
        let count = get(app, &format!("{path}/count?genre=Science%20Fiction&limit=1&offset=5&sort_by=year")).await;
        assert_eq!(count.body, json!({ "count": 2 }));
        let sum = get(app, &format!("{path}/aggregate?field=year&operation=sum&year__gt=1965")).await;
        assert_eq!(sum.body, json!({ "field": "year", "operation": "sum", "result": 3948, "collection": "books" }));
        // groupByField: Flutter reads `value`, while the vendor's server names the member after the field. The answer has both.
        let groups = get(app, &format!("{path}/group-by?field=genre")).await;
        assert_eq!(groups.body, json!([
            { "genre": "Science Fiction", "value": "Science Fiction", "count": 2 },
            { "genre": "Novel", "value": "Novel", "count": 1 },
        ]));
        let groups = get(app, &format!("{path}/group-by?field=read")).await;
        let counts: Vec<_> = groups.body.as_array().unwrap().iter().map(|group| group["count"].clone()).collect();
        assert_eq!(counts, [1, 1], "documents without a value form no group");
        // getCollectionSchema: Flutter reads a list of name, type and nullable.
        let schema = get(app, "/collections/books/query/schema").await.body;
        assert_eq!(schema["document_count"], 3);
        let fields: Vec<_> = schema["fields"].as_array().unwrap().iter()
            .map(|field| (field["name"].as_str().unwrap(), field["type"].as_str().unwrap(), field["nullable"].as_bool().unwrap()))
            .collect();
        assert_eq!(fields, [
            ("author", "string", false), ("genre", "string", false), ("rating", "null", true),
            ("read", "boolean", true), ("title", "string", false), ("year", "integer", false),
        ]);
        for (path, expected) in [
            ("query/documents/count", json!({ "count": 0 })),
            ("query/documents/group-by?field=genre", json!([])),
            ("documents", json!([])),
        ] {
            assert_eq!(get(app, &format!("/collections/nothing/{path}")).await.body, expected);
        }
        assert_eq!(get(app, "/collections/nothing/query/schema").await.body["fields"], json!([]));
        for query in ["aggregate?field=year", "aggregate?operation=sum", "group-by", "aggregate?field=year&operation=sum&format=csv"] {
            assert_eq!(detail(&get(app, &format!("{path}/{query}")).await).0, 400, "{query}");
        }
        // exportCollection
        let export = get(app, "/collections/books/export?format=json").await;
        assert_eq!(export.body.as_array().unwrap().len(), 3);
        let csv = app.send(app.request(Method::GET, "/collections/books/export?format=csv")).await;
        assert!(csv.header("Content-Type").starts_with("text/csv"));
    }

    async fn collections_can_be_created_renamed_and_removed(app: &TestApp) {
        let made = post(app, "/collections/", json!({ "name": "books" })).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_time(&made.body["created_at"]);
        let expected = json!({
            "id": made.body["id"], "name": "books", "created_at": made.body["created_at"], "webhook_url": null,
            "permissions": { "create": [], "read": [], "update": [], "delete": [] },
        });
        assert_eq!(made.body, expected);
        assert_eq!(get(app, "/collections/").await.body, json!([expected]));
        for (why, body) in [
            ("a name in use", json!({ "name": "books" })),
            ("a name in use, inside `data`", json!({ "data": { "name": "books" } })),
            ("no name", json!({})),
            ("a bad name", json!({ "name": "no name" })),
            ("a name that is not text", json!({ "name": 7 })),
            ("an unknown member", json!({ "name": "more", "fields": {} })),
            ("a body that is not an object", json!(["name"])),
        ] {
            assert_eq!(detail(&post(app, "/collections/", body).await).0, 400, "{why}");
        }
        // Both APIs have this path, so its answer has the members of both.
        let path = format!("/collections/{}", made.body["id"].as_str().unwrap());
        let body = Some(json!({ "name": "novels" }));
        let refused = call_as(app, PUBLISHABLE_KEY, Method::PATCH, &path, body.clone()).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        assert_eq!(refused.body["detail"], refused.body["error"]["message"]);
        let renamed = call_as(app, SECRET_KEY, Method::PATCH, &path, body).await;
        assert_eq!(renamed.data()["name"], "novels");
        assert_eq!((&renamed.body["id"], &renamed.body["name"]), (&made.body["id"], &json!("novels")));
        assert_time(&renamed.body["created_at"]);
        assert_eq!(get(app, "/collections/novels").await.data(), &json!([]), "GET on this path is the core API's list of documents");
        assert_eq!(delete(app, &path).await.error(), (403, "FORBIDDEN"));
        let removed = call_as(app, SECRET_KEY, Method::DELETE, "/collections/novels", None).await;
        assert_eq!(removed.data(), &json!({ "id": made.body["id"] }));
        assert_eq!(removed.body["status"], "success");
        let again = call_as(app, SECRET_KEY, Method::DELETE, "/collections/novels", None).await;
        assert_eq!(again.error(), (404, "INVALID_COLLECTION"));
        assert_eq!(again.body["detail"], "Collection not found");
    }

    async fn every_wrapping_of_a_document_is_unwrapped(app: &TestApp) {
        let path = "/collections/documents?collection=books";
        for (why, body, data) in [
            ("wrapped in `data`", json!({ "data": { "n": 1 } }), json!({ "n": 1 })),
            ("wrapped twice, as Python does", json!({ "data": { "data": { "n": 1 } } }), json!({ "n": 1 })),
            ("not wrapped, with a field `data`", json!({ "n": 1, "data": { "m": 2 } }), json!({ "n": 1, "data": { "m": 2 } })),
            ("wrapped, with a field `data` beside others", json!({ "data": { "data": { "m": 2 }, "n": 1 } }), json!({ "data": { "m": 2 }, "n": 1 })),
            ("wrapped, with a field `data` that is not an object", json!({ "data": { "data": 7 } }), json!({ "data": 7 })),
            ("an empty document", json!({ "data": {} }), json!({})),
        ] {
            let created = post(app, path, body).await;
            assert_eq!(created.status, 201, "{why}: {created:?}");
            assert_eq!(created.body["data"], data, "{why}");
        }
        let mut deep = json!(1);
        for _ in 0..62 {
            deep = json!({ "a": deep });
        }
        assert_eq!(post(app, path, json!({ "data": { "data": { "a": deep } } })).await.status, 201, "the wrapping does not count towards the 64 levels");
        for (why, path, body) in [
            ("no collection", "/collections/documents", json!({ "data": {} })),
            ("an empty name", "/collections/documents?collection=", json!({ "data": {} })),
            ("two names", "/collections/documents?collection=a&collection=b", json!({ "data": {} })),
            ("data that is a list", path, json!({ "data": [1] })),
            ("data that is text", path, json!({ "data": "x" })),
            ("a body that is not an object", path, json!("x")),
        ] {
            assert_eq!(detail(&post(app, path, body).await).0, 400, "{why}");
        }
    }

    async fn errors_have_a_detail_and_nothing_else(app: &TestApp) {
        create_books(app).await;
        for (why, key) in [("no key", ""), ("an unknown key", "pk_0000000000000000nobody"), ("text that is not a key", "x")] {
            for (method, path) in [
                (Method::GET, "/collections/"),
                (Method::GET, "/collections/books/documents"),
                (Method::POST, "/collections/documents?collection=books"),
                (Method::GET, "/collections/books/query/documents/count"),
                (Method::POST, "/collections/books/batch/documents/delete"),
                (Method::GET, "/realtime/rooms"),
            ] {
                let answer = call_as(app, key, method, path, Some(json!({}))).await;
                let expected = (401, "Invalid or missing authentication token");
                assert_eq!(detail(&answer), expected, "{why}: {path}");
            }
        }
        for (method, path, status) in [
            (Method::GET, "/collections/books/documents/none", 404),
            (Method::GET, "/collections/nothing/documents/none", 404),
            (Method::PATCH, "/collections/books/documents/none", 404),
            (Method::DELETE, "/collections/books/documents/none", 404),
            (Method::PATCH, "/collections/books/documents/a%2Fb", 404),
            (Method::PUT, "/collections/books/documents", 405),
            (Method::PUT, "/collections/", 405),
            (Method::POST, "/auth-collections/login", 400),
            (Method::GET, "/auth-collections/user", 401),
            (Method::POST, "/auth-collections/nothing", 404),
            (Method::POST, "/functions/p/func/f", 404),
            (Method::GET, "/ws/rooms/p", 404),
            (Method::POST, "/collections/file", 404),
            (Method::GET, "/realtime/collections/books", 400),
            (Method::POST, "/realtime/broadcast", 405),
        ] {
            let answer = call_as(app, PUBLISHABLE_KEY, method.clone(), path, Some(json!({ "a": 1 }))).await;
            assert_eq!(detail(&answer).0, status, "{method} {path}");
        }
        for broken in ["", "{", "[]", "{\"data\":", "\u{0}", "{\"data\":{\"a\":1e400}}"] {
            let request = app.http.post(format!("{}/collections/documents?collection=books", app.url));
            let answer = app.send(request.header("x-api-key", PUBLISHABLE_KEY).body(broken)).await;
            assert_eq!(detail(&answer).0, 400, "{broken:?}");
        }
        let form = app.http.post(format!("{}/collections/documents?collection=books", app.url));
        let form = form.header("x-api-key", PUBLISHABLE_KEY).header("Content-Type", "multipart/form-data; boundary=x");
        let answer = app.send(form.body("--x--")).await;
        assert!(detail(&answer).1.contains("doesn't store files yet"), "{answer:?}");
    }

    async fn an_idempotency_key_belongs_to_one_collection(app: &TestApp) {
        let create = |collection: &'static str| async move {
            let request = app.http.post(format!("{}/collections/documents?collection={collection}", app.url));
            let request = request.header("x-api-key", SECRET_KEY).header("Idempotency-Key", "once");
            app.send(request.json(&json!({ "data": { "n": 1 } }))).await
        };
        let first = create("books").await;
        assert_eq!(create("books").await.body, first.body);
        assert_eq!(detail(&create("films").await).0, 409);
    }

    async fn the_redirecting_script_is_served_to_every_page(app: &TestApp) {
        let request = app.http.get(format!("{}/cocobase-redirect.js", app.url)).header("Origin", "https://app.example.com");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("Content-Type"), "text/javascript; charset=utf-8");
        assert_eq!(header("Cross-Origin-Resource-Policy"), "cross-origin");
        assert_eq!(header("Access-Control-Allow-Origin"), "*");
        assert!(answer.text().await.unwrap().contains("cocobase"));
    }
}
