//! Select, count, aggregate and group-by: the same numbers on both databases, whatever types a field has.

use serde_json::{Value, json};

use crate::harness::{TestApp, on_both_databases, path_with};

async fn ask(app: &TestApp, what: &str, parameters: &[(&str, &str)]) -> Value {
    let answer = app.get(&path_with(&format!("/collections/things/{what}"), parameters)).await;
    assert_eq!(answer.status, 200, "{what} {parameters:?}: {answer:?}");
    answer.data().clone()
}

async fn result(app: &TestApp, operation: &str, field: &str, more: &[(&str, &str)]) -> Value {
    let parameters = [&[("operation", operation), ("field", field)], more].concat();
    let answer = ask(app, "query/aggregate", &parameters).await;
    assert_eq!(answer["field"], field);
    assert_eq!(answer["operation"], operation);
    answer["result"].clone()
}

/// Writes documents with the ids `a`, `b`, …
async fn write_all(app: &TestApp, documents: &[Value]) {
    for (place, document) in documents.iter().enumerate() {
        let id = char::from(b'a' + u8::try_from(place).unwrap());
        let answer = app.put(&format!("/collections/things/{id}"), document.clone()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

on_both_databases! {
    async fn a_selection_keeps_the_named_fields_and_the_documents_own(app: &TestApp) {
        let data = json!({ "title": "T", "author": { "name": "Ada", "mail": "a@x" }, "a,b": [1, { "c": 2, "d": 3 }], "n": null });
        app.put("/collections/things/a", data.clone()).await;
        let whole = app.get("/collections/things/a").await;
        for (select, expected) in [
            (vec!["title"], json!({ "title": "T" })),
            (vec!["title,author.name"], json!({ "title": "T", "author": { "name": "Ada" } })),
            (vec!["title", "author.name"], json!({ "title": "T", "author": { "name": "Ada" } })),
            (vec![r"a\,b.1.c"], json!({ "a,b": [{ "c": 2 }] })),
            (vec!["n,gone"], json!({ "n": null })),
            (vec!["id"], json!({})),
            (vec!["data.author"], json!({ "author": data["author"] })),
        ] {
            let parameters: Vec<_> = select.iter().map(|text| ("select", *text)).collect();
            let one = app.get(&path_with("/collections/things/a", &parameters)).await;
            let mut document = whole.data().clone();
            document["data"] = expected;
            assert_eq!(one.data(), &document, "{select:?}");
            assert_eq!(one.headers["etag"], whole.headers["etag"]);
            let listed = app.get(&path_with("/collections/things", &parameters)).await;
            assert_eq!(listed.data(), &json!([document]), "{select:?}");
        }
        for (path, parameters, named) in [
            ("/collections/things", vec![("select", "")], "select"),
            ("/collections/things", vec![("select", "a..b")], "a..b"),
            ("/collections/things/a", vec![("select", "x,,y")], "select"),
            ("/collections/things/a", vec![("limit", "1")], "limit"),
            ("/collections/things/a", vec![("title", "T")], "title"),
        ] {
            let answer = app.get(&path_with(path, &parameters)).await;
            assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{parameters:?}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains(named), "{answer:?}");
        }
    }

    async fn a_count_counts_the_documents_that_match(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        assert_eq!(ask(app, "query/count", &[]).await, json!({ "count": 0 }));
        write_all(app, &[json!({ "n": 1 }), json!({ "n": "1" }), json!({ "n": null }), json!({}), json!({ "n": [] })]).await;
        for (parameters, count) in [
            (vec![], 5),
            (vec![("n", "1")], 2),
            (vec![("filters", r#"{"n":1}"#)], 1),
            (vec![("n__isnull", "true")], 2),
            (vec![("[or]n", "1"), ("[or]id", "d")], 3),
            (vec![("limit", "1"), ("offset", "3")], 5),
            (vec![("limit", "5000"), ("offset", "0"), ("n", "1")], 2),
        ] {
            assert_eq!(ask(app, "query/count", &parameters).await, json!({ "count": count }), "{parameters:?}");
        }
        for (field, count) in [("n", 3), ("id", 5), ("createdAt", 5), ("gone", 0)] {
            assert_eq!(result(app, "count", field, &[]).await, count, "{field}");
        }
        assert_eq!(ask(app, "query/aggregate", &[("operation", "count")]).await, json!({ "field": null, "operation": "count", "result": 5 }));
        assert_eq!(result(app, "count", "n", &[("n", "1")]).await, 2);
        assert_eq!(app.get("/collections/none/query/count").await.error(), (404, "INVALID_COLLECTION"));
    }

    async fn aggregates_use_the_values_of_their_type(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        for (operation, expected) in [("count", json!(0)), ("sum", json!(0)), ("avg", json!(null)), ("min", json!(null)), ("max", json!(null))] {
            assert_eq!(result(app, operation, "n", &[]).await, expected, "{operation} of nothing");
        }
        let written = [
            json!({ "n": 1, "big": i64::MAX, "wild": 1e308, "mixed": "text", "cents": 0.1, "deep": { "x": [5] } }),
            json!({ "n": 2.5, "big": 1, "wild": 1e308, "mixed": 7, "cents": 0.2, "deep": { "x": [7.5] } }),
            json!({ "n": -4, "big": -3, "wild": 5e-324, "mixed": true, "cents": 0.3, "deep": { "x": [] } }),
            json!({ "n": null, "big": 9_007_199_254_740_993_i64, "mixed": [9], "deep": [1] }),
            json!({ "big": "17", "mixed": { "a": 1 }, "wild": -1e308 }),
            json!({ "mixed": "Text", "wild": 1e300 }),
            json!({ "mixed": 9.5, "max": f64::MAX }),
            json!({ "mixed": false, "max": f64::MAX }),
        ];
        write_all(app, &written).await;
        for (field, more, expected) in [
            ("n", vec![], [json!(-0.5), json!(-0.5 / 3.0), json!(-4), json!(2.5)]),
            ("big", vec![("big__gt", "0")], [json!(9_232_379_236_109_516_802_u64 as f64), json!(3_077_459_745_369_839_104_i64), json!(1), json!("17")]),
            ("big", vec![("id__in", "b,c,d")], [json!(9_007_199_254_740_991_i64), json!(9_007_199_254_740_991.0 / 3.0), json!(-3), json!(9_007_199_254_740_993_i64)]),
            ("wild", vec![("id__in", "a,c,e")], [json!(5e-324), json!(0), json!(-1e308), json!(1e308)]),
            ("wild", vec![("id__in", "a,b,e")], [json!(1e308), json!(1e308 / 3.0), json!(-1e308), json!(1e308)]),
            ("wild", vec![("id__in", "a,b")], [json!(null), json!(null), json!(1e308), json!(1e308)]),
            ("max", vec![], [json!(null), json!(null), json!(f64::MAX), json!(f64::MAX)]),
            ("mixed", vec![], [json!(16.5), json!(8.25), json!(7), json!({ "a": 1 })]),
            ("mixed", vec![("id__notin", "d,e")], [json!(16.5), json!(8.25), json!(7), json!(true)]),
            ("mixed", vec![("id__in", "a,f")], [json!(0), json!(null), json!("Text"), json!("text")]),
            ("cents", vec![], [json!(0.6), json!(0.6 / 3.0), json!(0.1), json!(0.3)]),
            ("cents", vec![("id__in", "a,b")], [json!(0.1 + 0.2), json!((0.1 + 0.2) / 2.0), json!(0.1), json!(0.2)]),
            ("deep.x.0", vec![], [json!(12.5), json!(6.25), json!(5), json!(7.5)]),
            ("gone", vec![], [json!(0), json!(null), json!(null), json!(null)]),
        ] {
            for (operation, expected) in ["sum", "avg", "min", "max"].into_iter().zip(expected) {
                assert_eq!(result(app, operation, field, &more).await, expected, "{operation} of {field} with {more:?}");
            }
        }
        let oldest = app.get("/collections/things/a").await.data()["createdAt"].clone();
        let newest = app.patch("/collections/things/b", json!({})).await.data()["updatedAt"].clone();
        assert_eq!(result(app, "min", "createdAt", &[]).await, oldest);
        assert_eq!(result(app, "max", "updatedAt", &[]).await, newest);
        assert_eq!((result(app, "min", "id", &[]).await, result(app, "max", "id", &[]).await), (json!("a"), json!("h")));
    }

    async fn groups_are_sorted_by_size_and_then_by_value(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        assert_eq!(ask(app, "query/group-by", &[("field", "kind")]).await, json!([]));
        write_all(app, &[
            json!({ "kind": "b", "n": 1 }), json!({ "kind": "b", "n": 4 }), json!({ "kind": "b", "n": "text" }),
            json!({ "kind": null, "n": 2 }), json!({ "n": 8 }),
            json!({ "kind": 1, "n": 0.1 }), json!({ "kind": 1.0, "n": 0.2 }), json!({ "kind": "1" }),
            json!({ "kind": true, "n": [2] }), json!({ "kind": "true", "n": null }),
            json!({ "kind": { "y": 1, "x": [2] }, "n": "z" }), json!({ "kind": { "x": [2.0], "y": 1 }, "n": "a" }), json!({ "kind": { "x": [2] } }),
            json!({ "kind": [] }), json!({ "kind": "null" }), json!({ "kind": 1e300 }), json!({ "kind": 9_007_199_254_740_993_i64 }),
        ]).await;
        let counts = json!([
            { "value": "b", "count": 3 },
            { "value": null, "count": 2 }, { "value": 1, "count": 2 }, { "value": { "x": [2], "y": 1 }, "count": 2 },
            { "value": 9_007_199_254_740_993_i64, "count": 1 }, { "value": 1e300, "count": 1 }, { "value": "1", "count": 1 },
            { "value": "null", "count": 1 }, { "value": "true", "count": 1 }, { "value": true, "count": 1 },
            // A sort treats all arrays and objects as equal, so the ids of their documents decide.
            { "value": { "x": [2] }, "count": 1 }, { "value": [], "count": 1 },
        ]);
        assert_eq!(ask(app, "query/group-by", &[("field", "kind")]).await, counts);
        let page = ask(app, "query/group-by", &[("field", "kind"), ("limit", "3"), ("offset", "2")]).await;
        assert_eq!(page.as_array().unwrap(), &counts.as_array().unwrap()[2..5]);
        let some = ask(app, "query/group-by", &[("field", "kind"), ("filters", r#"{"n__gt":0}"#), ("kind__startswith", "b")]).await;
        assert_eq!(some, json!([{ "value": "b", "count": 2 }]));

        for (operation, results) in [
            ("sum", [json!(5), json!(10), json!(0.1 + 0.2), json!(0)]),
            ("avg", [json!(2.5), json!(5), json!((0.1 + 0.2) / 2.0), json!(null)]),
            ("min", [json!(1), json!(2), json!(0.1), json!("a")]),
            ("max", [json!("text"), json!(8), json!(0.2), json!("z")]),
            ("count", [json!(3), json!(2), json!(2), json!(2)]),
        ] {
            let parameters = [("field", "kind"), ("operation", operation), ("of", "n")];
            let groups = ask(app, "query/group-by", &parameters).await;
            let found: Vec<_> = groups.as_array().unwrap().iter().map(|group| group["result"].clone()).collect();
            assert_eq!(found[..4], results, "{operation}");
            assert_eq!(found.len(), 12);
            let without: Vec<_> = groups.as_array().unwrap().iter().map(|group| json!({ "value": group["value"], "count": group["count"] })).collect();
            assert_eq!(json!(without), counts, "{operation}");
            let page = ask(app, "query/group-by", &[&parameters[..], &[("limit", "2"), ("offset", "1")]].concat()).await;
            assert_eq!(page.as_array().unwrap(), &groups.as_array().unwrap()[1..3], "{operation}");
        }
        let newest = app.get("/collections/things/b").await.data()["createdAt"].clone();
        let times = ask(app, "query/group-by", &[("field", "kind"), ("operation", "min"), ("of", "createdAt"), ("id__in", "b")]).await;
        assert_eq!(times, json!([{ "value": "b", "count": 1, "result": newest }]));
        let ids = ask(app, "query/group-by", &[("field", "id"), ("limit", "2")]).await;
        assert_eq!(ids, json!([{ "value": "a", "count": 1 }, { "value": "b", "count": 1 }]));
        let by_time = ask(app, "query/group-by", &[("field", "createdAt"), ("id", "b")]).await;
        assert_eq!(by_time, json!([{ "value": newest, "count": 1 }]));
    }

    async fn groups_that_need_too_much_memory_are_refused_with_advice(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        for n in 0..20 {
            let value = format!("{n}{}", "x".repeat(1_000_000));
            assert_eq!(app.post("/collections/things", json!({ "v": value, "kind": n })).await.status, 201);
        }
        let answer = app.get("/collections/things/query/group-by?field=v").await;
        assert!(answer.body["error"]["message"].as_str().unwrap().contains("`limit`"), "{:?}", answer.error());
        let answer = app.get("/collections/things/query/group-by?field=kind&operation=max&of=v").await;
        assert!(answer.body["error"]["message"].as_str().unwrap().contains("`limit`"), "{:?}", answer.error());
        assert_eq!(ask(app, "query/group-by", &[("field", "v"), ("limit", "3")]).await.as_array().unwrap().len(), 3);
    }

    async fn invalid_query_parameters_are_refused_by_name(app: &TestApp) {
        app.post("/collections", json!({ "name": "things" })).await;
        for (what, parameters, named) in [
            ("count", vec![("orderBy", "n")], "orderBy"),
            ("count", vec![("select", "n")], "select"),
            ("count", vec![("field", "n")], "field"),
            ("count", vec![("limit", "x")], "limit"),
            ("count", vec![("a..b", "1")], "a..b"),
            ("aggregate", vec![("field", "n")], "operation"),
            ("aggregate", vec![("operation", "sum")], "field"),
            ("aggregate", vec![("operation", "median"), ("field", "n")], "operation"),
            ("aggregate", vec![("operation", "sum"), ("field", "a..b")], "field"),
            ("aggregate", vec![("operation", "sum"), ("field", "")], "field"),
            ("aggregate", vec![("operation", "sum"), ("field", "createdAt")], "sum"),
            ("aggregate", vec![("operation", "sum"), ("operation", "avg"), ("field", "n")], "operation"),
            ("aggregate", vec![("operation", "sum"), ("field", "n"), ("of", "n")], "of"),
            ("group-by", vec![], "field"),
            ("group-by", vec![("field", "n"), ("of", "n")], "operation"),
            ("group-by", vec![("field", "n"), ("operation", "sum")], "of"),
            ("group-by", vec![("field", "n"), ("operation", "sum"), ("of", "id")], "sum"),
            ("group-by", vec![("field", "n"), ("limit", "1001")], "limit"),
            ("group-by", vec![("field", "n"), ("format", "csv")], "format"),
        ] {
            let answer = app.get(&path_with(&format!("/collections/things/query/{what}"), &parameters)).await;
            assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{what} {parameters:?}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(named), "{what} {parameters:?}: {message}");
        }
        assert_eq!(app.get("/collections/things/query/none").await.error(), (404, "NOT_FOUND"));
        assert_eq!(app.post("/collections/things/query/count", json!({})).await.error(), (405, "METHOD_NOT_ALLOWED"));
    }
}
