//! Rules about reading, on every door that reads.

use reqwest::Method;
use serde_json::{Value, json};

use super::{as_guest, as_user, ids, set_rules};
use crate::{
    harness::{PUBLISHABLE_KEY, SECRET_KEY, on_both_databases},
    users::sign_up,
};

on_both_databases! {
    async fn a_user_sees_own_documents_on_every_door_that_reads(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        set_rules(app, "notes", json!({ "read": { "$or": [{ "owner": "$user.id" }, { "public": true }] } })).await;
        for (id, owner, public) in [("a", &ada.id, false), ("b", &bob.id, false), ("c", &bob.id, true)] {
            let note = json!({ "owner": owner, "public": public, "size": 1, "author_id": owner });
            app.put(&format!("/collections/notes/{id}"), note).await;
        }
        let get = async |path: &str| as_user(app, &ada, Method::GET, path, Value::Null).await;
        let post = async |path: &str, body: Value| as_user(app, &ada, Method::POST, path, body).await;
        assert_eq!(ids(&get("/collections/notes").await), ["c", "a"]);
        assert_eq!(get("/collections/notes/a").await.status, 200);
        assert_eq!(get("/collections/notes/b").await.error(), (404, "DOCUMENT_NOT_FOUND"));
        assert_eq!(get("/collections/notes/query/count").await.data()["count"], 2);
        assert_eq!(get("/collections/notes/query/aggregate?operation=sum&field=size").await.data()["result"], 2);
        let groups = get("/collections/notes/query/group-by?field=owner").await;
        assert_eq!(groups.data().as_array().unwrap().len(), 2, "{groups:?}");
        assert_eq!(ids(&post("/collections/notes/query", json!({})).await), ["c", "a"]);
        let export = app.request_as(&ada.access, Method::GET, "/collections/notes/export?format=ndjson");
        let text = export.send().await.unwrap().text().await.unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        // A filter finds nothing that the rule hides.
        assert_eq!(get(&format!("/collections/notes?owner={}", bob.id)).await.data().as_array().unwrap().len(), 1);
        // A guest has no user, and a server is bound by no rule, unless it acts for a user.
        assert_eq!(ids(&as_guest(app, Method::GET, "/collections/notes", Value::Null).await), ["c"]);
        assert_eq!(ids(&app.get("/collections/notes").await), ["c", "b", "a"]);
        let both = app.request_as(&bob.access, Method::GET, "/collections/notes").header("x-api-key", SECRET_KEY);
        assert_eq!(ids(&app.send(both).await), ["c", "b"]);
    }

    async fn a_rule_that_admits_nobody_is_forbidden_and_joins_nothing(app: &TestApp) {
        set_rules(app, "secrets", json!({ "create": true })).await;
        app.put("/collections/secrets/s", json!({ "word": "x" })).await;
        app.put("/collections/posts/p", json!({ "secret_id": "s" })).await;
        for path in ["/collections/secrets", "/collections/secrets/s", "/collections/secrets/query/count"] {
            let answer = as_guest(app, Method::GET, path, Value::Null).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{path}");
        }
        let post = as_guest(app, Method::GET, "/collections/posts/p?populate=secret:secrets", Value::Null).await;
        assert_eq!(post.data()["data"]["secret"], Value::Null, "{post:?}");
        let post = app.get("/collections/posts/p?populate=secret:secrets").await;
        assert_eq!(post.data()["data"]["secret"]["data"]["word"], "x", "{post:?}");
    }

    async fn roles_and_profiles_decide_as_they_are_now(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let rules = json!({ "read": { "$or": [
            { "$user.roles__array_contains": "moderator" },
            { "team__in": "$user.profile.teams" },
        ] } });
        set_rules(app, "reports", rules).await;
        app.put("/collections/reports/red", json!({ "team": "red" })).await;
        app.put("/collections/reports/blue", json!({ "team": "blue" })).await;
        let list = async || as_user(app, &ada, Method::GET, "/collections/reports", Value::Null).await;
        assert_eq!(list().await.error(), (403, "FORBIDDEN"));
        let profile = json!({ "profile": { "teams": ["red"] } });
        as_user(app, &ada, Method::PATCH, "/users/me", profile).await;
        assert_eq!(ids(&list().await), ["red"]);
        app.patch(&format!("/users/{}", ada.id), json!({ "roles": ["moderator"] })).await;
        assert_eq!(list().await.data().as_array().unwrap().len(), 2);
    }

    async fn parameters_open_what_their_holder_knows(app: &TestApp) {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        set_rules(app, "rooms", json!({ "read": { "inviteHash": "$paramHash.invite" } })).await;
        app.put("/collections/rooms/r", json!({ "inviteHash": hash })).await;
        let get = async |params: &str| {
            let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/rooms/r");
            app.send(request.header("X-Coir-Params", params)).await
        };
        assert_eq!(get(r#"{"invite":"abc"}"#).await.status, 200);
        assert_eq!(get(r#"{"invite":"abd"}"#).await.error(), (404, "DOCUMENT_NOT_FOUND"));
        assert_eq!(get("{}").await.error(), (403, "FORBIDDEN"));
        // A null in a list matches nothing that is missing.
        set_rules(app, "teams", json!({ "read": { "team__in": "$param.teams" } })).await;
        app.put("/collections/teams/none", json!({})).await;
        app.put("/collections/teams/red", json!({ "team": "red" })).await;
        let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/collections/teams");
        let list = app.send(request.header("X-Coir-Params", r#"{"teams":[null,"red"]}"#)).await;
        assert_eq!(ids(&list), ["red"]);
        for wrong in ["", "[]", "{", r#"{"a":1,"a":2}"#, &format!("{{\"a\":\"{}\"}}", "x".repeat(4096))] {
            assert_eq!(get(wrong).await.error(), (400, "INVALID_BODY"), "{wrong}");
        }
    }
}
