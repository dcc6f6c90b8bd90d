//! The settings about providers: what is checked, and what happens to their secrets.

use serde_json::{Value, json};

use super::providers::{ada, assert_refused, begin, enter, local, provide};
use crate::harness::{
    PUBLISHABLE_KEY, on_both_databases,
    provider::{CLIENT_SECRET, TestProvider},
};

on_both_databases! {
    async fn settings_of_providers_are_checked_and_their_secrets_never_shown(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let shown = app.get("/settings").await;
        assert_eq!(shown.data()["oauth"]["acme"]["clientSecret"], "********");
        assert!(!shown.body.to_string().contains(CLIENT_SECRET));
        // Settings that are sent back as they were shown keep the secret.
        let answer = app.patch("/settings", json!({ "oauth": shown.data()["oauth"] })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.body.to_string().contains(CLIENT_SECRET));
        assert_eq!(enter(app, &provider, &ada()).await.status, 200);
        for (wrong, told) in [
            (json!({ "oauth": { "Acme": { "clientId": "a", "issuer": "https://a.example" } } }), "lower-case"),
            (json!({ "oauth": { "other": { "clientId": "a" } } }), "`oauth.other.issuer`"),
            (json!({ "oauth": { "other": { "clientId": "", "issuer": "https://a.example" } } }), "`oauth.other.clientId`"),
            (json!({ "oauth": { "google": { "clientID": "a" } } }), "did you mean `clientId`?"),
            (json!({ "redirects": ["https://app.example.com/in"] }), "`redirects[0]`"),
            (json!({ "redirects": ["http://app.example.com"] }), "`redirects[0]`"),
            (json!({ "issuers": [{ "issuer": "https://a.example", "audience": "a", "jwk": {} }] }), "did you mean `jwks`?"),
            (json!({ "issuers": [{ "issuer": "https://a.example" }] }), "`issuers[0].audience`"),
        ] {
            let answer = app.patch("/settings", wrong.clone()).await;
            assert_refused(&answer, (400, "INVALID_BODY"), told);
        }
        let wrong = json!({ "oauth": { "acme": { "clientSecret": "wrong" } } });
        assert_eq!(app.patch("/settings", wrong).await.status, 200);
        assert_refused(&enter(app, &provider, &ada()).await, (409, "CONFLICT"), "`clientSecret`");
        // The log of changes says that settings changed, and not which.
        let log = app.sql().await.texts("SELECT control FROM changes WHERE control IS NOT NULL").await;
        assert!(log.iter().all(|entry| !entry.contains(CLIENT_SECRET)), "{log:?}");
        assert_eq!(app.patch("/settings", json!({ "oauth": { "acme": null } })).await.status, 200);
        assert_eq!(begin(app, PUBLISHABLE_KEY, "acme", &[]).await.error(), (404, "NOT_FOUND"));
    }

    async fn another_issuer_takes_the_secret_anew(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        // Nobody has the secret sent to another server by naming that as the issuer.
        let other = TestProvider::start().await;
        for secret in [Value::Null, json!("********")] {
            let mut change = json!({ "issuer": other.url });
            if !secret.is_null() {
                change["clientSecret"] = secret;
            }
            let answer = app.patch("/settings", json!({ "oauth": { "acme": change } })).await;
            assert_refused(&answer, (400, "INVALID_BODY"), "`oauth.acme.clientSecret`");
        }
        let without = json!({ "issuer": other.url, "clientSecret": null });
        assert_eq!(app.patch("/settings", json!({ "oauth": { "acme": without } })).await.status, 200);
        assert_eq!(app.get("/settings").await.data()["oauth"]["acme"]["clientSecret"], Value::Null);
        // Who knows the secret may say so.
        provide(app, &other).await;
        assert_eq!(enter(app, &other, &ada()).await.status, 200);
    }
}
