//! Servers that sign their users in: limits of their own, and the address of the user that they pass on.

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, sign_up};
use crate::harness::{Answer, PUBLISHABLE_KEY, SECRET_KEY, TestApp, on_both_databases};

const HEADER: &str = "x-coir-client-address";

/// Sends a request with the secret key, for a user at an address.
async fn post_for(app: &TestApp, address: Option<&str>, path: &str, body: &Value) -> Answer {
    let mut request = app.request(Method::POST, path).json(body);
    if let Some(address) = address {
        request = request.header(HEADER, address);
    }
    app.send(request).await
}

on_both_databases! {
    async fn wrong_passwords_that_a_server_passes_on_lock_an_account_late(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        let wrong = json!({ "email": "ada@example.com", "password": "wrong horse" });
        let right = json!({ "email": "ada@example.com", "password": PASSWORD });
        for path in ["/users/login", "/auth-collections/login"] {
            for _ in 0..25 {
                assert_eq!(post_for(app, None, path, &wrong).await.status, 401);
            }
            assert_eq!(post_for(app, None, path, &right).await.status, 200);
        }
        let mut refused = None;
        for n in 0..100 {
            let answer = post_for(app, None, "/users/login", &wrong).await;
            if answer.status == 429 {
                refused = Some((n, answer));
                break;
            }
        }
        let (tries, answer) = refused.expect("nothing bounds the tries");
        assert!(tries >= 40, "{tries}");
        assert_eq!(answer.header("x-ratelimit-limit"), "100");
        // A server that says who asks has an owner who gets in.
        assert_eq!(post_for(app, Some("198.51.100.9"), "/users/login", &right).await.status, 200);
    }

    async fn a_server_passes_the_address_of_its_user_on(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        let (stranger, owner) = ("203.0.113.7", "2001:db8::7");
        let wrong = json!({ "email": "ada@example.com", "password": "wrong horse" });
        let right = json!({ "email": "ada@example.com", "password": PASSWORD });
        for _ in 0..10 {
            assert_eq!(post_for(app, Some(stranger), "/users/login", &wrong).await.status, 401);
        }
        let refused = post_for(app, Some(stranger), "/users/login", &right).await;
        assert_eq!(refused.error(), (429, "RATE_LIMITED"));
        let ada = Signed::read(&post_for(app, Some(owner), "/users/login", &right).await);
        let sessions = ask(app, &ada.access, Method::GET, "/users/me/sessions", Value::Null).await;
        let listed = sessions.data().as_array().unwrap();
        assert!(listed.iter().any(|session| session["address"] == owner), "{sessions:?}");
        let audit = app.get("/audit?event=signIn").await;
        assert_eq!(audit.data()[0]["address"], owner, "{audit:?}");
        // From then on the limits of addresses hold.
        let nobody = json!({ "email": "nobody@example.com" });
        for _ in 0..30 {
            assert_eq!(post_for(app, Some(stranger), "/users/password/forgot", &nobody).await.status, 200);
        }
        for (address, status) in [(Some(stranger), 429), (Some(owner), 200), (None, 200)] {
            assert_eq!(post_for(app, address, "/users/password/forgot", &nobody).await.status, status, "{address:?}");
        }
    }

    async fn only_a_server_says_who_asks(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        for (token, address, error) in [
            (PUBLISHABLE_KEY, "203.0.113.7", (403, "FORBIDDEN")),
            (SECRET_KEY, "nonsense", (400, "INVALID_BODY")),
            (SECRET_KEY, "203.0.113.7, 198.51.100.1", (400, "INVALID_BODY")),
        ] {
            let request = app.request_as(token, Method::POST, "/users/login").header(HEADER, address);
            let answer = app.send(request.json(&body)).await;
            assert_eq!(answer.error(), error, "{address}: {answer:?}");
            assert!(answer.body.to_string().contains("X-Coir-Client-Address"), "{answer:?}");
        }
        let request = app.request_as(&ada.access, Method::GET, "/users/me").header(HEADER, "203.0.113.7");
        assert_eq!(app.send(request).await.error(), (403, "FORBIDDEN"));
    }
}
