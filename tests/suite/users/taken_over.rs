//! Accounts that somebody made with another one's address, and what the proof of an address is good for.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask,
    linking::{by_code, link, mail_to},
    mails, post,
    providers::{ada, enter, local, provide},
    second_factor::Guarded,
    sign_in, sign_up, status_of, token_of,
};
use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, on_both_databases, provider::TestProvider};

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    post(app, "/users/login", json!({ "email": email, "password": password })).await
}

async fn data_of(app: &TestApp, user: &Signed) -> Value {
    app.get(&format!("/users/{}", user.id)).await.data()["data"].clone()
}

async fn set_user(app: &TestApp, user: &Signed, members: Value) {
    assert_eq!(app.patch(&format!("/users/{}", user.id), members).await.status, 200);
}

/// Changes one's own account through the client libraries' door.
async fn change_by_library(app: &TestApp, user: &Signed, body: Value) -> Answer {
    let request = app.http.patch(format!("{}/auth-collections/user", app.url));
    app.send(request.header("x-api-key", PUBLISHABLE_KEY).bearer_auth(&user.access).json(&body)).await
}

/// Asks for the link that verifies the user's address, and returns its token.
async fn verification_link(app: &TestApp, user: &Signed, email: &str) -> Value {
    let sent = ask(app, &user.access, Method::POST, "/users/email/verify/send", Value::Null).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    json!({ "token": token_of(&mail_to(app, email, "verify-email").await) })
}

fn is_asked(answer: &Answer) -> bool {
    answer.status == 200 && answer.data()["mfa"]["methods"] == json!(["totp"])
}

