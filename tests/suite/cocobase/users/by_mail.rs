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
            let refused = call(app, (PUBLISHABLE_KEY, &signed_in), Method::POST, &path, json!({})).await;
            assert_eq!(detail(&refused).0, 400, "{refused:?}");
            assert_eq!(detail(&call(app, (PUBLISHABLE_KEY, "a.b.c"), Method::POST, &path, json!({})).await).0, 401);
        }
        // The address was not verified, so its owner has taken the account over.
        let me = call(app, (PUBLISHABLE_KEY, &token), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(me.status, 401);
    }
}
