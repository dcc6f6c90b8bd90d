//! Google and GitHub as the client libraries send them.

use coir::config::Config;
use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

use super::{call, detail, post};
use crate::harness::{
    PUBLISHABLE_KEY, on_both_databases,
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

    async fn a_sign_in_with_google_through_the_server_ends_on_the_page_that_asked(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        let google = json!({ "issuer": provider.url, "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
        assert_eq!(app.patch("/settings", json!({ "oauth": { "google": google } })).await.status, 200);
        let begin = async |page: &str| {
            let request = app.request_as(PUBLISHABLE_KEY, Method::GET, "/auth-collections/login-google");
            app.send(request.header("Referer", page)).await
        };
        let browser = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let come_back = async |query: &[(&str, &str)]| {
            let path = crate::harness::path_with("/auth-collections/google-callback", query);
            let answer = browser.get(format!("{}{path}", app.url)).send().await.unwrap();
            assert_eq!(answer.status(), 302, "{}", answer.text().await.unwrap());
            reqwest::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap()
        };
        let page = "http://localhost:5173/in?a=b&coco-error=old";
        let url = begin(page).await.body["url"].as_str().unwrap().to_owned();
        let ada = json!({ "sub": "1815", "email": "ada@example.com", "email_verified": true });
        let returned = provider.approve(&url, &ada);
        let landed = come_back(&[("code", &returned.code), ("state", &returned.state)]).await;
        let query: Vec<_> = landed.query_pairs().into_owned().collect();
        assert_eq!(landed.path(), "/in");
        assert_eq!((query.len(), query[0].1.as_str(), query[1].0.as_str()), (2, "b", "coco-super-token"));
        let user = call(app, (PUBLISHABLE_KEY, &query[1].1), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(user.body["email"], "ada@example.com", "{user:?}");
        let again = come_back(&[("code", &returned.code), ("state", &returned.state)]).await;
        assert!(again.query().unwrap().contains("the+provider+refused"), "{again}");
        let denied = come_back(&[("error", "access_denied"), ("state", &returned.state)]).await;
        assert_eq!(denied.query().unwrap(), "a=b&coco-error=access_denied");
        assert_eq!(detail(&begin("https://evil.example/").await).0, 400);
        let asked = app.http.get(format!("{}/auth-collections/google-callback?code=a&state=b", app.url));
        assert_eq!(detail(&app.send(asked).await).0, 401);
    }
}
