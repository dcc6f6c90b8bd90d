//! Sign-up and sign-in, one's own account, and every user for a server.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, post, sign_in, sign_up, status_of};
use crate::harness::{PUBLISHABLE_KEY, SECRET_KEY, on_both_databases};

on_both_databases! {
    async fn a_user_signs_up_and_in_and_reads_their_account(app: &TestApp) {
        let body = json!({ "email": " Ada@Example.com", "password": PASSWORD, "profile": { "name": "Ada" } });
        let answer = post(app, "/users", body).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("cache-control"), "no-store");
        let data = json!({
            "email": "ada@example.com", "emailVerified": false, "roles": [], "profile": { "name": "Ada" },
        });
        assert_eq!(answer.data()["user"]["data"], data);
        assert_eq!(answer.data()["user"]["collection"], "_users");
        let ada = Signed::read(&answer);
        let again = sign_in(app, "ADA@example.com").await;
        assert_eq!(again.id, ada.id);
        for token in [&ada.access, &again.access] {
            let me = ask(app, token, Method::GET, "/users/me", Value::Null).await;
            assert_eq!((me.data()["id"].as_str().unwrap(), &me.data()["data"]), (ada.id.as_str(), &data));
        }
        // A key beside the token is the usual way.
        let both = app.request_as(&ada.access, Method::GET, "/users/me").header("x-api-key", PUBLISHABLE_KEY);
        assert_eq!(app.send(both).await.status, 200);
        assert_eq!(app.get("/users/me").await.error(), (401, "UNAUTHORIZED"));
    }

    async fn an_unknown_user_and_a_wrong_password_have_the_same_answer(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        let expected = json!({
            "success": false,
            "error": { "code": "UNAUTHORIZED", "message": "Invalid e-mail address or password" },
        });
        for (email, password) in [
            ("ada@example.com", "wrong horse"),
            ("bob@example.com", "correct horse"),
            ("not an address", "correct horse"),
            ("ada@example.com", &"long".repeat(100)),
            ("ada@example.com", ""),
        ] {
            let answer = post(app, "/users/login", json!({ "email": email, "password": password })).await;
            assert_eq!((answer.status.as_u16(), &answer.body), (401, &expected), "{email} {password}");
        }
    }

    async fn what_a_sign_up_may_not_have_is_named(app: &TestApp) {
        for (body, part) in [
            (json!({ "email": "ada@example.com" }), "`password`"),
            (json!({ "password": PASSWORD }), "`email`"),
            (json!({ "email": "ada", "password": PASSWORD }), "e-mail address"),
            (json!({ "email": "ada@example.com", "password": "short" }), "8 to 256 bytes"),
            (json!({ "email": "ada@example.com", "password": "x".repeat(257) }), "8 to 256 bytes"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "roles": ["admin"] }), "secret key"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "emailVerified": true }), "secret key"),
            (json!({ "email": "ada@example.com", "pasword": PASSWORD }), "did you mean `password`?"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "name": "Ada" }), "into `profile`"),
            (json!({ "email": "ada@example.com", "password": PASSWORD, "profile": [] }), "an object"),
        ] {
            let answer = post(app, "/users", body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{body}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(part), "{body}: {message}");
        }
        assert_eq!(app.get("/users").await.data(), &json!([]));
    }

    async fn an_address_that_many_sign_up_with_at_once_gets_one_account(app: &TestApp) {
        let tries = (0..50).map(|n| {
            let email = if n % 2 == 0 { "ada@example.com" } else { "ADA@EXAMPLE.COM" };
            post(app, "/users", json!({ "email": email, "password": PASSWORD }))
        });
        let mut counts = BTreeMap::new();
        for answer in join_all(tries).await {
            *counts.entry(answer.status.as_u16()).or_insert(0) += 1;
            if answer.status == 409 {
                assert_eq!(answer.error(), (409, "CONFLICT"));
            }
        }
        // Those whose password finds no room in the pool of hashes are told to come back.
        assert_eq!(counts[&201], 1, "{counts:?}");
        assert!(counts.keys().all(|status| [201, 409, 429].contains(status)), "{counts:?}");
        assert_eq!(app.get("/users").await.data().as_array().unwrap().len(), 1);
    }

    async fn a_user_changes_their_profile_and_nothing_else(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let patch = async |body| ask(app, &ada.access, Method::PATCH, "/users/me", body).await;
        let answer = patch(json!({ "profile": { "name": "Ada", "tags": ["a"], "visits": 1 } })).await;
        assert_eq!(answer.data()["version"], 2);
        patch(json!({ "profile": { "name": "Ada L.", "$append": { "tags": "b" } } })).await;
        let answer = patch(json!({ "$inc": { "profile.visits": 2 }, "$unset": ["profile.none"] })).await;
        let profile = json!({ "name": "Ada L.", "tags": ["a", "b"], "visits": 3 });
        assert_eq!(answer.data()["data"]["profile"], profile, "{answer:?}");
        for (body, expected) in [
            (json!({ "roles": ["admin"] }), (400, "INVALID_BODY")),
            (json!({ "email": "eve@example.com" }), (400, "INVALID_BODY")),
            (json!({ "$append": { "roles": "admin" } }), (403, "FORBIDDEN")),
            (json!({ "$unset": ["email"] }), (403, "FORBIDDEN")),
            (json!({ "$append": { "roles.0": "admin" } }), (409, "CONFLICT")),
            (json!({ "$inc": { "admin": 1 } }), (400, "INVALID_BODY")),
            (json!({}), (400, "INVALID_BODY")),
        ] {
            let answer = patch(body.clone()).await;
            assert_eq!(answer.error().0 / 100, 4, "{body}: {answer:?}");
            if expected.0 != 409 {
                assert_eq!(answer.error(), expected, "{body}: {answer:?}");
            }
        }
        let stored = app.get(&format!("/users/{}", ada.id)).await;
        let data = json!({ "email": "ada@example.com", "emailVerified": false, "roles": [], "profile": profile });
        assert_eq!(stored.data()["data"], data);
    }

    async fn users_are_no_business_of_others(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let own = format!("/users/{}", ada.id);
        let document = format!("/collections/_users/{}", ada.id);
        let batch = json!({ "ids": [ada.id] });
        let transaction = json!({ "operations": [
            { "op": "update", "collection": "_users", "id": ada.id, "data": { "roles": ["admin"] } }
        ] });
        for (method, path, body) in [
            (Method::GET, "/users", Value::Null),
            (Method::GET, &own, Value::Null),
            (Method::PATCH, &own, json!({ "roles": ["admin"] })),
            (Method::DELETE, &own, Value::Null),
            (Method::POST, &format!("{own}/logout"), Value::Null),
            (Method::GET, "/collections/_users", Value::Null),
            (Method::GET, &document, Value::Null),
            (Method::POST, "/collections/_users/query", json!({})),
            (Method::GET, "/collections/_users/query/count", Value::Null),
            (Method::GET, "/collections/_users/query/group-by?field=email", Value::Null),
            (Method::GET, "/collections/_users/export", Value::Null),
            (Method::GET, "/realtime/sse/_users", Value::Null),
            (Method::POST, "/collections/_users", json!({ "email": "eve@example.com" })),
            (Method::PUT, &document, json!({ "roles": ["admin"] })),
            (Method::PATCH, &document, json!({ "roles": ["admin"] })),
            (Method::DELETE, &document, Value::Null),
            (Method::POST, "/collections/_users/batch-delete", batch),
            (Method::POST, "/transactions", transaction),
            (Method::GET, "/collections/_users/documents", Value::Null),
            (Method::GET, "/collections/_users/query/schema", Value::Null),
        ] {
            let answer = ask(app, PUBLISHABLE_KEY, method.clone(), path, body.clone()).await;
            assert!([403, 404].contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
            // A server that acts for a user has that user's rights.
            for key in [PUBLISHABLE_KEY, SECRET_KEY] {
                let request = app.request_as(&bob.access, method.clone(), path).header("x-api-key", key);
                let response = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
                let status = response.status().as_u16();
                // A read of the collection is answered, and shows the one who asks. A stream has no end.
                let shows_ada = !path.contains("/sse/") && response.text().await.unwrap().contains("ada@");
                assert!(!shows_ada, "{method} {path}");
                let reads = method == Method::GET || path.ends_with("/query");
                assert!([403, 404].contains(&status) || (reads && status == 200), "{method} {path}: {status}");
            }
        }
        app.create("posts", json!({ "author_id": ada.id })).await;
        let path = "/collections/posts?populate=author:_users";
        let joined = ask(app, PUBLISHABLE_KEY, Method::GET, path, Value::Null).await;
        assert_eq!(joined.data()[0]["data"]["author"], Value::Null, "{joined:?}");
        assert_eq!(app.get(path).await.data()[0]["data"]["author"]["data"]["email"], "ada@example.com");
    }

    async fn two_users_who_send_one_idempotency_key_get_two_documents(app: &TestApp) {
        let (ada, bob) = (sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await);
        let mut ids = Vec::new();
        for token in [&ada.access, &bob.access, &ada.access] {
            let request = app.request_as(token, Method::POST, "/collections/posts");
            let request = request.header("x-api-key", PUBLISHABLE_KEY).header("Idempotency-Key", "same");
            let answer = app.send(request.json(&json!({ "n": 1 }))).await;
            assert_eq!(answer.status, 201);
            ids.push(answer.data()["id"].clone());
        }
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0], ids[2], "the same user repeats");
    }

    async fn a_key_without_the_scope_of_users_sees_none_and_writes_none(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let project = app.sql().await.texts("SELECT id FROM projects").await.remove(0);
        let key = "sk_abcdefghijklmnop0123456789";
        let hash = coir::auth::keys::hash_key(key);
        app.sql()
            .await
            .execute(&format!(
                "INSERT INTO api_keys (id, project_id, kind, prefix, hash, scopes, created_at) \
                 VALUES ('limited', '{project}', 'secret', 'sk_abcdefgh', '{hash}', 'documents:read,documents:write,realtime', 0)"
            ))
            .await;
        for (method, path, body) in [
            (Method::GET, "/users".to_owned(), Value::Null),
            (Method::GET, "/collections/_users".to_owned(), Value::Null),
            (Method::GET, "/realtime/sse/_users".to_owned(), Value::Null),
            (Method::POST, "/collections/_users".to_owned(), json!({ "email": "eve@example.com" })),
            (Method::PATCH, format!("/users/{}", ada.id), json!({ "roles": ["admin"] })),
            (Method::DELETE, format!("/users/{}", ada.id), Value::Null),
        ] {
            let answer = ask(app, key, method.clone(), &path, body).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{method} {path}: {answer:?}");
        }
    }

    async fn a_server_manages_every_user(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let path = format!("/users/{}", ada.id);
        let changed = app.patch(&path, json!({ "roles": ["editor"], "emailVerified": true })).await;
        let data = json!({ "email": "ada@example.com", "emailVerified": true, "roles": ["editor"], "profile": {} });
        assert_eq!(changed.data()["data"], data);
        let renamed = app.patch(&path, json!({ "email": "Lovelace@Example.com" })).await;
        assert_eq!(renamed.data()["data"]["email"], "lovelace@example.com");
        sign_in(app, "lovelace@example.com").await;
        let old = json!({ "email": "ada@example.com", "password": PASSWORD });
        assert_eq!(post(app, "/users/login", old).await.error(), (401, "UNAUTHORIZED"));
        // The old address is free.
        let bob = app.post("/collections/_users", json!({ "email": "ada@example.com" })).await;
        assert_eq!(bob.data()["data"], json!({
            "email": "ada@example.com", "emailVerified": false, "roles": [], "profile": {},
        }));
        for (body, expected) in [
            (json!({ "email": "ada@example.com" }), (409, "CONFLICT")),
            (json!({ "name": "Ada" }), (400, "INVALID_BODY")),
            (json!({ "email": "ada" }), (400, "INVALID_BODY")),
            (json!({ "roles": "admin" }), (400, "INVALID_BODY")),
        ] {
            assert_eq!(app.patch(&path, body.clone()).await.error(), expected, "{body}");
        }
        assert_eq!(app.delete(&path).await.status, 200);
        assert_eq!(status_of(app, &ada.access).await, 401);
        sign_up(app, "lovelace@example.com").await;
    }

    async fn a_collection_that_is_built_in_stays(app: &TestApp) {
        assert_eq!(app.delete("/collections/_users").await.error(), (403, "FORBIDDEN"));
        let renamed = app.patch("/collections/_users", json!({ "name": "people" })).await;
        assert_eq!(renamed.error(), (403, "FORBIDDEN"));
        assert_eq!(app.post("/collections", json!({ "name": "_users" })).await.status, 400);
        assert_eq!(app.get("/collections").await.data(), &json!([]));
        assert_eq!(app.get("/collections/_users").await.data(), &json!([]));
    }

    async fn an_anonymous_user_becomes_a_real_one_under_the_same_id(app: &TestApp) {
        let answer = post(app, "/users/anonymous", json!({ "profile": { "name": "Guest" } })).await;
        assert_eq!((answer.status.as_u16(), &answer.data()["user"]["data"]["email"]), (201, &Value::Null));
        let guest = Signed::read(&answer);
        sign_up(app, "ada@example.com").await;
        let upgrade = async |email: &str| {
            let body = json!({ "email": email, "password": PASSWORD });
            ask(app, &guest.access, Method::POST, "/users/me/upgrade", body).await
        };
        assert_eq!(upgrade("ada@example.com").await.error(), (409, "CONFLICT"));
        let upgraded = upgrade("bob@example.com").await;
        assert_eq!(upgraded.data()["data"]["email"], "bob@example.com");
        assert_eq!(upgraded.data()["data"]["profile"]["name"], "Guest");
        assert_eq!(sign_in(app, "bob@example.com").await.id, guest.id);
        assert_eq!(upgrade("eve@example.com").await.error(), (409, "CONFLICT"));
    }

    async fn a_user_who_deletes_the_account_leaves_nothing(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let delete = async |body| ask(app, &ada.access, Method::DELETE, "/users/me", body).await;
        assert_eq!(delete(json!({ "password": "wrong horse" })).await.error(), (403, "FORBIDDEN"));
        assert_eq!(delete(json!({ "password": PASSWORD })).await.status, 200);
        assert_eq!(status_of(app, &ada.access).await, 401);
        assert_eq!(app.get("/users").await.data(), &json!([]));
        let counts = "SELECT (SELECT COUNT(*) FROM credentials) + (SELECT COUNT(*) FROM sessions)";
        assert_eq!(app.sql().await.integers(counts).await, [0]);
        let again = sign_up(app, "ada@example.com").await;
        assert_ne!(again.id, ada.id);
        // The sign-in is recent, so the password may be left out.
        assert_eq!(ask(app, &again.access, Method::DELETE, "/users/me", Value::Null).await.status, 200);
    }
}
