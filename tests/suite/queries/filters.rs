//! Filters by equality: a list and a stream with the same filter choose the same documents, on both databases.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{TestApp, TestStream, on_both_databases, path_with};

/// Returns the documents that the filters choose from, each with its id.
fn documents() -> Vec<(&'static str, Value)> {
    vec![
        ("number", json!({ "v": 7 })),
        ("fraction", json!({ "v": 7.5 })),
        ("text", json!({ "v": "7" })),
        ("yes", json!({ "v": true })),
        ("yes-text", json!({ "v": "true" })),
        ("one", json!({ "v": 1 })),
        ("zero", json!({ "v": 0 })),
        ("no", json!({ "v": false })),
        ("null", json!({ "v": null })),
        ("null-text", json!({ "v": "null" })),
        ("missing", json!({})),
        ("empty-text", json!({ "v": "" })),
        ("array", json!({ "v": [1, "x", null, { "k": "deep" }] })),
        ("array-text", json!({ "v": "[1,\"x\",null,{\"k\":\"deep\"}]" })),
        ("empty-array", json!({ "v": [] })),
        ("object", json!({ "v": { "b": 1, "a": [2.5, "é"] } })),
        ("object-of-index", json!({ "v": { "0": 1 } })),
        ("nested", json!({ "v": { "k": { "x": "in" } } })),
        ("big", json!({ "v": 9_007_199_254_740_993_i64 })),
        ("near-big", json!({ "v": 9_007_199_254_740_992_i64 })),
        ("huge", json!({ "v": 1e300 })),
        ("case", json!({ "v": "ABC" })),
        ("spaces", json!({ "Major Genre": "Drama", "v": " ABC " })),
        (
            "keys",
            json!({ "a.b": "dot", "": "empty", "q\"q": "quote", "it's": "apostrophe", "b\\b": "backslash",
            "é": "accent", "😀": "face", "a$": "dollar", "0": "digit", "tab\t": "tab", "a[0]": "brackets", "limit": "own" }),
        ),
        ("object-dot", json!({ "a": { "b": "dot" } })),
        ("own-names", json!({ "id": "number", "createdAt": "2000-01-01", "checked_in": true })),
    ]
}

/// Opens a stream with the filter. The collection exists and has no documents yet.
async fn watch(app: &TestApp, parameters: &[(&str, &str)]) -> TestStream {
    let mut stream = app.stream(&path_with("/realtime/sse/things", parameters), None).await;
    stream.opened().await;
    stream
}

/// Returns the ids of a list with the filter.
async fn listed(app: &TestApp, parameters: &[(&str, &str)]) -> BTreeSet<String> {
    let mut parameters = parameters.to_vec();
    parameters.push(("limit", "1000"));
    let answer = app.get(&path_with("/collections/things", &parameters)).await;
    let documents = answer.data().as_array().unwrap();
    documents.iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect()
}

/// Reads a stream to its end and returns the ids of its events. It ends because its collection was removed.
async fn brought(stream: &mut TestStream) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while let Some(block) = stream.try_next_block().await {
        if block.data.is_some() && block.event.is_none() && block.json()["type"] == "event" {
            let event = block.json();
            assert_eq!(event["event"], "created", "{event}");
            assert!(
                ids.insert(event["document"]["id"].as_str().unwrap().to_owned()),
                "a document came twice: {event}"
            );
        }
    }
    ids
}

/// Checks each filter with a list and with a stream. A row has a parameter, its value, the ids that match, and the reason.
async fn assert_agreement(app: &TestApp, rows: &[(&str, &str, &[&str], &str)]) {
    let made = app.post("/collections", json!({ "name": "things" })).await;
    assert_eq!(made.status, 201);
    let mut streams = Vec::new();
    for (key, value, ..) in rows {
        streams.push(watch(app, &[(key, value)]).await);
    }
    for (id, data) in documents() {
        assert_eq!(app.put(&format!("/collections/things/{id}"), data).await.status, 201, "{id}");
    }
    let mut lists = Vec::new();
    for (key, value, ..) in rows {
        lists.push(listed(app, &[(key, value)]).await);
    }
    assert_eq!(app.delete("/collections/things").await.status, 200);
    for (((key, value, expected, why), list), stream) in rows.iter().zip(lists).zip(&mut streams) {
        let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(list, expected, "the list of {key}={value}: {why}");
        assert_eq!(brought(stream).await, expected, "the stream of {key}={value}: {why}");
    }
}

