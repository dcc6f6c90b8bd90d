//! Rules about writing, on every door that writes.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, set_rules};
use crate::{harness::on_both_databases, users::sign_up};

on_both_databases! {
    async fn a_document_is_written_as_its_rules_say(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let rules = json!({
            "let": { "own": { "owner": "$user.id" } },
            "read": true,
            "create": "@own",
            "update": [{ "before": "@own", "after": "@own", "unchanged": ["team"] }, { "before": "@user", "only": ["likes"] }],
            "delete": "@own",
        });
        set_rules(app, "posts", rules).await;
        let post = json!({ "owner": ada.id, "team": 1, "likes": 0 });
        let denied = (403, "FORBIDDEN");
        let send = async |user, method, path: &str, body| as_user(app, user, method, path, body).await;
        assert_eq!(as_guest(app, Method::PUT, "/collections/posts/p", post.clone()).await.error(), denied);
        assert_eq!(send(&bob, Method::PUT, "/collections/posts/p", post.clone()).await.error(), denied);
        assert_eq!(send(&bob, Method::POST, "/collections/posts", post.clone()).await.error(), denied);
        assert_eq!(send(&ada, Method::PUT, "/collections/posts/p", post.clone()).await.status, 201);
        let patch = async |user, body| send(user, Method::PATCH, "/collections/posts/p", body).await;
        assert_eq!(patch(&bob, json!({ "$inc": { "likes": 1 } })).await.status, 200);
        assert_eq!(patch(&bob, json!({ "likes": 2, "title": "x" })).await.error(), denied);
        assert_eq!(patch(&ada, json!({ "title": "x" })).await.status, 200);
        assert_eq!(patch(&ada, json!({ "team": 2 })).await.error(), denied);
        assert_eq!(patch(&ada, json!({ "owner": bob.id })).await.error(), denied);
        assert_eq!(send(&bob, Method::PUT, "/collections/posts/p", json!({ "owner": bob.id })).await.error(), denied);
        assert_eq!(send(&bob, Method::DELETE, "/collections/posts/p", Value::Null).await.error(), denied);
        // Whoever has the secret key is bound by no rule.
        assert_eq!(app.patch("/collections/posts/p", json!({ "team": 3 })).await.status, 200);
        assert_eq!(send(&ada, Method::DELETE, "/collections/posts/p", Value::Null).await.status, 200);
    }

    async fn an_action_without_a_rule_is_denied_and_a_message_names_the_rule(app: &TestApp) {
        set_rules(app, "posts", json!({ "read": true, "update": { "open": true } })).await;
        let answer = as_guest(app, Method::POST, "/collections/posts", json!({})).await;
        assert_eq!(answer.error(), (403, "FORBIDDEN"));
        assert!(answer.body["error"]["message"].as_str().unwrap().contains("`rules.create`"), "{answer:?}");
        app.put("/collections/posts/p", json!({ "open": true })).await;
        let answer = as_guest(app, Method::PATCH, "/collections/posts/p", json!({ "open": false })).await;
        assert!(answer.body["error"]["message"].as_str().unwrap().contains("`rules.update.after`"), "{answer:?}");
        assert_eq!(as_guest(app, Method::DELETE, "/collections/posts/p", Value::Null).await.error(), (403, "FORBIDDEN"));
    }

    async fn what_a_caller_may_not_read_does_not_exist_to_them(app: &TestApp) {
        let rules = json!({ "read": { "public": true }, "create": true, "update": true, "delete": true });
        set_rules(app, "posts", rules).await;
        app.put("/collections/posts/hidden", json!({ "public": false })).await;
        app.put("/collections/posts/shown", json!({ "public": true })).await;
        for (method, body) in [
            (Method::PATCH, json!({ "a": 1 })),
            (Method::PUT, json!({ "public": true })),
            (Method::DELETE, Value::Null),
        ] {
            let answer = as_guest(app, method.clone(), "/collections/posts/hidden", body).await;
            assert_eq!(answer.error(), (404, "DOCUMENT_NOT_FOUND"), "{method}");
        }
        let ids = json!({ "ids": ["hidden", "shown", "none"] });
        let answer = as_guest(app, Method::POST, "/collections/posts/batch-delete", ids).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(app.get("/collections/posts/hidden").await.status, 200);
        assert_eq!(app.get("/collections/posts/shown").await.status, 404);
    }

    async fn stamps_overwrite_what_the_client_sent(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({
            "read": true,
            "create": { "author": "$user.id" },
            "update": true,
            "stamp": {
                "create": { "author": "$user.id", "meta.key": "app" },
                "update": { "editedBy": "$user.id", "editedAt": "$now" },
            },
            "fields": { "author": { "write": "create" }, "rank": { "write": false } },
        });
        set_rules(app, "posts", rules).await;
        let schema = json!({ "type": "object", "required": ["author"] });
        app.patch("/collections/posts/settings", json!({ "schema": schema })).await;
        let sent = json!({ "author": "eve", "meta": { "key": "x", "other": 1 } });
        let answer = as_user(app, &ada, Method::PUT, "/collections/posts/p", sent).await;
        let data = json!({ "author": ada.id, "meta": { "key": "app", "other": 1 } });
        assert_eq!((answer.status.as_u16(), &answer.data()["data"]), (201, &data));
        // The schema judges the stamped document.
        assert_eq!(as_user(app, &ada, Method::POST, "/collections/posts", json!({})).await.status, 201);
        let answer = as_user(app, &ada, Method::PATCH, "/collections/posts/p", json!({ "editedBy": "eve" })).await;
        assert_eq!(answer.data()["data"]["editedBy"], json!(ada.id));
        assert_eq!(answer.data()["data"]["editedAt"], answer.data()["updatedAt"]);
        for change in [json!({ "author": "eve" }), json!({ "$inc": { "rank": 1 } })] {
            let answer = as_user(app, &ada, Method::PATCH, "/collections/posts/p", change.clone()).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{change}");
        }
        // A guest has no value for the stamp.
        assert_eq!(as_guest(app, Method::POST, "/collections/posts", json!({})).await.error(), (403, "FORBIDDEN"));
        // A secret key is not stamped.
        let answer = app.put("/collections/posts/q", json!({ "author": "import", "rank": 1 })).await;
        assert_eq!(answer.data()["data"], json!({ "author": "import", "rank": 1 }));
    }

    /// What the server stamps is no change of the caller's.
    async fn stamps_are_free_of_the_rules_about_changes(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({
            "read": true, "create": "@user",
            "update": [{ "before": "@user", "only": ["likes"] }, { "before": "@user", "unchanged": ["owner", "meta"] }],
            "stamp": { "create": { "score": 0 }, "update": { "editedAt": "$now", "meta.by": "$user.id" } },
            "fields": { "score": { "write": false }, "editedAt": { "write": false } },
        });
        set_rules(app, "posts", rules).await;
        assert_eq!(as_user(app, &ada, Method::PUT, "/collections/posts/p", json!({ "owner": "ada" })).await.status, 201);
        let patch = async |body| as_user(app, &ada, Method::PATCH, "/collections/posts/p", body).await;
        let liked = patch(json!({ "$inc": { "likes": 1 } })).await;
        assert_eq!(liked.data()["data"]["editedAt"], liked.data()["updatedAt"], "{liked:?}");
        assert_eq!(patch(json!({ "title": "x" })).await.status, 200);
        for change in [json!({ "owner": "eve" }), json!({ "meta": { "more": 1 } }), json!({ "score": 1 })] {
            assert_eq!(patch(change.clone()).await.error().0, 403, "{change}");
        }
    }

    async fn a_batch_with_one_refused_document_is_refused_whole(app: &TestApp) {
        set_rules(app, "posts", json!({ "read": true, "create": { "ok": true }, "update": true })).await;
        let documents = json!({ "documents": [{ "ok": true }, { "ok": false }] });
        let answer = as_guest(app, Method::POST, "/collections/posts/batch", documents).await;
        assert_eq!(answer.error().0, 403, "{answer:?}");
        let operations = json!({ "operations": [
            { "op": "create", "collection": "posts", "id": "a", "data": { "ok": true } },
            { "op": "create", "collection": "posts", "id": "b", "data": { "ok": false } },
        ] });
        let answer = as_guest(app, Method::POST, "/transactions", operations).await;
        assert_eq!(answer.error().0, 403, "{answer:?}");
        assert_eq!(app.get("/collections/posts/query/count").await.data()["count"], 0);
    }
}
