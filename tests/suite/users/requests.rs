//! Requests about users that ask for something in a way that the server could misread: conditions, parameters, routes of other
//! products, and errors that a client could take for the end of the session.

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, mails, post, refresh, sign_up, status_of, token_of};
use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

fn message(answer: &Answer) -> &str {
    answer.body["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

fn hint(answer: &Answer) -> &str {
    answer.body["error"]["hint"].as_str().unwrap_or_else(|| panic!("{answer:?}"))
}

async fn second_project(app: &TestApp) {
    let mut sql = app.sql().await;
    sql.execute("INSERT INTO projects (id, name, created_at) VALUES ('other', 'other', 0)").await;
    sql.execute(
        "INSERT INTO heads (project_id, epoch, head, head_at, floor, floor_at, control) \
         SELECT 'other', epoch, 0, 0, 0, 0, 0 FROM heads",
    )
    .await;
    sql.execute(
        "INSERT INTO collections (id, project_id, name, created_at) VALUES ('others', 'other', '_users', 0)",
    )
    .await;
}

on_both_databases! {
    async fn conditions_on_ones_own_account_hold(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let patch = async |name: &str, value: &str, body: Value| {
            let request = app.request_as(&ada.access, Method::PATCH, "/users/me").header(name, value);
            app.send(request.json(&body)).await
        };
        let me = ask(app, &ada.access, Method::GET, "/users/me", Value::Null).await;
        let tag = me.header("etag").to_owned();
        // The tag is that of the document, and the answer has more.
        let unchanged = app.request_as(&ada.access, Method::GET, "/users/me").header("if-none-match", &tag);
        assert_eq!(app.send(unchanged).await.status, 200);
        let first = patch("if-match", &tag, json!({ "profile": { "n": 1 } })).await;
        assert_eq!((first.status.as_u16(), first.header("etag") == tag), (200, false));
        assert_eq!(patch("if-match", &tag, json!({ "profile": { "n": 2 } })).await.error(), (412, "PRECONDITION_FAILED"));
        for _ in 0..2 {
            let again = patch("idempotency-key", "a", json!({ "$inc": { "profile.n": 1 } })).await;
            assert_eq!(again.data()["data"]["profile"]["n"], 2);
        }
        let other = patch("idempotency-key", "a", json!({ "$inc": { "profile.n": 2 } })).await;
        assert_eq!(other.error(), (409, "CONFLICT"));
        let minimal = patch("prefer", "return=minimal", json!({ "profile": { "n": 3 } })).await;
        assert_eq!((minimal.header("preference-applied"), minimal.data().get("data")), ("return=minimal", None));
        let delete = app.request_as(&ada.access, Method::DELETE, "/users/me").header("if-match", tag);
        assert_eq!(app.send(delete).await.error(), (412, "PRECONDITION_FAILED"));
    }

    async fn what_a_route_of_users_would_ignore_is_refused(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let login = json!({ "email": "ada@example.com", "password": PASSWORD });
        let new = json!({ "email": "bob@example.com", "password": PASSWORD });
        for (token, method, path, body) in [
            (PUBLISHABLE_KEY, Method::POST, "/users", &new),
            (PUBLISHABLE_KEY, Method::POST, "/users/login", &login),
            (PUBLISHABLE_KEY, Method::POST, "/users/anonymous", &json!({})),
            (&ada.access, Method::POST, "/users/me/password", &json!({ "current": PASSWORD, "new": "new horses" })),
            (&ada.access, Method::DELETE, "/users/me", &json!({})),
            (&ada.access, Method::POST, "/users/logout", &Value::Null),
            (SECRET_KEY, Method::POST, &format!("/users/{}/logout", ada.id), &Value::Null),
        ] {
            let send = async |path: &str, header: Option<(&str, &str)>| {
                let mut request = app.request_as(token, method.clone(), path);
                if let Some((name, value)) = header {
                    request = request.header(name, value);
                }
                app.send(if body.is_null() { request } else { request.json(body) }).await
            };
            let keyed = send(path, Some(("idempotency-key", "a"))).await;
            assert_eq!(keyed.error(), (400, "INVALID_BODY"), "{method} {path}");
            assert!(message(&keyed).contains("`Idempotency-Key`"), "{keyed:?}");
            let unknown = send(&format!("{path}?redirect=x"), None).await;
            assert_eq!(unknown.error(), (400, "INVALID_FILTER"), "{method} {path}");
            assert!(message(&unknown).contains("`redirect`"), "{unknown:?}");
            if method == Method::POST {
                let conditional = send(path, Some(("if-match", "\"1\""))).await;
                assert_eq!(conditional.error(), (400, "INVALID_BODY"), "{method} {path}");
                assert!(message(&conditional).contains("`If-Match`"), "{conditional:?}");
            }
        }
        for path in ["/users/me?slect=email", "/users/me/sessions?limit=1"] {
            assert_eq!(ask(app, &ada.access, Method::GET, path, Value::Null).await.error(), (400, "INVALID_FILTER"));
        }
        assert_eq!(app.get("/outbox?limit=1").await.error(), (400, "INVALID_FILTER"));
        for (method, path, body) in [
            (Method::POST, "/collections", json!({ "name": "posts" })),
            (Method::POST, "/realtime/tickets", json!({})),
        ] {
            let request = app.request(method, path).header("idempotency-key", "a").json(&body);
            assert_eq!(app.send(request).await.error(), (400, "INVALID_BODY"), "{path}");
        }
        assert_eq!(status_of(app, &ada.access).await, 200);
        assert_eq!(app.get("/users").await.data().as_array().unwrap().len(), 1, "nothing was done");
    }

    async fn a_wrong_current_password_or_code_does_not_look_like_a_dead_session(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", ada.id), json!({ "emailVerified": true })).await;
        let totp = ask(app, &ada.access, Method::POST, "/users/me/totp", json!({ "password": PASSWORD })).await;
        assert_eq!(totp.status, 200);
        let wrong = "wrong horse";
        for (method, path, body, named) in [
            (Method::POST, "/users/me/password", json!({ "current": wrong, "new": "new horses" }), "`current`"),
            (Method::POST, "/users/me/email", json!({ "email": "b@example.com", "password": wrong }), "`password`"),
            (Method::POST, "/users/me/totp", json!({ "password": wrong }), "`password`"),
            (Method::DELETE, "/users/me", json!({ "password": wrong }), "`password`"),
            (Method::POST, "/users/me/totp/confirm", json!({ "code": "abcdef" }), "code"),
            (Method::POST, "/users/email/verify", json!({ "token": "abcdef" }), "link"),
        ] {
            let answer = ask(app, &ada.access, method, path, body).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{path}");
            assert!(message(&answer).contains(named), "{path}: {answer:?}");
        }
        for (body, named) in [
            (json!({ "current": PASSWORD, "new": "short" }), "`new` must have 8 to 256 bytes"),
            (json!({ "new": "new horses" }), "`current`"),
        ] {
            let answer = ask(app, &ada.access, Method::POST, "/users/me/password", body).await;
            assert!(message(&answer).contains(named), "{answer:?}");
        }
        assert_eq!(status_of(app, &ada.access).await, 200);
    }

    async fn filters_of_users_read_addresses_and_roles_as_they_are_meant(app: &TestApp) {
        for (email, roles) in [("ada@example.com", json!(["admin", "editor"])), ("bob@example.com", json!([]))] {
            app.post("/collections/_users", json!({ "email": email, "roles": roles })).await;
        }
        for (query, expected) in [
            ("email=ADA@Example.com", &["ada@example.com"][..]),
            ("email__in=ADA@Example.com,x", &["ada@example.com"]),
            ("email__ne=ADA@Example.com", &["bob@example.com"]),
            ("[or]email=ADA@Example.com&[or]email=Bob@example.com", &["ada@example.com", "bob@example.com"]),
            ("roles=admin", &["ada@example.com"]),
            ("roles__ne=admin", &["bob@example.com"]),
            ("roles__in=editor,none", &["ada@example.com"]),
            ("roles__array_contains=admin", &["ada@example.com"]),
            ("filters={\"email\":\"ADA@example.com\",\"roles\":\"admin\"}", &["ada@example.com"]),
        ] {
            let mut paths = vec![format!("/users?orderBy=email&{query}")];
            paths.push(format!("/collections/_users?orderBy=email&{query}"));
            for path in paths {
                let answer = app.get(&path).await;
                let found: Vec<_> = answer.data().as_array().unwrap().iter().map(|user| user["data"]["email"].clone()).collect();
                assert_eq!(json!(found), json!(expected), "{path}");
            }
        }
        // A field of the same name elsewhere is what it is.
        app.create("posts", json!({ "email": "ada@example.com" })).await;
        assert_eq!(app.get("/collections/posts?email=ADA@example.com").await.data(), &json!([]));
    }

    async fn a_filter_on_a_field_that_no_user_has_is_refused(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        for (query, advice) in [
            ("role=admin", "`roles`"),
            ("emial=ada@example.com", "`email`"),
            ("verified=true", "`emailVerified`"),
            ("[or]name=Ada&[or]email=x", "`profile.name`"),
            ("filters={\"$not\":{\"age__gt\":18}}", "`profile.age`"),
        ] {
            for path in ["/users", "/collections/_users", "/collections/_users/query/count", "/collections/_users/export"] {
                for token in [SECRET_KEY, &ada.access] {
                    let answer = ask(app, token, Method::GET, &format!("{path}?{query}"), Value::Null).await;
                    if path.ends_with("export") && token != SECRET_KEY {
                        continue;
                    }
                    assert_eq!(answer.error(), (400, "INVALID_FILTER"), "{path}?{query}");
                    assert!(message(&answer).contains(advice), "{query}: {answer:?}");
                }
            }
            let stream = app.send(app.request(Method::GET, &format!("/realtime/sse/_users?{query}"))).await;
            assert_eq!(stream.error(), (400, "INVALID_FILTER"), "{query}");
        }
        let mut socket = app.socket().await;
        socket.send(json!({ "type": "subscribe", "collection": "_users", "filters": { "role": "admin" } })).await;
        assert_eq!(socket.next_error().await.0, "INVALID_FILTER");
        for query in ["profile.name=Ada", "data.email=ada@example.com", "disabled=true", "id=x", "createdAt__gt=2020-01-01"] {
            assert_eq!(app.get(&format!("/users?{query}")).await.status, 200, "{query}");
        }
    }

    async fn ones_own_account_says_how_one_can_sign_in(app: &TestApp) {
        let account = async |token: &str| {
            let me = ask(app, token, Method::GET, "/users/me", Value::Null).await;
            assert_eq!(me.data()["account"], Value::Null);
            me.body["account"].clone()
        };
        let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
        assert_eq!(account(&guest.access).await, json!({ "password": false, "totp": false, "anonymous": true }));
        let upgrade = json!({ "email": "guest@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &guest.access, Method::POST, "/users/me/upgrade", upgrade).await.status, 200);
        assert_eq!(account(&guest.access).await, json!({ "password": true, "totp": false, "anonymous": false }));
        app.post("/collections/_users", json!({ "email": "made@example.com" })).await;
        post(app, "/users/login/code", json!({ "email": "made@example.com" })).await;
        let link = token_of(&mails(app, 1).await[0]);
        let made = Signed::read(&post(app, "/users/login/code/verify", json!({ "token": link })).await);
        assert_eq!(account(&made.access).await, json!({ "password": false, "totp": false, "anonymous": false }));
    }

    async fn routes_of_other_products_lead_to_the_right_one(app: &TestApp) {
        for (method, path, route) in [
            (Method::POST, "/users/register", "POST /users"),
            (Method::POST, "/users/signup", "POST /users"),
            (Method::POST, "/users/sign_up", "POST /users"),
            (Method::POST, "/users/signin", "POST /users/login"),
            (Method::POST, "/users/session", "POST /users/login"),
            (Method::POST, "/users/token", "POST /users/refresh"),
            (Method::POST, "/users/token/refresh", "POST /users/refresh"),
            (Method::POST, "/users/forgot-password", "POST /users/password/forgot"),
            (Method::POST, "/users/reset-password", "POST /users/password/reset"),
            (Method::POST, "/users/verify-email", "POST /users/email/verify"),
            (Method::POST, "/users/signout", "POST /users/logout"),
            (Method::GET, "/users/current", "GET /users/me"),
            (Method::POST, "/auth/login", "POST /users/login"),
            (Method::POST, "/auth/v1/signup", "POST /users"),
            (Method::POST, "/api/auth/register", "POST /users"),
            (Method::POST, "/auth/v1/token", "POST /users/refresh"),
            (Method::GET, "/auth/v1/user", "GET /users/me"),
            (Method::GET, "/me", "GET /users/me"),
            (Method::GET, "/users/login", "POST /users/login"),
            (Method::PUT, "/users/me", "PATCH /users/me"),
            (Method::POST, "/users/invite", "POST /users/invitations"),
            (Method::GET, "/users/me/sesions", "GET /users/me/sessions"),
            (Method::POST, "/api/collections/users/auth-with-password", "POST /users/login"),
            (Method::POST, "/v1/accounts:signInWithPassword", "POST /users/login"),
            (Method::POST, "/v1/account/sessions/email", "POST /users/login"),
            (Method::GET, "/parse/login", "POST /users/login"),
        ] {
            let request = app.request(method.clone(), path);
            let answer = app.send(request).await;
            assert!([404, 405].contains(&answer.status.as_u16()), "{method} {path}: {answer:?}");
            assert!(hint(&answer).contains(&format!("`{route}`")), "{method} {path}: {answer:?}");
        }
    }

    async fn the_settings_of_the_collection_of_users_are_a_servers(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let path = "/collections/_users/settings";
        for token in [PUBLISHABLE_KEY, &ada.access] {
            assert_eq!(ask(app, token, Method::GET, path, Value::Null).await.error(), (403, "FORBIDDEN"));
        }
        assert_eq!(app.get(path).await.status, 200);
    }

    async fn a_server_that_changes_an_address_leaves_nothing_of_the_old_one(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let path = format!("/users/{}", ada.id);
        let verified = async || app.get(&path).await.data()["data"]["emailVerified"].clone();
        app.patch(&path, json!({ "emailVerified": true })).await;
        app.patch(&path, json!({ "email": "ADA@example.com", "roles": ["a"] })).await;
        assert_eq!(verified().await, true, "it is the same address");
        // Links to the old address, and one with which the user asked for a third.
        post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        let old = token_of(&mails(app, 1).await[0]);
        let body = json!({ "email": "third@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/email", body).await.status, 200);
        let third = token_of(&mails(app, 2).await[1]);
        app.patch(&path, json!({ "email": "lovelace@example.com" })).await;
        assert_eq!(verified().await, false);
        app.patch(&path, json!({ "email": "ada@example.com", "emailVerified": true })).await;
        assert_eq!(verified().await, true, "the server says so");
        assert_eq!(post(app, "/users/email/verify", json!({ "token": third })).await.error().0, 403);
        let reset = json!({ "token": old, "password": "new horses" });
        assert_eq!(post(app, "/users/password/reset", reset).await.error().0, 403);
        for body in [json!({ "email": null }), json!({ "$unset": ["email"] })] {
            app.patch(&path, json!({ "email": "ada@example.com", "emailVerified": true })).await;
            assert_eq!(app.patch(&path, body).await.data()["data"]["emailVerified"], false);
        }
        // Who holds the token only must not set another password.
        let upgrade = json!({ "email": "eve@example.com", "password": "new horses" });
        let answer = ask(app, &ada.access, Method::POST, "/users/me/upgrade", upgrade).await;
        assert_eq!(answer.error(), (409, "CONFLICT"));
        assert!(message(&answer).contains("/users/me/email"), "{answer:?}");
        let back = json!({ "email": "eve@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/email", back).await.status, 200);
        let link = token_of(mails(app, 3).await.last().unwrap());
        let link = json!({ "token": link });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/email/verify", link).await.status, 200);
        let login = json!({ "email": "eve@example.com", "password": PASSWORD });
        assert_eq!(Signed::read(&post(app, "/users/login", login).await).id, ada.id);
        // A replaced document says of itself whether the address is verified.
        let put = app.put(&format!("/collections/_users/{}", ada.id), json!({ "email": "new@example.com" })).await;
        assert_eq!(put.data()["data"]["emailVerified"], false);
    }

    async fn a_refresh_token_of_another_project_is_named_as_such(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        second_project(app).await;
        let key = "pk_abcdefghijklmnop0123456789";
        let hash = coir::auth::keys::hash_key(key);
        app.sql().await.execute(&format!(
            "INSERT INTO api_keys (id, project_id, kind, prefix, hash, created_at) \
             VALUES ('foreign', 'other', 'publishable', 'pk_abcdefgh', '{hash}', 0)"
        )).await;
        let body = json!({ "refreshToken": ada.refresh });
        let answer = app.send(app.request_as(key, Method::POST, "/users/refresh").json(&body)).await;
        assert_eq!(answer.error(), (401, "UNAUTHORIZED"));
        assert!(hint(&answer).contains("different projects"), "{answer:?}");
        assert_eq!(refresh(app, &ada.refresh).await.status, 200);
    }
}