on_both_databases! {
    async fn json_filters_are_typed_in_lists_and_streams(app: &TestApp) {
        let rows: &[(&str, &str, &[&str])] = &[
            (r#"{"v":7}"#, "the number only", &["number"]),
            (r#"{"v":7.0}"#, "equal as a number", &["number"]),
            (r#"{"v":7.5}"#, "a fraction", &["fraction"]),
            (r#"{"v":"7"}"#, "the text only", &["text"]),
            (r#"{"v":true}"#, "true is not 1", &["yes"]),
            (r#"{"v":1}"#, "1 is not true", &["one"]),
            (r#"{"v":false}"#, "false is not 0", &["no"]),
            (r#"{"v":"true"}"#, "text that looks like a boolean", &["yes-text"]),
            (r#"{"v":null}"#, "null or missing", &["null", "missing", "keys", "object-dot", "own-names"]),
            (r#"{"v":"null"}"#, "text that looks like null", &["null-text"]),
            (r#"{"v":""}"#, "empty text is not missing", &["empty-text"]),
            (r#"{"v":[1,"x",null,{"k":"deep"}]}"#, "the whole array", &["array"]),
            (r#"{"v":[1]}"#, "a part of an array does not match", &[]),
            (r#"{"v":[]}"#, "the empty array", &["empty-array"]),
            (r#"{"v":{"a":[2.5,"é"],"b":1.0}}"#, "the whole object, in any order of its keys", &["object"]),
            (r#"{"v":{}}"#, "an empty object matches only an empty object", &[]),
            (r#"{"v":9007199254740993}"#, "integers are exact", &["big"]),
            (r#"{"v":9007199254740992}"#, "the integer next to it is another one", &["near-big"]),
            (r#"{"v":1e300}"#, "a large double", &["huge"]),
            (r#"{"v":"abc"}"#, "case counts", &[]),
            (r#"{"v":" ABC "}"#, "spaces count", &["spaces"]),
            (r#"{"v.0":1}"#, "an index enters the array, not the object", &["array"]),
            (r#"{"v.0.0":1}"#, "a number has no elements, not even the first", &[]),
            (r#"{"v.\\0":1}"#, "an escaped index is a key", &["object-of-index"]),
            (r#"{"v.2":null,"v.1":"x"}"#, "null inside an array", &["array"]),
            (r#"{"v.3.k":"deep"}"#, "through an array into an object", &["array"]),
            (r#"{"v.k.x":"in"}"#, "nested objects", &["nested"]),
            (r#"{"v.k":{"x":"in"}}"#, "an object in an object", &["nested"]),
            (r#"{"Major Genre":"Drama"}"#, "a space in a key", &["spaces"]),
            (r#"{"a.b":"dot"}"#, "a dot enters an object", &["object-dot"]),
            (r#"{"a\\.b":"dot"}"#, "an escaped dot is a part of the key", &["keys"]),
            (r#"{"":"empty"}"#, "the empty key", &["keys"]),
            (r#"{"q\"q":"quote"}"#, "a quote in a key", &["keys"]),
            (r#"{"it's":"apostrophe"}"#, "an apostrophe in a key", &["keys"]),
            (r#"{"b\\\\b":"backslash"}"#, "a backslash in a key", &["keys"]),
            (r#"{"é":"accent","😀":"face"}"#, "keys beyond ASCII", &["keys"]),
            (r#"{"data.a$":"dollar"}"#, "a dollar begins a group only in the first place", &["keys"]),
            (r#"{"\\0":"digit"}"#, "a key of digits", &["keys"]),
            (r#"{"tab\t":"tab","a[0]":"brackets"}"#, "control characters and brackets", &["keys"]),
            (r#"{"limit__eq":"own"}"#, "a field with the name of a parameter", &["keys"]),
            (r#"{"id":"number"}"#, "the document's own id", &["number"]),
            (r#"{"data.id":"number"}"#, "the field of that name", &["own-names"]),
            (r#"{"checked_in__eq":true}"#, "a name that ends like an operator", &["own-names"]),
            (r#"{"createdAt":"2000-01-01"}"#, "the document's own time", &[]),
            (r#"{"data.createdAt":"2000-01-01"}"#, "the field of that name", &["own-names"]),
            (r#"{"v":7,"id":"number"}"#, "all terms must hold", &["number"]),
            (r#"{"v":7,"id":"text"}"#, "one term does not hold", &[]),
        ];
        let rows: Vec<_> = rows.iter().map(|(filter, why, expected)| ("filters", *filter, *expected, *why)).collect();
        assert_agreement(app, &rows).await;
    }

    async fn text_from_a_url_means_any_value_it_could_denote(app: &TestApp) {
        assert_agreement(app, &[
            ("v", "7", &["number", "text"], "the number or the text"),
            ("v", "7.0", &["number"], "an equal number, another text"),
            ("v", "7.5", &["fraction"], "a fraction"),
            ("v", "07", &[], "not a JSON number, and another text"),
            ("v", "true", &["yes", "yes-text"], "the boolean or the text"),
            ("v", "True", &["yes"], "booleans are read in any case"),
            ("v", "1", &["one"], "1 is not true"),
            ("v", "null", &["null-text"], "text never means null"),
            ("v", "", &["empty-text"], "empty text is not missing"),
            ("v", "[]", &[], "text never means an array"),
            ("v", " ABC ", &["spaces"], "spaces count"),
            ("v", "1e300", &["huge"], "a large double"),
            ("v", "9007199254740993", &["big"], "integers are exact"),
            ("Major Genre", "Drama", &["spaces"], "a space in a key"),
            ("v.k.x", "in", &["nested"], "a nested path"),
            ("v.0", "1", &["array"], "an index of an array"),
            ("a\\.b", "dot", &["keys"], "an escaped dot"),
            ("limit__eq", "own", &["keys"], "a field named like a parameter"),
            ("id", "number", &["number"], "the document's own id"),
            ("data.id", "number", &["own-names"], "the field of that name"),
            ("v__eq", "7", &["number", "text"], "the operator spelled out"),
            ("v_eq", "7", &["number", "text"], "the operator as the client libraries spell it"),
            ("checked_in__eq", "true", &["own-names"], "a name that ends like an operator"),
        ]).await;
    }

    async fn repeated_keys_and_both_kinds_of_filters_all_count(app: &TestApp) {
        for (id, data) in documents() {
            app.put(&format!("/collections/things/{id}"), data).await;
        }
        for (why, parameters, expected) in [
            ("no value equals two texts", vec![("v", "a"), ("v", "b")], vec![]),
            ("the text and the JSON must match", vec![("v", "7"), ("filters", r#"{"v":"7"}"#)], vec!["text"]),
            ("one of them does not hold", vec![("v", "true"), ("filters", r#"{"v":7}"#)], vec![]),
        ] {
            let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(listed(app, &parameters).await, expected, "{why}");
        }
        assert_eq!(listed(app, &[("filters", "{}")]).await.len(), documents().len(), "an empty filter matches every document");
    }

    async fn a_document_is_found_by_its_own_times(app: &TestApp) {
        let document = app.put("/collections/things/a", json!({})).await.data().clone();
        let created = document["createdAt"].as_str().unwrap();
        let elsewhere = created.replace('Z', "+00:00");
        for (key, value, found) in [
            ("createdAt", created, true),
            ("created_at", created, true),
            ("createdAt", &*elsewhere, true),
            ("updatedAt", created, true),
            ("updated_at", created, true),
            ("createdAt", "1999-12-31", false),
            ("data.createdAt", created, false),
        ] {
            assert_eq!(listed(app, &[(key, value)]).await.len(), usize::from(found), "{key}={value}");
        }
        assert_eq!(listed(app, &[("filters", &json!({ "createdAt": created, "id": "a" }).to_string())]).await.len(), 1);
    }

    async fn an_impossible_filter_is_refused_by_name(app: &TestApp) {
        app.create("things", json!({})).await;
        let many = (0..51).map(|n| (format!("f{n}"), json!(n))).collect();
        let (many, deep) = (Value::Object(many).to_string(), format!("{{\"v\":{}1{}}}", "[".repeat(9), "]".repeat(9)));
        for (key, value, named) in [
            ("[or", "x", "[or"),
            ("[orders]a", "x", "[orders]a"),
            ("status__isnull", "maybe", "status__isnull"),
            ("createdAt__contains", "2026", "createdAt__contains"),
            ("filters", r#"{"age__lt":true}"#, "age__lt"),
            ("filters", r#"{"age":{"$lt":3}}"#, "age__lt"),
            ("filters", r#"{"status__in":"a,b"}"#, "status__in"),
            ("filters", r#"{"$or":{"a":1}}"#, "$or"),
            ("filters", r#"{"$where":"1"}"#, "$where"),
            ("filters", r#"{"createdAt":7}"#, "createdAt"),
            ("filters", r#"{"a..b":1}"#, "a..b"),
            ("filters", r#"{"a":1e400}"#, "filters"),
            ("filters", "{", "filters"),
            ("filters", "7", "filters"),
            ("filters", &*many, "50"),
            ("filters", &*deep, "`v`"),
            ("createdAt", "noon", "createdAt"),
            ("updatedAt", "", "updatedAt"),
            (".a", "x", ".a"),
        ] {
            for path in ["/collections/things", "/realtime/sse/things"] {
                let answer = app.get(&path_with(path, &[(key, value)])).await;
                assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{path} {key}={value}");
                let message = answer.body["error"]["message"].as_str().unwrap();
                assert!(message.contains(named), "{path} {key}={value}: {message}");
            }
        }
    }
}
