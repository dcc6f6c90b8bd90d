//! `permissions` of a collection: the roles that each action takes, as the client libraries' documentation says.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases},
    users::{Signed, sign_up},
};

/// Sends a request as the libraries do: the key in `x-api-key`, and the user's token as `Bearer`.
async fn call(
    app: &TestApp,
    (key, user): (&str, Option<&Signed>),
    method: Method,
    path: &str,
    body: Value,
) -> Answer {
    let mut request = app.http.request(method, format!("{}{path}", app.url)).header("x-api-key", key);
    if let Some(user) = user {
        request = request.bearer_auth(&user.access);
    }
    app.send(if body.is_null() { request } else { request.json(&body) }).await
}

async fn as_server(app: &TestApp, method: Method, path: &str, body: Value) -> Answer {
    call(app, (SECRET_KEY, None), method, path, body).await
}

fn permissions(create: &[&str], read: &[&str], update: &[&str], delete: &[&str]) -> Value {
    json!({ "create": create, "read": read, "update": update, "delete": delete })
}

on_both_databases! {
    async fn an_action_takes_one_of_its_roles(app: &TestApp) {
        let (editor, other) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        app.patch(&format!("/users/{}", editor.id), json!({ "roles": ["editor", "$odd"] })).await;
        let limited = permissions(&["editor", "admin"], &[], &["$odd"], &["admin"]);
        let made = as_server(app, Method::POST, "/collections/", json!({ "name": "posts", "permissions": limited })).await;
        assert_eq!((made.status.as_u16(), &made.body["permissions"]), (201, &limited), "{made:?}");
        let path = "/collections/posts/documents";
        app.put("/collections/posts/p", json!({ "n": 1 })).await;
        let call = async |user, method: Method, path: &str, body| {
            call(app, (PUBLISHABLE_KEY, user), method, path, body).await.status.as_u16()
        };
        let document = format!("{path}/p");
        for (who, user, read, create, update, delete) in [
            ("a guest", None, 200, 401, 401, 401),
            ("a user without the role", Some(&other), 200, 403, 403, 403),
            ("a user with the role", Some(&editor), 200, 200, 200, 403),
        ] {
            assert_eq!(call(user, Method::GET, path, Value::Null).await, read, "{who} reads");
            assert_eq!(call(user, Method::POST, path, json!({ "data": { "n": 1 } })).await, if create == 200 { 201 } else { create }, "{who} creates");
            assert_eq!(call(user, Method::PATCH, &document, json!({ "data": { "n": 2 } })).await, update, "{who} changes");
            assert_eq!(call(user, Method::DELETE, &document, Value::Null).await, delete, "{who} deletes");
        }
        // The documented door asks the same rules, and has its own statuses.
        let rules = app.get("/collections/posts/settings").await.data()["rules"].clone();
        assert_eq!(rules["read"], true);
        assert_eq!(rules["delete"], json!({ "$user.roles__array_contains": "admin" }));
        let refused = app.request_as(PUBLISHABLE_KEY, Method::DELETE, "/collections/posts/p");
        assert_eq!(app.send(refused).await.error(), (403, "FORBIDDEN"));
        // A collection that only admins read.
        let change = json!({ "data": { "permissions": { "read": ["admin"] } } });
        let changed = as_server(app, Method::PATCH, "/collections/posts", change).await;
        assert_eq!(changed.body["permissions"], permissions(&["editor", "admin"], &["admin"], &["$odd"], &["admin"]));
        assert_eq!(call(None, Method::GET, path, Value::Null).await, 401);
        assert_eq!(call(Some(&editor), Method::GET, path, Value::Null).await, 403);
        let opened = json!({ "permissions": permissions(&[], &[], &[], &[]) });
        as_server(app, Method::PATCH, "/collections/posts", opened).await;
        assert_eq!(call(None, Method::DELETE, &document, Value::Null).await, 200);
    }

    async fn only_a_secret_key_limits_or_opens_a_collection(app: &TestApp) {
        let limited = permissions(&[], &["admin"], &[], &[]);
        let open = permissions(&[], &[], &[], &[]);
        let as_guest = async |method, path: &str, body| call(app, (PUBLISHABLE_KEY, None), method, path, body).await;
        let body = json!({ "name": "mine", "permissions": limited });
        assert_eq!(as_guest(Method::POST, "/collections/", body).await.status, 403);
        // One that limits nothing is one without permissions.
        let made = as_guest(Method::POST, "/collections/", json!({ "name": "mine", "permissions": open })).await;
        assert_eq!((made.status.as_u16(), &made.body["permissions"]), (201, &open));
        assert_eq!(app.get("/collections/mine/settings").await.data()["rules"], Value::Null);
        as_server(app, Method::PATCH, "/collections/mine", json!({ "permissions": limited })).await;
        assert_eq!(as_guest(Method::PATCH, "/collections/mine", json!({ "permissions": open })).await.status, 403);
        // Others don't see who may do what.
        let listed = as_server(app, Method::GET, "/collections/", Value::Null).await;
        assert_eq!(listed.body[0]["permissions"], limited);
        let listed = as_guest(Method::GET, "/collections/", Value::Null).await;
        assert_eq!(listed.body[0]["permissions"], open);
        for (permissions, part) in [
            (json!({ "raed": [] }), "raed"),
            (json!({ "read": "admin" }), "sequence"),
            (json!({ "read": [""] }), "`permissions.read`"),
            (json!({ "read": ["\\$x"] }), "`permissions.read`"),
            (json!({ "read": vec!["r"; 101] }), "at most 100"),
        ] {
            let answer = as_server(app, Method::PATCH, "/collections/mine", json!({ "permissions": permissions })).await;
            let told = answer.body["detail"].as_str().unwrap_or_default();
            assert_eq!(answer.status.as_u16(), 400, "{permissions}: {answer:?}");
            assert!(told.contains(part) || part == "sequence", "{permissions}: {told}");
        }
    }

    async fn rules_that_are_no_lists_of_roles_are_kept(app: &TestApp) {
        app.post("/collections", json!({ "name": "posts", "rules": {
            "let": { "own": { "owner": "$user.id" } },
            "read": true, "create": "@user", "update": { "before": "@own", "unchanged": ["team"] },
            "stamp": { "create": { "owner": "$user.id" } },
        } })).await;
        let own = permissions(&["(rules)"], &[], &["(rules)"], &["(rules)"]);
        let listed = as_server(app, Method::GET, "/collections/", Value::Null).await;
        assert_eq!(listed.body[0]["permissions"], own);
        let mut sent = own;
        sent["delete"] = json!(["admin"]);
        as_server(app, Method::PATCH, "/collections/posts", json!({ "permissions": sent })).await;
        let rules = app.get("/collections/posts/settings").await.data()["rules"].clone();
        assert_eq!(rules, json!({
            "let": { "own": { "owner": "$user.id" } },
            "read": true, "create": "@user", "update": { "before": "@own", "unchanged": ["team"] },
            "delete": { "$user.roles__array_contains": "admin" },
            "stamp": { "create": { "owner": "$user.id" } },
        }));
    }
}
