//! `access=true`: what the caller may do with each document.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, set_rules};
use crate::{
    harness::{Answer, SECRET_KEY, on_both_databases},
    operations::keys::coir,
    users::{ask, sign_up},
};

/// The ids of a list with what may be done with them.
fn access(answer: &Answer) -> Vec<(&str, bool, bool)> {
    let documents = answer.data().as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let of = |document: &'_ Value| {
        (document["access"]["update"].as_bool().unwrap(), document["access"]["delete"].as_bool().unwrap())
    };
    documents.iter().map(|one| (one["id"].as_str().unwrap(), of(one).0, of(one).1)).collect()
}

on_both_databases! {
    async fn a_page_says_what_may_be_done_with_each_document(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        app.put("/collections/members/m", json!({ "user": bob.id, "team": "red" })).await;
        let rules = json!({
            "let": { "team": { "team__in": { "$from": "members", "select": "team", "where": { "user": "$user.id" } } } },
            "read": true,
            "update": [{ "before": { "owner": "$user.id" }, "unchanged": ["owner"] }, { "before": "@team", "only": ["likes"] }],
            "delete": { "owner": "$user.id", "keptUntil__lte": "$now" },
        });
        set_rules(app, "posts", rules).await;
        let old = "2000-01-01T00:00:00Z";
        app.put("/collections/posts/a", json!({ "owner": ada.id, "keptUntil": old })).await;
        app.put("/collections/posts/b", json!({ "owner": bob.id, "keptUntil": "2999-01-01T00:00:00Z" })).await;
        app.put("/collections/posts/c", json!({ "owner": ada.id, "team": "red", "access": "x" })).await;
        let path = "/collections/posts?access=true&orderBy=id";
        let list = async |user| as_user(app, user, Method::GET, path, Value::Null).await;
        assert_eq!(access(&list(&ada).await), [("a", true, true), ("b", false, false), ("c", true, false)]);
        assert_eq!(access(&list(&bob).await), [("a", false, false), ("b", true, false), ("c", true, false)]);
        let guest = as_guest(app, Method::GET, path, Value::Null).await;
        assert_eq!(access(&guest), [("a", false, false), ("b", false, false), ("c", false, false)]);
        assert_eq!(access(&app.get(path).await), [("a", true, true), ("b", true, true), ("c", true, true)]);
        let both = app.request_as(&ada.access, Method::GET, path).header("x-api-key", SECRET_KEY);
        assert_eq!(access(&app.send(both).await)[0], ("a", true, true));
        // The other doors that give documents.
        let body = json!({ "access": true, "orderBy": "id", "limit": 1 });
        let posted = as_user(app, &ada, Method::POST, "/collections/posts/query", body).await;
        assert_eq!(access(&posted), [("a", true, true)]);
        let one = as_user(app, &ada, Method::GET, "/collections/posts/c?access=true&select=team", Value::Null).await;
        assert_eq!(one.data()["access"], json!({ "update": true, "delete": false }));
        assert!(!one.headers.contains_key("etag"), "{one:?}");
        let plain = as_user(app, &ada, Method::GET, "/collections/posts/c", Value::Null).await;
        assert!(plain.data().get("access").is_none() && plain.headers.contains_key("etag"), "{plain:?}");
        // A field of this name is found all the same.
        let found = app.get("/collections/posts?access__eq=x").await;
        assert_eq!(found.data().as_array().unwrap().len(), 1);
        assert_eq!(app.get("/collections/posts?access=x").await.error(), (400, "INVALID_FILTER"));
        assert_eq!(app.post("/collections/posts/query", json!({ "access": 1 })).await.error(), (400, "INVALID_FILTER"));
    }

    async fn a_field_that_is_hidden_counts_for_the_flags(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({
            "read": true, "update": { "before": { "owner": "$user.id" } }, "delete": { "owner": "$user.id" },
            "fields": { "owner": { "read": false } },
        });
        set_rules(app, "posts", rules).await;
        app.put("/collections/posts/p", json!({ "owner": ada.id, "n": 1 })).await;
        let get = async |path| as_user(app, &ada, Method::GET, path, Value::Null).await;
        let list = get("/collections/posts?access=true").await;
        assert_eq!((access(&list), &list.data()[0]["data"]), (vec![("p", true, true)], &json!({ "n": 1 })));
        let one = get("/collections/posts/p?access=true").await;
        assert_eq!((&one.data()["access"]["update"], &one.data()["data"]), (&json!(true), &json!({ "n": 1 })));
        assert_eq!(as_user(app, &ada, Method::PATCH, "/collections/posts/p", json!({ "n": 2 })).await.status, 200);
    }

    async fn what_is_flagged_is_what_happens(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        // A user changes their own profile, and nobody but a server deletes users there.
        let users = as_user(app, &ada, Method::GET, "/collections/_users?access=true", Value::Null).await;
        assert_eq!(access(&users), [(ada.id.as_str(), true, false)]);
        set_rules(app, "posts", json!({ "read": true, "update": { "only": ["n"], "after": { "n__lt": 3 } } })).await;
        app.put("/collections/posts/p", json!({ "n": 1 })).await;
        let list = as_guest(app, Method::GET, "/collections/posts?access=true", Value::Null).await;
        assert_eq!(access(&list), [("p", true, false)], "some change is allowed");
        let patch = async |body| as_guest(app, Method::PATCH, "/collections/posts/p", body).await.status.as_u16();
        assert_eq!((patch(json!({ "n": 2 })).await, patch(json!({ "n": 3 })).await), (200, 403));
        assert_eq!(as_guest(app, Method::DELETE, "/collections/posts/p", Value::Null).await.error().0, 403);
        // A key that may not write changes nothing, whatever the rules say.
        app.patch("/collections/posts/settings", json!({ "rules": null })).await;
        let reader = coir(app, &["keys", "create", "publishable", "--scope", "documents:read"]).await;
        let list = ask(app, reader.trim(), Method::GET, "/collections/posts?access=true", Value::Null).await;
        assert_eq!(access(&list), [("p", false, false)]);
    }
}
