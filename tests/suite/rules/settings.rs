//! Rules as a setting of a collection.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, ids, set_rules};
use crate::harness::{PUBLISHABLE_KEY, on_both_databases};

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
        let users = app.patch("/collections/_users/settings", json!({ "rules": { "read": true } })).await;
        assert_eq!(users.error().0, 403, "{users:?}");
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
