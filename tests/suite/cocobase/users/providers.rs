//! Google and GitHub as the client libraries send them.

use coir::config::Config;
use serde_json::{Value, json};

use super::{detail, post};
use crate::harness::{
    on_both_databases,
    provider::{CLIENT, CLIENT_SECRET, TestProvider, merged},
};

fn local(config: &mut Config) {
    config.private_providers = vec!["127.0.0.1".to_owned()];
}

on_both_databases! {
    async fn an_id_token_of_google_and_a_code_of_github_sign_in_once(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        let google = json!({ "issuer": provider.url, "clientId": CLIENT, "clientIds": ["of the phone"] });
        let github =
            json!({ "issuer": format!("{}/github", provider.url), "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
        let settings = json!({ "oauth": { "google": google, "github": github } });
        assert_eq!(app.patch("/settings", settings).await.status, 200);
        let ada = json!({ "sub": "1815", "email": "ada@example.com", "email_verified": true });
        let verify = async |token: String| {
            post(app, "/auth-collections/google-verify", json!({ "id_token": token, "platform": "web" })).await
        };
        let token = provider.id_token(&ada);
        let first = verify(token.clone()).await;
        assert_eq!((first.status.as_u16(), &first.body["user"]["email"]), (200, &json!("ada@example.com")), "{first:?}");
        assert!(first.body["access_token"].is_string());
        assert_eq!(detail(&verify(token).await).0, 401, "the same once more");
        let phone = verify(provider.id_token(&merged(&ada, &json!({ "aud": "of the phone", "azp": "another" })))).await;
        assert_eq!(phone.body["user"]["id"], first.body["user"]["id"]);
        for wrong in [json!({ "aud": "somebody else" }), json!({ "iss": "https://evil.example" }), json!({ "exp": 7 })] {
            assert_eq!(detail(&verify(provider.id_token(&merged(&ada, &wrong))).await).0, 401, "{wrong}");
        }
        let unverified = json!({ "sub": "1843", "email": "bob@example.com", "email_verified": false });
        assert_eq!(detail(&verify(provider.id_token(&unverified)).await).0, 403);
        provider.behaviour().emails = json!([{ "email": "octo@example.com", "primary": true, "verified": true }]);
        let page = "http://localhost:5173/in";
        let octo = json!({ "id": 583231 });
        // GitHub knows that the app asked without a verifier.
        let code = provider.code_for_app(&octo, page);
        let verify = async |redirect: &str| -> Value {
            let body = json!({ "code": code, "redirect_uri": redirect, "platform": "web" });
            let answer = post(app, "/auth-collections/github-verify", body).await;
            json!([answer.status.as_u16(), answer.body["user"]["email"]])
        };
        assert_eq!(verify(page).await, json!([200, "octo@example.com"]));
        assert_eq!(verify(page).await, json!([401, null]));
    }
}
