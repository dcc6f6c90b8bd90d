//! What somebody who does it for the first time is told: each sentence says what to do, and no sentence leads astray.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, mails, post,
    providers::{PAGE, begin, enter, local, provide},
    sign_up, status_of,
};
use crate::harness::{
    Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases, path_with,
    provider::{CLIENT, CLIENT_SECRET, TestProvider},
};

/// Returns everything that an error tells.
fn told(answer: &Answer) -> String {
    assert_eq!(answer.body["success"], false, "{answer:?}");
    let error = &answer.body["error"];
    format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default())
}

/// Makes the session of a token as old as that of somebody who signed in yesterday.
async fn make_old(app: &TestApp) {
    app.sql().await.execute("UPDATE sessions SET signed_in_at = signed_in_at - 86400000").await;
}

on_both_databases! {
    async fn what_is_secret_is_never_told_to_go_into_a_document(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let user = format!("/collections/_users/{}", ada.id);
        for (token, method, path, body, advice) in [
            (SECRET_KEY, Method::PATCH, &*user, json!({ "password": "new horses" }), "POST /users/password/forgot"),
            (SECRET_KEY, Method::PATCH, &user, json!({ "passwordHash": "$2b$…" }), "not even as a hash"),
            (SECRET_KEY, Method::PUT, "/collections/_users/bob", json!({ "email": "bob@example.com", "pwd": "x" }), "never in a document"),
            (SECRET_KEY, Method::PATCH, &user, json!({ "totpSecret": "x" }), "POST /users/me/totp"),
            (SECRET_KEY, Method::PATCH, &user, json!({ "is_verified": true }), "`emailVerified`"),
            (&ada.access, Method::PATCH, "/users/me", json!({ "password": "new horses" }), "POST /users/me/password"),
            (&ada.access, Method::PATCH, "/users/me", json!({ "newPassword": "new horses" }), "POST /users/me/password"),
            (&ada.access, Method::PATCH, "/users/me", json!({ "email": "b@example.com" }), "POST /users/me/email"),
            (&ada.access, Method::PATCH, "/users/me", json!({ "accessToken": "x" }), "Authorization"),
            (PUBLISHABLE_KEY, Method::POST, "/users/anonymous", json!({ "password": "x" }), "POST /users signs up"),
            (PUBLISHABLE_KEY, Method::POST, "/users/anonymous", json!({ "email": "b@example.com" }), "POST /users/me/email"),
        ] {
            let answer = ask(app, token, method, path, body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{path} {body}: {answer:?}");
            let told = told(&answer);
            assert!(told.contains(advice) && !told.contains("into `profile`"), "{path} {body}: {told}");
        }
        let nickname = ask(app, &ada.access, Method::PATCH, "/users/me", json!({ "nickname": "A" })).await;
        assert!(told(&nickname).contains("into `profile`"), "{nickname:?}");
        let set = ask(app, &ada.access, Method::PATCH, "/users/me", json!({ "$set": { "profile.name": "A" } })).await;
        assert!(told(&set).contains("set by its name alone, as in {\"profile\":{\"name\":\"Ada\"}}"), "{set:?}");
        let set = app.patch(&user, json!({ "$set": { "profile.name": "A" } })).await;
        assert!(told(&set).contains("set by its name alone"), "{set:?}");
    }

    async fn a_credential_that_is_none_is_called_what_it_is(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let refresh = ada.refresh.as_str();
        for (bearer, advice) in [
            ("undefined", "`data.accessToken`"),
            ("null", "`data.accessToken`"),
            ("[object Object]", "`data.accessToken`"),
            (refresh, "POST /users/refresh"),
        ] {
            for key in [None, Some(PUBLISHABLE_KEY)] {
                let mut request = app.request_as(bearer, Method::GET, "/users/me");
                if let Some(key) = key {
                    request = request.header("x-api-key", key);
                }
                let answer = app.send(request).await;
                assert_eq!(answer.error(), (401, "UNAUTHORIZED"), "{bearer}");
                assert!(told(&answer).contains(advice), "{bearer} {key:?}: {}", told(&answer));
            }
            let stream = app.request_as(bearer, Method::GET, "/realtime/sse/posts");
            assert!(told(&app.send(stream).await).contains(advice), "{bearer}");
        }
        let twice = app.request(Method::GET, "/users").header("x-api-key", PUBLISHABLE_KEY);
        assert!(told(&app.send(twice).await).contains("two different keys"));
    }

    async fn a_wait_is_the_same_in_the_sentence_and_in_the_header(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let mut last = ask(app, &ada.access, Method::POST, "/users/email/verify/send", Value::Null).await;
        for _ in 0..10 {
            last = ask(app, &ada.access, Method::POST, "/users/email/verify/send", json!({})).await;
        }
        assert_eq!(last.error(), (429, "RATE_LIMITED"));
        assert!(told(&last).contains("an hour"), "{last:?}");
        assert_eq!(last.header("retry-after"), "3600");
    }

    async fn signing_in_again_is_offered_where_it_helps(app: &TestApp, local) {
        let ada = sign_up(app, "ada@example.com").await;
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let person = json!({ "sub": "1816", "email": "bob@example.com", "email_verified": true });
        let bob = Signed::read(&enter(app, &provider, &person).await);
        make_old(app).await;
        let email = json!({ "email": "new@example.com" });
        let new = json!({ "new": "new horses" });
        for (who, method, path, body, advice, is_offered) in [
            (&ada, Method::POST, "/users/me/email", &email, "in `password`", false),
            (&ada, Method::POST, "/users/me/password", &new, "in `current`", false),
            (&ada, Method::DELETE, "/users/me", &json!({}), "in `password`", true),
            (&ada, Method::POST, "/users/me/totp", &json!({}), "in `password`", true),
            (&bob, Method::POST, "/users/me/email", &email, "has no password", true),
            (&bob, Method::POST, "/users/me/password", &new, "leave `current` out", true),
            (&bob, Method::DELETE, "/users/me", &json!({ "password": PASSWORD }), "leave `password` out", true),
        ] {
            let answer = ask(app, &who.access, method, path, body.clone()).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"), "{path}");
            let told = told(&answer);
            assert!(told.contains(advice), "{path}: {told}");
            assert_eq!(told.contains("sign in again"), is_offered, "{path}: {told}");
        }
    }

    async fn a_sign_in_with_a_provider_says_what_is_missing_and_where(app: &TestApp) {
        let start = path_with("/users/oauth/acme/start", &[("redirectTo", PAGE)]);
        let no_key = app.send(app.http.get(format!("{}{start}", app.url))).await;
        assert_eq!(no_key.error(), (401, "UNAUTHORIZED"));
        assert!(told(&no_key).contains("`token=pk_…`"), "{no_key:?}");
        // The name leads to an address of this machine, which the operator has not allowed.
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let settings = json!({ "issuer": format!("https://{}", machine.trim()), "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
        let accepted = app.patch("/settings", json!({ "oauth": { "acme": settings } })).await;
        assert_eq!(accepted.status, 200, "{accepted:?}");
        for _ in 0..2 {
            let answer = begin(app, PUBLISHABLE_KEY, "acme", &[]).await;
            assert_eq!(answer.error(), (409, "CONFLICT"), "{answer:?}");
            let told = told(&answer);
            assert!(told.contains("`acme`") && told.contains("COIR_PRIVATE_PROVIDERS"), "{told}");
        }
        let gone = json!({ "issuer": "https://nothing.invalid", "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
        assert_eq!(app.patch("/settings", json!({ "oauth": { "gone": gone } })).await.status, 200);
        let answer = begin(app, PUBLISHABLE_KEY, "gone", &[]).await;
        assert_eq!(answer.error(), (503, "OVERLOADED"));
        assert!(told(&answer).contains("`gone`"), "{answer:?}");
    }

    async fn a_body_that_is_empty_or_too_much_is_told_about_in_terms_of_the_route(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let other = sign_up(app, "bob@example.com").await;
        for path in ["/users", "/users/login", "/users/refresh", "/users/password/forgot"] {
            for body in ["", "email=ada@example.com"] {
                let request = app.request_as(PUBLISHABLE_KEY, Method::POST, path).body(body);
                let answer = app.send(request).await;
                assert_eq!(answer.error(), (400, "INVALID_BODY"), "{path}");
                let told = told(&answer);
                let member = if path == "/users/refresh" { "`refreshToken`" } else { "`email`" };
                assert!(told.contains(member) && !told.contains("title"), "{path} {body:?}: {told}");
            }
        }
        let invited = app.post("/users/invitations", json!({ "email": "eve@example.com" })).await;
        let invitation = format!("/users/invitations/{}", invited.data()["id"].as_str().unwrap());
        for (token, method, path) in [
            (&*ada.access, Method::POST, "/users/logout"),
            (&ada.access, Method::POST, "/users/email/verify/send"),
            (&ada.access, Method::DELETE, "/users/me/sessions/x"),
            (&ada.access, Method::DELETE, "/users/me/identities/acme"),
            (SECRET_KEY, Method::POST, &format!("/users/{}/logout", other.id)),
            (SECRET_KEY, Method::DELETE, &format!("/users/{}/totp", other.id)),
            (SECRET_KEY, Method::DELETE, &invitation),
        ] {
            let answer = ask(app, token, method.clone(), path, json!({ "everywhere": true })).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{method} {path}");
            assert!(told(&answer).contains("`everywhere`; it takes none"), "{answer:?}");
        }
        for token in [&ada, &other] {
            assert_eq!(status_of(app, &token.access).await, 200, "nothing was done");
        }
        mails(app, 1).await;
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/email/verify/send", json!({})).await.status, 200);
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/logout", json!({})).await.status, 200);
        assert_eq!(post(app, "/users/anonymous", json!([])).await.error(), (400, "INVALID_BODY"));
    }
}
