//! What users do by mail through the client libraries' door.

use coir::{auth::totp, domain::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, call, detail, post, read, sign_up};
use crate::{
    harness::{PUBLISHABLE_KEY, on_both_databases},
    users::{ask, digits_of, mails, token_of},
};

on_both_databases! {
    async fn a_forgotten_password_is_replaced_by_a_link(app: &TestApp) {
        let (token, _) = sign_up(app, "ada@example.com", json!({})).await;
        let path = "/auth-collections/forgot-password";
        let unknown = post(app, path, json!({ "email": "bob@example.com" })).await;
        let asked = post(app, path, json!({ "email": "ada@example.com" })).await;
        assert_eq!((asked.status.as_u16(), &asked.body), (200, &unknown.body), "the answer tells nothing");
        assert!(asked.body["message"].is_string());
        let link = token_of(&mails(app, 1).await[0]);
        let reset = async |link: &str, password: &str| {
            let body = json!({ "token": link, "new_password": password });
            post(app, "/auth-collections/reset-password", body).await
        };
        assert_eq!(detail(&reset("nonsense", "battery staple").await).0, 400);
        assert_eq!(detail(&reset(&link, "short").await).0, 400);
        let done = reset(&link, "battery staple").await;
        assert_eq!((done.status.as_u16(), &done.body), (200, &json!({ "message": "Password reset successfully" })));
        assert_eq!(detail(&reset(&link, "battery horse").await).0, 400, "it is good once");
        let me = call(app, (PUBLISHABLE_KEY, &token), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(me.status, 401, "every session has ended");
        for (password, status) in [("battery staple", 200), (PASSWORD, 401)] {
            let body = json!({ "email": "ada@example.com", "password": password });
            assert_eq!(post(app, "/auth-collections/login", body).await.status, status, "{password}");
        }
    }

    async fn an_address_is_verified_by_a_link(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let verification = async |path: &str, body: Value| {
            call(app, (PUBLISHABLE_KEY, &token), Method::POST, &format!("/auth-collections/verify-email/{path}"), body).await
        };
        for path in ["send", "resend"] {
            let sent = verification(path, json!({})).await;
            assert_eq!((sent.status.as_u16(), &sent.body["expires_in_hours"]), (200, &json!(24)), "{sent:?}");
            let alone = post(app, &format!("/auth-collections/verify-email/{path}"), json!({})).await;
            assert_eq!(detail(&alone).0, 401, "a key alone has no address");
        }
        let link = token_of(&mails(app, 2).await[1]);
        assert_eq!(detail(&verification("verify", json!({ "token": "nonsense" })).await).0, 400);
        let verified = verification("verify", json!({ "token": link })).await;
        assert_eq!((verified.status.as_u16(), &verified.body["email_verified"]), (200, &json!(true)), "{verified:?}");
        assert!(verified.body["verified_at"].as_str().unwrap().ends_with('Z'));
        let me = call(app, (PUBLISHABLE_KEY, &token), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!((&me.body["email_verified"], &me.body["id"]), (&json!(true), &user["id"]));
    }

    async fn a_second_factor_is_not_passed_by(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let path = format!("/users/{}", user["id"].as_str().unwrap());
        assert_eq!(app.patch(&path, json!({ "emailVerified": true })).await.status, 200);
        let begun = ask(app, &token, Method::POST, "/users/me/totp", Value::Null).await;
        let secret = begun.data()["secret"].as_str().unwrap().to_owned();
        let step = Timestamp::now().0.unsigned_abs() / 30_000;
        let code = json!({ "code": totp::code_of(&secret, step).unwrap() });
        let confirmed = ask(app, &token, Method::POST, "/users/me/totp/confirm", code).await;
        assert_eq!(confirmed.status, 200, "{confirmed:?}");

        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let refused = post(app, "/auth-collections/login", body).await;
        assert!(detail(&refused).0 == 403 && detail(&refused).1.contains("second factor"), "{refused:?}");
        post(app, "/auth-collections/2fa/send-code", json!({ "email": "ada@example.com" })).await;
        let digits = digits_of(&mails(app, 1).await[0]);
        let body = json!({ "email": "ada@example.com", "code": digits });
        assert_eq!(detail(&post(app, "/auth-collections/2fa/verify", body).await).0, 403);
    }

    async fn a_second_factor_by_mail_is_asked_for_after_the_password(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let own = async |token: &str, path: &str| {
            call(app, (PUBLISHABLE_KEY, token), Method::POST, &format!("/auth-collections/2fa/{path}"), json!({})).await
        };
        assert_eq!(detail(&own(&token, "enable").await).0, 400, "the address is not verified");
        let path = format!("/users/{}", user["id"].as_str().unwrap());
        app.patch(&path, json!({ "emailVerified": true })).await;
        let enabled = own(&token, "enable").await;
        assert!(enabled.status == 200 && enabled.body["message"].is_string(), "{enabled:?}");
        let login = json!({ "email": "ada@example.com", "password": PASSWORD });
        let mut sent = 0;
        let mut code = async || {
            let asked = post(app, "/auth-collections/2fa/send-code", json!({ "email": "ada@example.com" })).await;
            assert_eq!(asked.status, 200);
            sent += 1;
            digits_of(&mails(app, sent).await[sent - 1])
        };
        let verify = async |code: &str| {
            post(app, "/auth-collections/2fa/verify", json!({ "email": "ada@example.com", "code": code })).await
        };
        // The code alone is no sign-in, on neither door.
        let digits = code().await;
        let refused = verify(&digits).await;
        assert!(detail(&refused).0 == 403 && detail(&refused).1.contains("password first"), "{refused:?}");
        let alone = json!({ "email": "ada@example.com", "code": digits });
        assert_eq!(post(app, "/users/login/code/verify", alone).await.status, 403);
        // Nor is the password.
        let asked = post(app, "/auth-collections/login", login.clone()).await;
        assert_eq!((asked.status.as_u16(), &asked.body["requires_2fa"]), (200, &json!(true)), "{asked:?}");
        assert!(asked.body["message"].is_string() && asked.body.get("access_token").is_none(), "{asked:?}");
        let wrong = if digits == "000000" { "000001" } else { "000000" };
        assert_eq!(detail(&verify(wrong).await).0, 400);
        let (signed_in, found) = read(&verify(&digits).await);
        assert_eq!(found["id"], user["id"]);
        let digits = code().await;
        assert_eq!(detail(&verify(&digits).await).0, 403, "each sign-in takes the password");
        // The own door asks for it, too.
        let asked = post(app, "/users/login", login.clone()).await;
        assert_eq!(asked.data()["mfa"]["methods"], json!(["email"]), "{asked:?}");
        let answer = async |code: &str| {
            let ticket = asked.data()["mfa"]["ticket"].clone();
            post(app, "/users/login/mfa", json!({ "ticket": ticket, "code": code })).await
        };
        assert_eq!(answer(wrong).await.status, 401);
        assert_eq!(answer(&digits).await.data()["user"]["id"], user["id"]);
        assert_eq!(answer(&digits).await.status, 401, "both are good once");
        // No address without a link, and no end of it by an old sign-in.
        let change = json!({ "email": "eve@example.com" });
        let changed = call(app, (PUBLISHABLE_KEY, &signed_in), Method::PATCH, "/auth-collections/user", change).await;
        assert_eq!(detail(&changed).0, 403);
        let age = format!("UPDATE sessions SET signed_in_at = 0 WHERE user_id = '{}'", user["id"].as_str().unwrap());
        let (recent, _) = {
            post(app, "/auth-collections/login", login.clone()).await;
            let digits = code().await;
            app.sql().await.execute(&age).await;
            read(&verify(&digits).await)
        };
        assert_eq!(own(&recent, "disable").await.status, 200);
        read(&post(app, "/auth-collections/login", login).await);
        let entries = app.get(&format!("/audit?user={}", user["id"].as_str().unwrap())).await.data().to_string();
        assert!(entries.contains("totpOn") && entries.contains("totpOff"), "{entries}");
    }

    async fn a_second_factor_by_mail_ends_by_a_recent_sign_in_or_by_a_server(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let path = format!("/users/{}", user["id"].as_str().unwrap());
        app.patch(&path, json!({ "emailVerified": true })).await;
        let own = async |path: &str| {
            call(app, (PUBLISHABLE_KEY, &token), Method::POST, &format!("/auth-collections/2fa/{path}"), json!({})).await
        };
        app.sql().await.execute("UPDATE sessions SET signed_in_at = 0").await;
        assert_eq!(own("enable").await.status, 200, "it makes the account no weaker");
        assert_eq!(detail(&own("disable").await).0, 403);
        assert_eq!(app.delete(&format!("{path}/totp")).await.status, 200);
        read(&post(app, "/auth-collections/login", json!({ "email": "ada@example.com", "password": PASSWORD })).await);
    }

    async fn a_code_signs_in(app: &TestApp) {
        let (token, user) = sign_up(app, "ada@example.com", json!({})).await;
        let sent = post(app, "/auth-collections/2fa/send-code", json!({ "email": "ada@example.com" })).await;
        assert!(sent.status == 200 && sent.body["message"].is_string(), "{sent:?}");
        let digits = digits_of(&mails(app, 1).await[0]);
        let wrong = if digits == "000000" { "000001" } else { "000000" };
        let verify = async |code: &str| {
            post(app, "/auth-collections/2fa/verify", json!({ "email": "ada@example.com", "code": code })).await
        };
        assert_eq!(detail(&verify(wrong).await).0, 400);
        let (signed_in, found) = read(&verify(&digits).await);
        assert_eq!(found["id"], user["id"]);
        assert_eq!(detail(&verify(&digits).await).0, 400, "it is good once");
        for path in ["enable", "disable"] {
            let path = format!("/auth-collections/2fa/{path}");
            assert_eq!(detail(&call(app, (PUBLISHABLE_KEY, "a.b.c"), Method::POST, &path, json!({})).await).0, 401);
        }
        let path = "/auth-collections/2fa/enable";
        let refused = call(app, (PUBLISHABLE_KEY, &signed_in), Method::POST, path, json!({})).await;
        assert_eq!(detail(&refused).0, 400, "whoever takes an account over has no password: {refused:?}");
        // The address was not verified, so its owner has taken the account over.
        let me = call(app, (PUBLISHABLE_KEY, &token), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(me.status, 401);
    }
}
