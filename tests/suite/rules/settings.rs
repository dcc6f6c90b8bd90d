//! Rules as a setting of a collection.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, ids, set_rules};
use crate::harness::{Answer, PUBLISHABLE_KEY, on_both_databases};

on_both_databases! {
    async fn rules_are_set_shown_and_removed_by_servers_only(app: &TestApp) {
        let rules = json!({ "read": true, "create": "@user", "let": { "own": { "owner": "$user.id" } } });
        set_rules(app, "posts", rules.clone()).await;
        let settings = app.get("/collections/posts/settings").await;
        assert_eq!(settings.data()["rules"], rules);
        let guest = as_guest(app, Method::GET, "/collections/posts/settings", Value::Null).await;
        assert_eq!(guest.data().get("rules"), None, "{guest:?}");
        let change = json!({ "rules": null });
        let refused = as_guest(app, Method::PATCH, "/collections/posts/settings", change.clone()).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        assert_eq!(app.patch("/collections/posts/settings", change).await.data()["rules"], Value::Null);

        let created = app.post("/collections", json!({ "name": "notes", "rules": { "read": false } })).await;
        assert_eq!((created.status.as_u16(), &created.data()["rules"]), (201, &json!({ "read": false })));
        let request = app.request_as(PUBLISHABLE_KEY, Method::POST, "/collections");
        let refused = app.send(request.json(&json!({ "name": "mine", "rules": { "read": false } }))).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        let audit = app.get("/audit?event=rulesChanged").await;
        let collections: Vec<_> =
            audit.data().as_array().unwrap().iter().map(|entry| &entry["details"]["collection"]).collect();
        assert_eq!(collections, ["notes", "posts", "posts"]);
    }

    async fn a_mistake_in_rules_is_named_with_its_place(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        for (rules, part) in [
            (json!({ "raed": true }), "did you mean `read`?"),
            (json!({ "read": { "owner": "$user.mail" } }), "`rules.read.owner`"),
            (json!({ "update": [{ "before": true, "only": "likes" }] }), "`rules.update[0].only`"),
            (json!("all"), "`rules`"),
        ] {
            let answer = app.patch("/collections/posts/settings", json!({ "rules": rules })).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{rules}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(part), "{rules}: {message}");
        }
    }

    async fn rules_that_are_written_as_a_document_are_refused(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts" })).await;
        let told = |answer: &Answer, member: &str| answer.body["error"][member].as_str().unwrap_or_default().to_owned();
        let answer = app.put("/collections/posts/rules", json!({ "read": true, "create": "@user" })).await;
        assert_eq!(answer.error(), (400, "INVALID_BODY"));
        assert!(told(&answer, "message").contains("/collections/{collection}/settings"), "{answer:?}");
        for answer in [app.get("/collections/posts/rules").await, app.patch("/collections/posts/rules", json!({ "read": true })).await] {
            assert_eq!(answer.error(), (404, "DOCUMENT_NOT_FOUND"));
            assert!(told(&answer, "hint").contains("/collections/{collection}/settings"), "{answer:?}");
        }
        // The id belongs to nobody.
        assert_eq!(app.put("/collections/posts/rules", json!({ "title": "Rules" })).await.status, 201);
        assert_eq!(app.get("/collections/posts/rules").await.data()["data"]["title"], "Rules");
    }

    async fn rules_are_answered_with_the_indexes_that_they_want(app: &TestApp) {
        app.post("/collections", json!({ "name": "members" })).await;
        let from = json!({ "$from": "members", "select": "team", "where": { "user": "$user.id" } });
        for (rules, advice, why) in [
            (json!({ "read": true }), json!(null), "everything is read"),
            (json!({ "read": { "$user.roles__array_contains": "a" } }), json!(null), "it depends on the caller alone"),
            (json!({ "read": { "$not": { "owner": "$user.id" } } }), json!(null), "no index finds what is not"),
            (
                json!({ "read": { "$or": [{ "owner": "$user.id" }, { "public": true, "at__lte": 5 }, "@user"] } }),
                json!([{ "collection": "posts", "fields": ["owner", "-createdAt"] }, { "collection": "posts", "fields": ["public", "at"] }]),
                "each alternative",
            ),
            (
                json!({ "read": { "team__in": from }, "update": { "team__in": from } }),
                json!([{ "collection": "posts", "fields": ["team", "-createdAt"] }, { "collection": "members", "fields": ["user"] }]),
                "a relation wants two",
            ),
        ] {
            set_rules(app, "posts", rules.clone()).await;
            let settings = app.get("/collections/posts/settings").await;
            assert_eq!(settings.data().get("advice").unwrap_or(&Value::Null), &advice, "{why}: {rules}");
        }
        let declared = json!({ "indexes": [{ "fields": ["team", "-createdAt"] }] });
        let settings = app.patch("/collections/posts/settings", declared).await;
        assert_eq!(settings.data()["advice"], json!([{ "collection": "members", "fields": ["user"] }]));
        let guest = as_guest(app, Method::GET, "/collections/posts/settings", Value::Null).await;
        assert_eq!(guest.data().get("advice"), None, "{guest:?}");
    }

    async fn rules_survive_a_restart_and_a_new_name(app: &TestApp) {
        set_rules(app, "posts", json!({ "read": { "public": true } })).await;
        app.put("/collections/posts/a", json!({ "public": true })).await;
        app.put("/collections/posts/b", json!({})).await;
        app.patch("/collections/posts/settings", json!({ "name": "articles" })).await;
        let node = app.start_second_node().await;
        for app in [app, &node] {
            let list = as_guest(app, Method::GET, "/collections/articles", Value::Null).await;
            assert_eq!(ids(&list), ["a"]);
        }
        node.stop().await;
    }
}
