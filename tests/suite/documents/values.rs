//! JSON values come back equal to the values that were written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{on_both_databases, path_with};

/// Returns whether two JSON values are equal. Numbers compare by value, and the order of keys doesn't count.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one == other,
            _ => one.as_f64() == other.as_f64(),
        },
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|found| is_equal(value, found)))
        }
        _ => one == other,
    }
}

/// Returns a number inside of `levels` objects and arrays.
fn nested(levels: usize) -> Value {
    (0..levels)
        .fold(json!(1), |value, level| if level % 2 == 0 { json!({ "a": value }) } else { json!([value]) })
}

/// Generates doubles of all magnitudes, the same ones in every run (SplitMix64).
fn doubles(count: u64) -> impl Iterator<Item = f64> {
    (1..=count)
        .map(|place| {
            let mut bits = place.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^ (bits >> 31)
        })
        // Half of the doubles have magnitudes that applications use.
        .map(
            |bits| {
                if bits % 2 == 0 { f64::from_bits(bits) } else { (bits >> 11) as f64 / 9_007_199_254_740.992 }
            },
        )
        .filter(|double| double.is_finite())
}

on_both_databases! {
    async fn values_come_back_equal(app: &TestApp) {
        for (why, value) in [
            ("the largest and least integers", json!([i64::MAX, i64::MIN])),
            ("integers that no double holds", json!([9_007_199_254_740_993_i64, -9_007_199_254_740_993_i64])),
            ("whole doubles", json!([1.0, 1e3, -2.0, 1e15])),
            ("zeros", json!([0, 0.0, -0.0])),
            ("large and small doubles", json!([1e300, -1e300, 1e21, f64::MAX, f64::MIN_POSITIVE, 5e-324])),
            ("fractions", json!([0.1, 1.0 / 3.0, 121.487_919_511_619_45, 31.245_270_191_439_438])),
            ("an integer beyond 63 bits", json!(18_446_744_073_709_551_615_u64)),
            ("text", json!(["", " ", "ü", "日本", "😀", "e\u{301}", "\u{1}\u{1f}\u{7f}", "\"\\/\u{8}\u{c}\n\r\t", "\u{2028}\u{feff}\u{ffff}"])),
            ("text that looks like another value", json!(["1", "true", "null", "{}", "[]", "NaN", "\\u0000"])),
            ("keys", json!({ "": 1, " ": 2, "a.b": 3, "a\"b": 4, "a'b": 5, "a\\b": 6, "a$": 7, "0": 8, "é": 9, "😀": 10, "a b": 11, "\n": 12, "--": 13, "__proto__": 14 })),
            ("empty containers", json!([{}, [], [[]], [{}]])),
            ("literals", json!([null, true, false])),
            ("63 levels inside the document", nested(63)),
            ("a long text", json!("x".repeat(100_000))),
        ] {
            let sent = json!({ "value": value, "": value });
            let created = app.create("values", sent.clone()).await;
            assert!(is_equal(&created["data"], &sent), "{why}: {}", created["data"]);
            let read = app.get(&format!("/collections/values/{}", created["id"].as_str().unwrap())).await;
            assert!(is_equal(&read.data()["data"], &sent), "{why}: {}", read.data()["data"]);
        }
        let too_deep = app.post("/collections/values", json!({ "value": nested(64) })).await;
        assert_eq!(too_deep.error(), (400, "INVALID_BODY"));
    }

    async fn every_double_comes_back_to_the_last_bit(app: &TestApp) {
        let sent: Vec<f64> = doubles(2000).collect();
        // The shortest spelling that Rust prints denotes exactly this double.
        let spelled: Vec<String> = sent.iter().map(|double| format!("{double:e}")).collect();
        let body = format!("{{\"doubles\":[{}]}}", spelled.join(","));
        let put = app.request(reqwest::Method::PUT, "/collections/values/doubles").body(body);
        assert_eq!(app.send(put).await.status, 201);
        // A merge writes back the document that it read from the database, so a lost bit would be lost twice.
        app.patch("/collections/values/doubles", json!({ "merged": true })).await;

        let read = app.request(reqwest::Method::GET, "/collections/values/doubles").send().await.unwrap();
        let text = read.text().await.unwrap();
        let array = text.split_once("\"doubles\":[").unwrap().1.split_once(']').unwrap().0;
        let came: Vec<f64> = array.split(',').map(|spelling| spelling.parse().unwrap()).collect();
        let wrong: Vec<_> = sent.iter().zip(&came).filter(|(sent, came)| sent != came).collect();
        assert!(wrong.is_empty() && sent.len() == came.len(), "{} differ, such as {:?}", wrong.len(), wrong.first());
    }

    async fn a_dot_and_the_name_id_are_parts_of_the_data(app: &TestApp) {
        let made = app.create("books", json!({ "id": "mine", "a.b": 1 })).await;
        assert_ne!(made["id"], "mine", "the server chooses the id");
        let path = format!("/collections/books/{}", made["id"].as_str().unwrap());
        let changed = app.patch(&path, json!({ "a.b": 2, "a": { "b": 3 } })).await;
        assert_eq!(changed.data()["data"], json!({ "id": "mine", "a.b": 2, "a": { "b": 3 } }));
        for (filter, found) in [
            (("data.id", "mine"), 1),
            (("id", "mine"), 0),
            ((r"a\.b", "2"), 1),
            (("a.b", "3"), 1),
            (("a.b", "2"), 0),
        ] {
            let list = app.get(&path_with("/collections/books", &[filter])).await;
            assert_eq!(list.data().as_array().unwrap().len(), found, "{filter:?}");
        }
    }

    async fn a_member_that_is_there_twice_is_refused_by_every_door(app: &TestApp) {
        let kept = app.put("/collections/books/a", json!({ "n": 0 })).await;
        assert_eq!(kept.status, 201);
        let (post, put, patch) = (Method::POST, Method::PUT, Method::PATCH);
        for (method, path, body) in [
            (&post, "", r#"{"n":1,"n":2}"#),
            (&put, "/a", r#"{"o":[{"n":1,"n":2}]}"#),
            (&patch, "/a", r#"{"$inc":{"n":1,"n":2}}"#),
            (&post, "/batch", r#"{"documents":[{"n":1,"n":2}]}"#),
            (&patch, "/batch", r#"{"updates":{"a":{"n":1,"n":2}}}"#),
            (&patch, "/batch", r#"{"updates":{"a":{"n":1}},"updates":{"a":{"n":2}}}"#),
            (&post, "/query", r#"{"filters":{"n":1,"n":2}}"#),
            (&post, "/documents", r#"{"n":1,"n":2}"#),
            (&post, "/documents", r#"{"data":{"n":1,"n":2}}"#),
            (&patch, "/documents/a", r#"{"data":{"n":1,"n":2}}"#),
            (&post, "/batch/documents/create", r#"{"documents":[{"n":1,"n":2}]}"#),
            (&patch, "/batch/documents/update", r#"{"updates":[{"id":"a","n":1,"n":2}]}"#),
        ] {
            let request = app.request(method.clone(), &format!("/collections/books{path}")).body(body);
            let answer = app.send(request).await;
            assert_eq!(answer.status, 400, "{path}: {body}: {answer:?}");
            assert!(answer.body.to_string().contains("is there twice"), "{path}: {body}: {answer:?}");
        }
        assert_eq!(app.get("/collections/books/a").await.data()["data"], json!({ "n": 0 }));
    }

    async fn equal_numbers_match_whatever_their_spelling(app: &TestApp) {
        let sent: Vec<f64> = doubles(50).collect();
        let data = sent.iter().enumerate().map(|(place, double)| (format!("n{place}"), json!(double))).collect();
        app.create("values", Value::Object(data)).await;

        let mut missed = Vec::new();
        for (place, double) in sent.iter().enumerate() {
            let filters = json!({ format!("n{place}"): double }).to_string();
            let found = app.get(&path_with("/collections/values", &[("filters", &filters)])).await;
            if found.data() == &json!([]) {
                missed.push(double);
            }
        }
        assert!(missed.is_empty(), "{} of {} are not found: {missed:?}", missed.len(), sent.len());
    }
}
