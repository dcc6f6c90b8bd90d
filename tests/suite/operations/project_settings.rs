//! The settings of a project, which a server changes while everything runs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Database, PUBLISHABLE_KEY, TestApp, on_both_databases},
    users::{ask, post, sign_up},
};

on_both_databases! {
    async fn a_server_changes_the_settings_of_its_project_and_they_stay(app: &TestApp) {
        let defaults = app.get("/settings").await.data().clone();
        let signup = json!({ "mode": "open", "domains": [], "anonymous": true, "conceal": false });
        assert_eq!(defaults["signup"], signup);
        let changed = app.patch("/settings", json!({ "signup": { "mode": "closed" } })).await;
        let mut expected = defaults.clone();
        expected["signup"]["mode"] = "closed".into();
        assert_eq!(changed.data(), &expected);
        assert_eq!(app.get("/settings").await.data(), &expected);
        let second = TestApp::start_on(app.config.clone(), None).await;
        assert_eq!(second.get("/settings").await.data(), &expected);
        second.stop().await;
        // Null brings the default back.
        let reset = app.patch("/settings", json!({ "signup": null })).await;
        assert_eq!(reset.data(), &defaults);
        // Nothing changes, so nothing is logged.
        let cursor = app.get("/collections/_users").await.body["cursor"].clone();
        assert_eq!(app.patch("/settings", json!({ "signup": { "mode": "open" } })).await.data(), &defaults);
        assert_eq!(app.get("/collections/_users").await.body["cursor"], cursor);
    }

    async fn a_change_that_is_not_valid_changes_nothing_and_names_the_member(app: &TestApp) {
        let before = app.get("/settings").await.data().clone();
        for (body, told) in [
            (json!({ "singup": { "mode": "closed" } }), "did you mean `signup`?"),
            (json!({ "signup": { "mode": "closed", "domain": [] } }), "did you mean `domains`?"),
            (json!({ "signup": { "mode": "shut" } }), "`signup.mode`"),
            (json!({ "signup": { "domains": "example.com" } }), "`signup.domains`"),
            (json!({ "signup": { "domains": vec!["example.com"; 101] } }), "at most 100"),
            (json!({}), "changes nothing"),
            (json!([]), "object"),
        ] {
            let answer = app.patch("/settings", body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{body}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains(told), "{answer:?}");
        }
        assert_eq!(app.get("/settings").await.data(), &before);
    }

    async fn a_setting_that_would_do_nothing_is_refused_with_what_to_write_instead(app: &TestApp) {
        let before = app.get("/settings").await.data().clone();
        let provider = |issuer: &str| json!({ "oauth": { "acme": { "issuer": issuer, "clientId": "c" } } });
        let issuer = |member: &str, url: &str| {
            let mut issuer = json!({ "issuer": "https://login.example.com", "audience": "api" });
            issuer[member] = url.into();
            json!({ "issuers": [issuer] })
        };
        let well_known = "https://login.example.com/realms/a/.well-known/openid-configuration";
        for (body, told) in [
            (json!({ "signup": { "domains": ["*.foo.com"] } }), "such as foo.com"),
            (json!({ "signup": { "domains": ["https://foo.com"] } }), "`signup.domains[0]`"),
            (json!({ "signup": { "domains": ["foo.com/x"] } }), "`signup.domains[0]`"),
            (provider(well_known), "before `/.well-known/openid-configuration`: https://login.example.com/realms/a"),
            (issuer("issuer", well_known), "https://login.example.com/realms/a"),
            (provider("http://127.0.0.1:9000"), "COIR_PRIVATE_PROVIDERS"),
            (provider("http://localhost:9000/realms/a"), "COIR_PRIVATE_PROVIDERS"),
            (provider("https://10.0.0.8"), "COIR_PRIVATE_PROVIDERS"),
            (provider("http://login.example.com"), "https://"),
            (issuer("issuer", "http://localhost:9000"), "COIR_PRIVATE_PROVIDERS"),
            (issuer("jwksUrl", "http://localhost:9000/keys"), "`issuers[0].jwksUrl`"),
        ] {
            let answer = app.patch("/settings", body.clone()).await;
            assert_eq!(answer.error(), (400, "INVALID_BODY"), "{body}");
            assert!(answer.body["error"]["message"].as_str().unwrap().contains(told), "{body}: {answer:?}");
        }
        assert_eq!(app.get("/settings").await.data(), &before);
        // Nothing is asked of an issuer whose keys are given.
        let mut given = issuer("issuer", "http://localhost:9000");
        given["issuers"][0]["jwks"] = json!({ "keys": [] });
        assert_eq!(app.patch("/settings", given).await.status, 200);
    }

    async fn what_the_operator_allows_may_be_private(app: &TestApp, |config| config.private_providers = vec!["localhost".to_owned()]) {
        let body = json!({ "oauth": { "acme": { "issuer": "http://localhost:9000", "clientId": "c" } } });
        assert_eq!(app.patch("/settings", body).await.status, 200);
    }

    async fn only_a_secret_key_with_the_scope_sees_and_changes_settings(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let project = app.sql().await.texts("SELECT id FROM projects").await.remove(0);
        let limited = "sk_abcdefghijklmnop0123456789";
        let hash = coir::auth::keys::hash_key(limited);
        app.sql()
            .await
            .execute(&format!(
                "INSERT INTO api_keys (id, project_id, kind, prefix, hash, scopes, created_at) \
                 VALUES ('limited', '{project}', 'secret', 'sk_abcdefgh', '{hash}', 'users,documents:read', 0)"
            ))
            .await;
        for credential in [PUBLISHABLE_KEY, &ada.access, limited] {
            for (method, body) in [(Method::GET, Value::Null), (Method::PATCH, json!({ "signup": { "mode": "closed" } }))] {
                let answer = ask(app, credential, method.clone(), "/settings", body).await;
                assert_eq!(answer.error(), (403, "FORBIDDEN"), "{method}: {answer:?}");
            }
        }
    }

    async fn sign_up_obeys_the_settings(app: &TestApp) {
        let account = |email: &str| json!({ "email": email, "password": "correct horse" });
        let set = async |signup: Value| {
            assert_eq!(app.patch("/settings", json!({ "signup": signup })).await.status, 200);
        };
        let guest = post(app, "/users/anonymous", json!({})).await;
        let guest = guest.data()["accessToken"].as_str().unwrap().to_owned();
        let upgrade = async |email: &str| ask(app, &guest, Method::POST, "/users/me/upgrade", account(email)).await;
        let library = async |email: &str| {
            let request = app.http.post(format!("{}/auth-collections/signup", app.url));
            app.send(request.header("x-api-key", PUBLISHABLE_KEY).json(&account(email))).await
        };
        for mode in ["closed", "invitation"] {
            set(json!({ "mode": mode })).await;
            let refused = post(app, "/users", account("ada@example.com")).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"));
            assert_eq!(post(app, "/users/anonymous", json!({})).await.error(), (403, "FORBIDDEN"));
            assert_eq!(upgrade("ada@example.com").await.error(), (403, "FORBIDDEN"));
            assert_eq!(library("ada@example.com").await.status, 403);
        }
        // A server makes accounts all the same.
        assert_eq!(app.post("/users", account("bob@example.com")).await.status, 201);
        set(json!({ "mode": "open", "anonymous": false, "domains": ["example.com"] })).await;
        assert_eq!(post(app, "/users/anonymous", json!({})).await.error(), (403, "FORBIDDEN"));
        for other in ["ada@example.org", "ada@sub.example.com", "ada@example.com.evil.org"] {
            assert_eq!(post(app, "/users", account(other)).await.error(), (403, "FORBIDDEN"), "{other}");
            assert_eq!(upgrade(other).await.error(), (403, "FORBIDDEN"), "{other}");
            assert_eq!(library(other).await.status, 403, "{other}");
        }
        let ada = sign_up(app, "Ada@EXAMPLE.com").await;
        assert_eq!(upgrade("guest@example.com").await.status, 200);
        // Another address is one of the domains, too, on both doors.
        let other = json!({ "email": "ada@example.org", "password": "correct horse" });
        let changed = ask(app, &ada.access, Method::POST, "/users/me/email", other).await;
        assert_eq!(changed.error(), (403, "FORBIDDEN"));
        let request = app.http.patch(format!("{}/auth-collections/user", app.url)).bearer_auth(&ada.access);
        let request = request.header("x-api-key", PUBLISHABLE_KEY).json(&json!({ "email": "ada@example.org" }));
        assert_eq!(app.send(request).await.status, 403);
        assert_eq!(app.get("/outbox").await.data(), &json!([]));
    }
}

/// The other node reads the settings from its cache, which the log keeps fresh.
#[tokio::test(flavor = "multi_thread")]
async fn another_node_obeys_changed_settings() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    for round in 0..5 {
        sign_up(&other, &format!("open{round}@example.com")).await;
        assert_eq!(app.patch("/settings", json!({ "signup": { "mode": "closed" } })).await.status, 200);
        // The writer of the other node judges under the lock, so no time passes between.
        let body = json!({ "email": format!("closed{round}@example.com"), "password": "correct horse" });
        assert_eq!(post(&other, "/users", body).await.error(), (403, "FORBIDDEN"));
        assert_eq!(app.patch("/settings", json!({ "signup": null })).await.status, 200);
        assert_eq!(other.get("/settings").await.data()["signup"]["mode"], "open");
    }
    other.stop_without_looking().await;
    app.stop().await;
}
