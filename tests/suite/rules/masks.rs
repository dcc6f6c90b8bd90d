//! Fields that not everybody may read, on every door: whoever may not sees documents without them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, ids, set_rules};
use crate::{
    harness::{PUBLISHABLE_KEY, TestStream, on_both_databases},
    users::{
        sign_up,
        streams::{socket, sse},
    },
};

/// The phone is its owner's, and the score is nobody's but the servers'.
fn people() -> Value {
    json!({
        "read": true, "create": true, "update": true, "delete": true,
        "fields": { "phone": { "read": { "owner": "$user.id" } }, "score": { "read": false }, "home.door": { "read": "@user" } },
    })
}

fn person(owner: &str) -> Value {
    json!({ "name": "A", "owner": owner, "phone": "5", "score": 7, "home": { "city": "X", "door": 3 } })
}

on_both_databases! {
    async fn whoever_may_not_read_a_field_sees_documents_without_it(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "people", people()).await;
        app.put("/collections/people/a", person(&ada.id)).await;
        app.put("/collections/people/b", person("bob")).await;
        let mine = json!({ "name": "A", "owner": ada.id, "phone": "5", "home": { "city": "X", "door": 3 } });
        let hers = json!({ "name": "A", "owner": "bob", "home": { "city": "X", "door": 3 } });
        let public = json!({ "name": "A", "owner": "bob", "home": { "city": "X" } });
        let get = async |path: &str| as_user(app, &ada, Method::GET, path, Value::Null).await;
        let guest = async |path: &str| as_guest(app, Method::GET, path, Value::Null).await;
        assert_eq!(get("/collections/people/a").await.data()["data"], mine);
        assert_eq!(get("/collections/people/b").await.data()["data"], hers);
        assert_eq!(guest("/collections/people/b").await.data()["data"], public);
        let list = get("/collections/people?orderBy=id").await;
        assert_eq!((&list.data()[0]["data"], &list.data()[1]["data"]), (&mine, &hers));
        assert_eq!(app.get("/collections/people/b").await.data()["data"], person("bob"), "a server sees all");

        // `select` leaves it out, and so do exports, of which no column tells.
        let selected = get("/collections/people/b?select=phone,name,score").await;
        assert_eq!(selected.data()["data"], json!({ "name": "A" }));
        for (format, expected) in [("ndjson", "\"name\""), ("csv", "id,createdAt,updatedAt,version,home,name,owner")] {
            let request = app.request_as(PUBLISHABLE_KEY, Method::GET, &format!("/collections/people/export?format={format}"));
            let text = request.send().await.unwrap().text().await.unwrap();
            assert!(text.contains(expected) || format == "csv", "{text}");
            assert!(!text.contains("phone") && !text.contains("score") && !text.contains("door"), "{text}");
        }

        // A filter finds what is seen.
        assert_eq!(ids(&get("/collections/people?phone=5").await), ["a"]);
        assert_eq!(ids(&get("/collections/people?phone__isnull=true").await), ["b"]);
        assert_eq!(get("/collections/people/query/count?phone__ne=5").await.data()["count"], 1);
        assert_eq!(ids(&get("/collections/people?orderBy=-phone").await), ["a", "b"]);
        let groups = get("/collections/people/query/group-by?field=phone").await;
        assert_eq!(groups.data(), &json!([{ "value": null, "count": 1 }, { "value": "5", "count": 1 }]));
        let least = get("/collections/people/query/aggregate?operation=count&field=phone").await;
        assert_eq!(least.data()["result"], 1);
    }

    async fn a_question_about_a_field_that_one_may_never_read_is_forbidden(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "people", people()).await;
        app.put("/collections/people/a", person(&ada.id)).await;
        for path in [
            "?score=7", "?score__gt=1", "?[or]score=7&[or]name=A", "?orderBy=score", "/query/count?score=7",
            "/query/aggregate?operation=sum&field=score", "/query/aggregate?operation=max&field=score", "/query/aggregate?operation=count&field=score",
            "/query/group-by?field=score", "/query/group-by?field=name&operation=sum&of=score", "/export?format=json&score=7",
            "/export?format=csv&orderBy=score",
        ] {
            let answer = as_user(app, &ada, Method::GET, &format!("/collections/people{path}"), Value::Null).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{path}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains("`score`"), "{answer:?}");
            assert_eq!(app.get(&format!("/collections/people{path}")).await.status, 200, "{path}");
        }
        // A guest is the owner of nothing, so that no guest ever sees a phone.
        let answer = as_guest(app, Method::GET, "/collections/people?phone=5", Value::Null).await;
        assert_eq!(answer.error(), (403, "FORBIDDEN"));
        let mut socket = socket(app, &ada.access).await;
        socket.send(json!({ "type": "subscribe", "collection": "people", "filters": { "score": 7 } })).await;
        assert_eq!(socket.next_error().await.0, "FORBIDDEN");
        let refused = app.send(app.request_as(&ada.access, Method::GET, "/realtime/sse/people?score=7")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }

    async fn a_write_keeps_what_its_author_does_not_see(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "people", people()).await;
        app.put("/collections/people/b", person("bob")).await;
        let put = json!({ "name": "B", "owner": "bob", "home": { "city": "Y" } });
        let written = as_guest(app, Method::PUT, "/collections/people/b", put.clone()).await;
        assert_eq!(written.data()["data"], put, "the answer shows what the author sees");
        let kept = json!({ "name": "B", "owner": "bob", "phone": "5", "score": 7, "home": { "city": "Y", "door": 3 } });
        assert_eq!(app.get("/collections/people/b").await.data()["data"], kept);
        let patched = as_guest(app, Method::PATCH, "/collections/people/b", json!({ "home": { "city": "Z" } })).await;
        assert_eq!(patched.data()["data"]["home"], json!({ "city": "Z" }));
        assert_eq!(app.get("/collections/people/b").await.data()["data"]["home"], json!({ "city": "Z", "door": 3 }));
        // A field that one can't see can be written, unless a rule says who may.
        let patched = as_user(app, &ada, Method::PATCH, "/collections/people/b", json!({ "phone": "6" })).await;
        assert_eq!(patched.data()["data"]["phone"], Value::Null, "{patched:?}");
        assert_eq!(app.get("/collections/people/b").await.data()["data"]["phone"], "6");
        // Other doors answer writes, too.
        let batch = json!({ "operations": [{ "op": "update", "collection": "people", "id": "b", "data": { "name": "C" } }] });
        let answer = as_guest(app, Method::POST, "/transactions", batch).await;
        assert!(answer.status == 200 && !answer.body.to_string().contains("phone"), "{answer:?}");
        let created = as_guest(app, Method::POST, "/collections/people", person("bob")).await;
        assert_eq!(created.status, 201);
        assert_eq!(created.data()["data"], json!({ "name": "A", "owner": "bob", "home": { "city": "X" } }));
    }

    async fn joined_documents_are_masked_by_the_rules_of_their_own_collection(app: &TestApp) {
        set_rules(app, "people", people()).await;
        set_rules(app, "posts", json!({ "read": true, "fields": { "editor_id": { "read": false } } })).await;
        app.put("/collections/people/b", person("bob")).await;
        app.put("/collections/posts/p", json!({ "author_id": "b", "editor_id": "b", "title": "T" })).await;
        let post = as_guest(app, Method::GET, "/collections/posts/p?populate=author:people,editor:people", Value::Null).await;
        let joined = &post.data()["data"];
        assert_eq!(joined["author"]["data"], json!({ "name": "A", "owner": "bob", "home": { "city": "X" } }), "{post:?}");
        assert_eq!(joined["editor"], Value::Null, "{post:?}");
        // In reverse, a field that is hidden joins nothing.
        set_rules(app, "notes", json!({ "read": true, "fields": { "people_id": { "read": { "public": true } } } })).await;
        app.put("/collections/notes/shown", json!({ "people_id": "b", "public": true })).await;
        app.put("/collections/notes/hidden", json!({ "people_id": "b" })).await;
        let person = as_guest(app, Method::GET, "/collections/people/b?populate=notes", Value::Null).await;
        let notes: Vec<_> = person.data()["data"]["notes"].as_array().unwrap().iter().map(|note| &note["id"]).collect();
        assert_eq!(notes, ["shown"], "{person:?}");
    }

    async fn streams_show_what_is_seen_and_tell_of_nothing_else(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "people", people()).await;
        app.put("/collections/people/a", person(&ada.id)).await;
        app.put("/collections/people/b", person("bob")).await;
        let mut plain = socket(app, PUBLISHABLE_KEY).await;
        plain.subscribe("people", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("n", "people", json!({ "snapshot": true, "filters": { "phone__isnull": false } })).await;
        let snapshot = named.next().await;
        assert_eq!(snapshot["documents"].as_array().unwrap().len(), 1, "{snapshot}");
        assert_eq!(snapshot["documents"][0]["data"]["phone"], "5");
        assert!(snapshot["documents"][0]["data"].get("score").is_none(), "{snapshot}");
        assert_eq!(named.next().await["type"], "ready");
        let mut stream = TestStream::open(sse(app, &ada.access, "people")).await;
        let cursor = stream.opened().await;

        // Nobody but servers sees a change of the score.
        app.patch("/collections/people/a", json!({ "score": 8 })).await;
        // Only its owner sees a change of the phone.
        app.patch("/collections/people/a", json!({ "phone": "6" })).await;
        app.patch("/collections/people/b", json!({ "phone": "6" })).await;
        app.patch("/collections/people/b", json!({ "name": "B" })).await;
        let event = plain.next().await;
        assert_eq!((&event["document"]["id"], &event["document"]["data"]), (&json!("b"), &json!({ "name": "B", "owner": "bob", "home": { "city": "X" } })));
        let event = named.next().await;
        assert_eq!((&event["document"]["id"], &event["document"]["data"]["phone"]), (&json!("a"), &json!("6")));
        for expected in [("a", json!("6")), ("b", Value::Null)] {
            let event = stream.next_event().await.json();
            assert_eq!((&event["document"]["id"], &event["document"]["data"]["phone"]), (&json!(expected.0), &expected.1), "{event}");
        }
        // A stream that resumes reads the log, and hears the same.
        let request = sse(app, &ada.access, "people").header("Last-Event-ID", &cursor);
        let mut resumed = TestStream::open(request).await;
        for expected in ["a", "b"] {
            let event = resumed.next_event().await.json();
            assert_eq!(event["document"]["id"], expected, "{event}");
            assert!(event["document"]["data"].get("score").is_none() && event.to_string().matches("score").count() == 0);
        }
        // A change that hides a field also takes the document out of a view that asks for it.
        app.patch("/collections/people/a", json!({ "owner": "bob" })).await;
        let event = named.next().await;
        assert_eq!((&event["event"], &event["document"]["data"]["phone"]), (&json!("deleted"), &json!("6")), "{event}");
    }

    async fn a_new_mask_takes_effect_on_open_streams(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        set_rules(app, "people", json!({ "read": true })).await;
        let mut plain = socket(app, &ada.access).await;
        plain.subscribe("people", json!({})).await;
        let mut named = socket(app, &ada.access).await;
        named.subscribe_named("n", "people", json!({})).await;
        let mut asking = socket(app, &ada.access).await;
        asking.subscribe("people", json!({ "score": 7 })).await;
        app.put("/collections/people/a", person("bob")).await;
        assert_eq!(plain.next().await["document"]["data"]["score"], 7);
        assert_eq!(named.next().await["document"]["data"]["score"], 7);
        assert_eq!(asking.next().await["document"]["data"]["score"], 7);
        set_rules(app, "people", people()).await;
        app.put("/collections/people/b", person("bob")).await;
        let event = plain.next().await;
        assert!(event["document"]["id"] == "b" && event["document"]["data"].get("score").is_none(), "{event}");
        let resync = named.next().await;
        assert_eq!((&resync["type"], &resync["code"]), (&json!("resync"), &json!("RIGHTS_CHANGED")));
        assert_eq!(asking.next_error().await.0, "FORBIDDEN", "its filter asks for what is hidden now");
    }
}
