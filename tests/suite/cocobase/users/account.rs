//! Sign-up, sign-in and one's own account.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, call, detail, post, read, sign_up};
use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

const TWO_DAYS: i64 = 2 * 24 * 3600;

/// Signs in, and returns the status.
async fn sign_in(app: &TestApp, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    post(app, "/auth-collections/login", body).await.status.as_u16()
}

async fn current(app: &TestApp, token: &str) -> Answer {
    call(app, (PUBLISHABLE_KEY, token), Method::GET, "/auth-collections/user", Value::Null).await
}

async fn update(app: &TestApp, token: &str, body: Value) -> Answer {
    call(app, (PUBLISHABLE_KEY, token), Method::PATCH, "/auth-collections/user", body).await
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Makes every sign-in older than those are that allow a change of the password.
async fn grow_old(app: &TestApp) {
    let before = "UPDATE sessions SET signed_in_at = signed_in_at - 601000";
    app.sql().await.execute(before).await;
}

on_both_databases! {
    async fn flutter_can_sign_up_and_in_and_change_the_account(app: &TestApp) {
        // Without data, the library sends null.
        let body = json!({ "email": "Ada@Example.com", "password": PASSWORD, "data": null });
        let (token, user) = read(&post(app, "/auth-collections/signup", body).await);
        let found = current(app, &token).await;
        assert_eq!(found.body, user);
        // `AppUser.fromJson` casts these, and parses both times.
        assert!(user["id"].is_string() && user["data"].is_object(), "{user}");
        for time in ["created_at", "updated_at"] {
            let text = user[time].as_str().unwrap();
            assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{text}");
        }
        let members: Vec<_> = user.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, [
            "client_id", "created_at", "data", "email", "email_verified", "email_verified_at", "id", "roles", "updated_at",
        ]);
        assert_eq!(
            (&user["email"], &user["roles"], &user["email_verified"], &user["email_verified_at"]),
            (&json!("ada@example.com"), &json!([]), &json!(false), &Value::Null)
        );
        assert_eq!(user["client_id"], claims(&token)["pid"]);

        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let (token, again) = read(&post(app, "/auth-collections/login", body).await);
        assert_eq!(again, user);
        let changed = update(app, &token, json!({ "data": { "name": "Ada", "visits": 1 } })).await;
        assert_eq!((changed.status.as_u16(), &changed.body["data"]), (200, &json!({ "name": "Ada", "visits": 1 })));
        let merged = update(app, &token, json!({ "data": { "visits": 2 } })).await;
        assert_eq!(merged.body["data"], json!({ "name": "Ada", "visits": 2 }));
        let appended = update(app, &token, json!({ "data": { "$append": { "tags": ["a"] }, "$inc": { "visits": 1 } } })).await;
        assert_eq!(appended.body["data"], json!({ "name": "Ada", "visits": 3, "tags": ["a"] }));
        assert_eq!(update(app, &token, json!({})).await.body, appended.body);
        assert_eq!(current(app, &token).await.body, appended.body);
    }

    async fn go_can_sign_up_and_reads_the_current_user(app: &TestApp) {
        // Without data, the library sends none. It decodes `access_token` alone, and asks for the user.
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let (token, user) = read(&post(app, "/auth-collections/signup", body).await);
        assert_eq!(current(app, &token).await.body, user);
        // A file upload and other libraries send the token alone.
        let alone = call(app, ("", &token), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(alone.body, user);
    }

    async fn a_token_is_good_for_two_days_and_so_is_its_session(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let claims = claims(&token);
        let number = |claim: &str| claims[claim].as_i64().unwrap();
        assert_eq!(number("exp") - number("iat"), TWO_DAYS);
        assert_eq!(claims["userId"], user["id"]);
        let ends = "SELECT expires_at FROM sessions";
        let ends = app.sql().await.integers(ends).await;
        let after = ends[0] - number("exp") * 1000;
        assert!((0..5 * 60_000).contains(&after), "the session ends {after} ms after its token");
    }

    async fn a_token_that_is_good_for_nothing_does_not_keep_anybody_from_signing_in(app: &TestApp) {
        let (token, _) = sign_up(app, "ada@example.com", json!({})).await;
        let logout = call(app, ("", &token), Method::POST, "/users/logout", Value::Null).await;
        assert_eq!(logout.status, 200);
        for token in [&token, "a.b.c"] {
            // The npm library clears what it stored at a 401.
            assert_eq!(current(app, token).await.status, 401);
            let body = json!({ "email": "ada@example.com", "password": PASSWORD });
            let path = "/auth-collections/login";
            read(&call(app, (PUBLISHABLE_KEY, token), Method::POST, path, body).await);
        }
        assert_eq!(current(app, "").await.status, 401, "a key alone is no user");
    }

    async fn nobody_gives_themselves_a_role(app: &TestApp) {
        let body = json!({ "email": "ada@example.com", "password": PASSWORD, "roles": ["admin"] });
        let (status, message) = (400, "a server does, with PATCH /collections/_users/{id} and a secret key");
        for key in [PUBLISHABLE_KEY, SECRET_KEY] {
            let refused = call(app, (key, ""), Method::POST, "/auth-collections/signup", body.clone()).await;
            assert!(detail(&refused).0 == status && detail(&refused).1.contains(message), "{refused:?}");
        }
        let body = json!({ "email": "ada@example.com", "password": PASSWORD, "roles": [], "phone_number": "+44 20" });
        let (token, user) = read(&post(app, "/auth-collections/signup", body).await);
        assert_eq!((&user["roles"], &user["data"]), (&json!([]), &json!({ "phone_number": "+44 20" })));
        for body in [json!({ "roles": ["admin"] }), json!({ "roles": "admin", "data": {} }), json!({ "emailVerified": true })] {
            let refused = update(app, &token, body).await;
            assert!(detail(&refused).0 == status && detail(&refused).1.contains(message), "{refused:?}");
        }
        // Words in one's own data are no roles.
        let own = update(app, &token, json!({ "data": { "roles": ["admin"], "email_verified": true } })).await;
        assert_eq!((&own.body["roles"], &own.body["email_verified"]), (&json!([]), &json!(false)));
    }

    async fn a_recent_sign_in_changes_address_and_password(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({ "name": "Ada" })).await;
        let (other, _) = sign_up(app, "bob@example.com", json!({})).await;
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let (elsewhere, _) = read(&post(app, "/auth-collections/login", body).await);
        let path = format!("/users/{}", user["id"].as_str().unwrap());
        assert_eq!(app.patch(&path, json!({ "emailVerified": true, "roles": ["editor"] })).await.status, 200);

        let body = json!({ "email": "Lovelace@example.com", "password": "battery staple", "data": { "n": 1 } });
        let changed = update(app, &token, body).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(
            (&changed.body["email"], &changed.body["email_verified"], &changed.body["roles"], &changed.body["data"]),
            (&json!("lovelace@example.com"), &json!(false), &json!(["editor"]), &json!({ "name": "Ada", "n": 1 }))
        );
        assert_eq!(current(app, &token).await.body, changed.body);
        assert_eq!(current(app, &elsewhere).await.status, 401, "the other sessions end");
        assert_eq!(current(app, &other).await.status, 200, "those of others don't");
        for (email, password, status) in [
            ("lovelace@example.com", "battery staple", 200),
            ("lovelace@example.com", PASSWORD, 401),
            ("ada@example.com", "battery staple", 401),
        ] {
            assert_eq!(sign_in(app, email, password).await, status, "{email} {password}");
        }
        // Wholly or not at all.
        for (body, part) in [
            (json!({ "email": "bob@example.com", "data": { "n": 2 } }), "another user has this e-mail address"),
            (json!({ "email": "nobody", "data": { "n": 2 } }), "e-mail address"),
            (json!({ "password": "short", "data": { "n": 2 } }), "8 to 256 bytes"),
            (json!({ "data": { "$inc": { "name": 1 } }, "email": "eve@example.com" }), "name"),
            (json!({ "data": [1] }), "an object"),
            (json!({ "name": "Ada" }), "`name`"),
        ] {
            let refused = update(app, &token, body.clone()).await;
            let (status, message) = detail(&refused);
            assert!([400, 409].contains(&status) && message.contains(part), "{body}: {refused:?}");
        }
        assert_eq!(current(app, &token).await.body, changed.body);
    }

    async fn an_old_sign_in_changes_neither_address_nor_password(app: &TestApp) {
        let (token, _) = sign_up(app, "ada@example.com", json!({})).await;
        grow_old(app).await;
        for body in [
            json!({ "email": "eve@example.com" }),
            json!({ "password": "battery staple" }),
            json!({ "email": "eve@example.com", "data": { "n": 1 } }),
        ] {
            let refused = update(app, &token, body.clone()).await;
            let (status, message) = detail(&refused);
            assert!(status == 403 && message.contains("sign in again first"), "{body}: {refused:?}");
        }
        // An app that sends its whole form sends the address that the user has.
        let changed = update(app, &token, json!({ "email": "Ada@example.com", "data": { "n": 2 } })).await;
        assert_eq!((changed.status.as_u16(), &changed.body["data"]), (200, &json!({ "n": 2 })));
        // With the current password it needs no sign-in.
        let path = "/auth-collections/change-password";
        let wrong = json!({ "old_password": "wrong horse", "new_password": "battery staple" });
        let wrong = call(app, (PUBLISHABLE_KEY, &token), Method::POST, path, wrong).await;
        assert_eq!(detail(&wrong), (400, "`old_password` is wrong"));
        let right = json!({ "old_password": PASSWORD, "new_password": "battery staple" });
        let right = call(app, (PUBLISHABLE_KEY, &token), Method::POST, path, right).await;
        assert_eq!((right.status.as_u16(), &right.body), (200, &json!({ "message": "Password changed successfully" })));
        assert_eq!(sign_in(app, "ada@example.com", "battery staple").await, 200);
        assert_eq!(sign_in(app, "ada@example.com", PASSWORD).await, 401);
    }

    async fn each_refusal_has_the_status_and_the_detail_that_the_libraries_show(app: &TestApp) {
        sign_up(app, "ada@example.com", json!({})).await;
        let login = |email: &str, password: &str| json!({ "email": email, "password": password });
        let (signup, sign_in) = ("/auth-collections/signup", "/auth-collections/login");
        for (path, body, status, part) in [
            (signup, login("ADA@example.com", PASSWORD), 400, "another user has this e-mail address"),
            (signup, login("bob", PASSWORD), 400, "e-mail address"),
            (signup, login("bob@example.com", "short"), 400, "8 to 256 bytes"),
            (signup, json!({ "email": "bob@example.com" }), 400, "`password`"),
            (signup, json!({ "email": "bob@example.com", "password": PASSWORD, "data": 7 }), 400, "an object"),
            (signup, json!([]), 400, "object"),
            (sign_in, login("ada@example.com", "wrong horse"), 401, "Invalid e-mail address or password"),
            (sign_in, login("bob@example.com", PASSWORD), 401, "Invalid e-mail address or password"),
            (sign_in, login("nobody", PASSWORD), 401, "Invalid e-mail address or password"),
            (sign_in, json!({}), 400, "`email`"),
            ("/auth-collections/google-verify", json!({ "id_token": "x", "platform": "web" }), 404, "Google"),
            ("/auth-collections/github-verify", json!({ "code": "x", "redirect_uri": "y" }), 404, "GitHub"),
            ("/auth-collections/nothing", json!({}), 404, "/auth-collections/nothing"),
            ("/auth-collections/user", json!({}), 405, "GET"),
        ] {
            let answer = post(app, path, body.clone()).await;
            let (found, message) = detail(&answer);
            assert!(found == status && message.contains(part), "{path} {body}: {answer:?}");
        }
        for key in ["", "pk_0000000000000000nobody"] {
            for path in [signup, sign_in] {
                let answer = call(app, (key, ""), Method::POST, path, login("bob@example.com", PASSWORD)).await;
                assert_eq!(detail(&answer), (401, "Invalid or missing authentication token"), "{path}");
            }
        }
        for path in ["/auth-collections/user", "/auth-collections/users", "/auth-collections/users/x"] {
            let answer = call(app, ("", ""), Method::GET, path, Value::Null).await;
            assert_eq!(detail(&answer).0, 401, "{path}");
        }
        let form = app.http.post(format!("{}{signup}", app.url)).header("x-api-key", PUBLISHABLE_KEY);
        let form = form.header("Content-Type", "multipart/form-data; boundary=x").body("--x--");
        assert!(detail(&app.send(form).await).1.contains("doesn't store files yet"));
        let google = call(app, (PUBLISHABLE_KEY, ""), Method::GET, "/auth-collections/login-google", Value::Null).await;
        assert_eq!(detail(&google).0, 404);
    }
}