on_both_databases! {
    async fn a_link_that_verifies_takes_an_account_over_from_somebody_else(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let bob = sign_up(app, "bob@example.com").await;
        for (n, follower) in [PUBLISHABLE_KEY, &bob.access].into_iter().enumerate() {
            let email = format!("ada{n}@example.com");
            let eve = sign_up(app, &email).await;
            let own = json!({ "sub": format!("eve{n}"), "email": format!("eve{n}@example.com"), "email_verified": true });
            assert_eq!(link(app, &provider, &eve, &own).await.status, 200);
            let body = verification_link(app, &eve, &email).await;
            let followed = ask(app, follower, Method::POST, "/users/email/verify", body).await;
            assert_eq!(followed.status, 200, "{followed:?}");
            assert_eq!(data_of(app, &eve).await["emailVerified"], true);
            assert_eq!(status_of(app, &eve.access).await, 401, "{n}: the session of who made it ends");
            assert_eq!(login(app, &email, PASSWORD).await.status, 401, "{n}: and so does the password");
            assert_ne!(Signed::read(&enter(app, &provider, &own).await).id, eve.id, "{n}: and the identity");
            assert_eq!(Signed::read(&by_code(app, &email).await).id, eve.id);
        }
        assert_eq!(status_of(app, &bob.access).await, 200);
    }

    async fn who_verifies_while_signed_in_to_the_account_keeps_everything(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let elsewhere = sign_in(app, "ada@example.com").await;
        let body = verification_link(app, &ada, "ada@example.com").await;
        assert_eq!(ask(app, &elsewhere.access, Method::POST, "/users/email/verify", body).await.status, 200);
        assert_eq!(data_of(app, &ada).await["emailVerified"], true);
        for session in [&ada, &elsewhere] {
            assert_eq!(status_of(app, &session.access).await, 200);
        }
        assert_eq!(login(app, "ada@example.com", PASSWORD).await.status, 200);
    }

    async fn the_client_libraries_verify_while_signed_in_too(app: &TestApp) {
        let verify = async |token: &str, body: Value| {
            let request = app.http.post(format!("{}/auth-collections/verify-email/verify", app.url));
            let request = request.header("x-api-key", PUBLISHABLE_KEY).json(&body);
            app.send(if token.is_empty() { request } else { request.bearer_auth(token) }).await
        };
        for (n, (signed_in, left)) in [(true, 200), (false, 401)].into_iter().enumerate() {
            let email = format!("ada{n}@example.com");
            let ada = sign_up(app, &email).await;
            let body = verification_link(app, &ada, &email).await;
            let token = if signed_in { &ada.access } else { "" };
            let verified = verify(token, body).await;
            assert_eq!((verified.status.as_u16(), &verified.body["email_verified"]), (200, &json!(true)), "{verified:?}");
            assert_eq!(status_of(app, &ada.access).await, left, "{email}");
            assert_eq!(login(app, &email, PASSWORD).await.status, left, "{email}");
        }
        // The libraries also send a token that is good for nothing any more.
        let old = sign_up(app, "old@example.com").await;
        let body = verification_link(app, &old, "old@example.com").await;
        ask(app, &old.access, Method::POST, "/users/logout", Value::Null).await;
        assert_eq!(verify(&old.access, body).await.status, 200);
    }

    /// Somebody asks for another one's address, whose owner follows the link.
    async fn a_link_to_another_address_takes_over_only_who_never_verified_one(app: &TestApp) {
        for (n, (is_verified, is_signed_in, left)) in
            [(false, false, 401), (false, true, 200), (true, false, 200)].into_iter().enumerate()
        {
            let (old, new) = (format!("old{n}@example.com"), format!("new{n}@example.com"));
            let user = sign_up(app, &old).await;
            set_user(app, &user, json!({ "emailVerified": is_verified })).await;
            let body = json!({ "email": new, "password": PASSWORD });
            assert_eq!(ask(app, &user.access, Method::POST, "/users/me/email", body).await.status, 200);
            let body = json!({ "token": token_of(&mail_to(app, &new, "change-email").await) });
            let token = if is_signed_in { &user.access } else { PUBLISHABLE_KEY };
            assert_eq!(ask(app, token, Method::POST, "/users/email/verify", body).await.status, 200);
            let data = data_of(app, &user).await;
            assert_eq!(json!([data["email"], data["emailVerified"]]), json!([new, true]));
            assert_eq!(status_of(app, &user.access).await, left, "{n}");
            assert_eq!(login(app, &new, PASSWORD).await.status, left, "{n}");
        }
    }

    /// Otherwise somebody could keep the owner of an address out for ever, by a second factor.
    async fn a_second_factor_takes_an_address_that_is_verified(app: &TestApp) {
        let eve = sign_up(app, "ada@example.com").await;
        let begin = async || ask(app, &eve.access, Method::POST, "/users/me/totp", Value::Null).await;
        let refused = begin().await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        assert!(refused.body.to_string().contains("/users/email/verify/send"), "{refused:?}");
        set_user(app, &eve, json!({ "emailVerified": true })).await;
        let secret = begin().await.data()["secret"].as_str().unwrap().to_owned();
        set_user(app, &eve, json!({ "emailVerified": false })).await;
        let step = coir::domain::Timestamp::now().0.unsigned_abs() / 30_000;
        let code = json!({ "code": coir::auth::totp::code_of(&secret, step).unwrap() });
        let confirmed = ask(app, &eve.access, Method::POST, "/users/me/totp/confirm", code).await;
        assert_eq!(confirmed.error(), (403, "FORBIDDEN"));
        assert_eq!(login(app, "ada@example.com", PASSWORD).await.data().get("mfa"), None);
    }

    /// A server gave the account an address that nobody has verified yet.
    async fn no_proof_of_an_address_turns_a_second_factor_off(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let guarded = Guarded::new(app).await;
        let unverify = async || set_user(app, &guarded.user, json!({ "emailVerified": false })).await;
        unverify().await;
        assert!(is_asked(&by_code(app, "ada@example.com").await));
        assert_eq!(status_of(app, &guarded.user.access).await, 401, "the rest of the account is taken over");
        assert_eq!(login(app, "ada@example.com", PASSWORD).await.status, 401);
        unverify().await;
        post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        let token = token_of(&mail_to(app, "ada@example.com", "reset-password").await);
        let body = json!({ "token": token, "password": PASSWORD });
        assert_eq!(post(app, "/users/password/reset", body).await.status, 200);
        assert!(is_asked(&login(app, "ada@example.com", PASSWORD).await));
        unverify().await;
        assert!(is_asked(&enter(app, &provider, &ada()).await));
    }

    async fn a_user_with_a_second_factor_gets_another_address_by_its_link_only(app: &TestApp) {
        let guarded = Guarded::new(app).await;
        let refused = change_by_library(app, &guarded.user, json!({ "email": "eve@example.com" })).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.body.to_string().contains("/users/me/email"), "{refused:?}");
        assert_eq!(change_by_library(app, &guarded.user, json!({ "data": { "n": 1 } })).await.status, 200);
        assert_eq!(data_of(app, &guarded.user).await["email"], "ada@example.com");
        let body = json!({ "email": "eve@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &guarded.user.access, Method::POST, "/users/me/email", body).await.status, 200);
        let body = json!({ "token": token_of(&mail_to(app, "eve@example.com", "change-email").await) });
        assert_eq!(post(app, "/users/email/verify", body).await.status, 200);
        assert!(is_asked(&by_code(app, "eve@example.com").await));
        assert!(is_asked(&login(app, "eve@example.com", PASSWORD).await));
    }

    async fn an_upgrade_gives_no_address_to_a_guest_with_a_second_factor(app: &TestApp) {
        let guarded = Guarded::new(app).await;
        // A server took the address and the password away, as a guest has none.
        set_user(app, &guarded.user, json!({ "email": null })).await;
        let sql = format!("UPDATE credentials SET password = NULL WHERE user_id = '{}'", guarded.user.id);
        app.sql().await.execute(&sql).await;
        let body = json!({ "email": "eve@example.com", "password": PASSWORD });
        let refused = ask(app, &guarded.user.access, Method::POST, "/users/me/upgrade", body).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        assert!(refused.body.to_string().contains("/users/me/email"), "{refused:?}");
    }

    async fn the_old_address_is_told_when_the_client_libraries_change_it(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let changed = change_by_library(app, &ada, json!({ "email": "eve@example.com", "data": { "n": 1 } })).await;
        assert_eq!((changed.status.as_u16(), &changed.body["email"]), (200, &json!("eve@example.com")));
        let told = mail_to(app, "ada@example.com", "email-changed").await;
        assert!(!told["text"].as_str().unwrap().contains("eve@example.com"), "{told}");
        // A guest has no old address, and what changes nothing is told to nobody.
        let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
        assert_eq!(change_by_library(app, &guest, json!({ "email": "guest@example.com" })).await.status, 200);
        assert_eq!(change_by_library(app, &guest, json!({ "email": "Guest@example.com" })).await.status, 200);
        assert_eq!(app.get("/outbox").await.data().as_array().unwrap().len(), 1);
    }

    /// An account takes an address that is not its own, and leaves it, again and again.
    async fn an_address_is_told_a_few_times_that_accounts_have_left_it(app: &TestApp) {
        let eve = sign_up(app, "ada@example.com").await;
        for n in 0..8 {
            for email in [format!("eve{n}@example.com"), "ada@example.com".to_owned()] {
                assert_eq!(change_by_library(app, &eve, json!({ "email": email })).await.status, 200);
            }
        }
        // Each of the others is told once.
        let told = mails(app, 5 + 8).await;
        assert_eq!(told.iter().filter(|mail| mail["to"] == "ada@example.com").count(), 5);
    }
}
