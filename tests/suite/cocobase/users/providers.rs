//! Google and GitHub as the client libraries send them.

use coir::{config::Config, domain::Timestamp};
use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

use super::{call, detail, post};
use crate::{
    harness::{
        PUBLISHABLE_KEY, TestApp, on_both_databases,
        provider::{CLIENT, CLIENT_SECRET, TestProvider, merged},
    },
    users::limits::client_at,
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
        let phone = verify(provider.id_token(&merged(&ada, &json!({ "aud": "of the phone", "azp": CLIENT })))).await;
        assert_eq!(phone.body["user"]["id"], first.body["user"]["id"]);
        let now = Timestamp::now().0 / 1000;
        for wrong in [
            json!({ "aud": "somebody else" }), json!({ "iss": "https://evil.example" }), json!({ "exp": 7 }),
            // Made for another client, or for nobody who is named.
            json!({ "azp": "another" }), json!({ "azp": 7 }), json!({ "aud": [CLIENT, "of the phone"] }),
            // Used ones are remembered for a day.
            json!({ "exp": now + 25 * 3600 }), json!({ "exp": 1e300 }), json!({ "exp": "9999999999" }),
            json!({ "iat": now + 3600 }), json!({ "iat": 1e300 }), json!({ "iat": "soon" }),
        ] {
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
        let browser = Browser::new(app);
        let page = "http://localhost:5173/in?a=b&coco-error=old";
        let url = begin(page).await.body["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{}/auth-collections/google-start?state=", app.url)), "{url}");
        let (at_google, cookie) = browser.start(&url).await;
        assert!(at_google.starts_with(&provider.url), "{at_google}");
        for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/auth-collections/google-callback", "; Max-Age=600"] {
            assert!(cookie.contains(part), "{part}: {cookie}");
        }
        assert!(!cookie.contains("Secure"), "{cookie}");
        let ada = json!({ "sub": "1815", "email": "ada@example.com", "email_verified": true });
        let returned = provider.approve(&at_google, &ada);
        let answer = [("code", returned.code.as_str()), ("state", &returned.state)];
        // Another browser is signed in by nobody's link, and neither is one that began a sign-in of its own.
        let (_, other) = browser.start(&url).await;
        for cookie in [None, Some(other.as_str())] {
            let landed = browser.come_back(&answer, cookie).await;
            assert!(landed.query().unwrap().starts_with("a=b&coco-error=this+sign-in+began+in+another+browser"), "{landed}");
        }
        // The value of another sign-in under the right name, and what the page had before the browser came by.
        let (name, value) = (cookie.split_once('=').unwrap().0, other.split_once('=').unwrap().1);
        let landed = browser.come_back(&answer, Some(&format!("{name}={value}"))).await;
        assert!(landed.query().unwrap().contains("coco-error="), "{landed}");
        let state = url.split_once("state=").unwrap().1;
        let early = app.http.get(format!("{}/auth-collections/google-callback?code=a&state={state}", app.url));
        assert_eq!(detail(&app.send(early).await).0, 401);
        let late = app.http.get(format!("{}/auth-collections/google-start?state={}", app.url, returned.state));
        assert_eq!(detail(&app.send(late).await).0, 401);
        let landed = browser.come_back(&answer, Some(&cookie)).await;
        let query: Vec<_> = landed.query_pairs().into_owned().collect();
        assert_eq!(landed.path(), "/in");
        assert_eq!((query.len(), query[0].1.as_str(), query[1].0.as_str()), (2, "b", "coco-super-token"), "{landed}");
        let user = call(app, (PUBLISHABLE_KEY, &query[1].1), Method::GET, "/auth-collections/user", Value::Null).await;
        assert_eq!(user.body["email"], "ada@example.com", "{user:?}");
        let again = browser.come_back(&answer, Some(&cookie)).await;
        assert!(again.query().unwrap().contains("the+provider+refused"), "{again}");
        let denied = browser.come_back(&[("error", "access_denied"), ("state", &returned.state)], None).await;
        assert_eq!(denied.query().unwrap(), "a=b&coco-error=access_denied");
        assert_eq!(detail(&begin("https://evil.example/").await).0, 400);
        let asked = app.http.get(format!("{}/auth-collections/google-callback?code=a&state=b", app.url));
        assert_eq!(detail(&app.send(asked).await).0, 401);
    }

    async fn only_a_trusted_proxy_says_where_the_server_is_reached(app: &TestApp, |config| {
        local(config);
        config.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()];
    }) {
        let provider = TestProvider::start().await;
        let google = json!({ "issuer": provider.url, "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
        assert_eq!(app.patch("/settings", json!({ "oauth": { "google": google } })).await.status, 200);
        for (address, host, expected, is_secure) in [
            (2, "evil.example, api.example.com", "https://api.example.com", true),
            (2, "evil.example/?", &*app.url, true),
            (3, "api.example.com", &*app.url, false),
        ] {
            let client = client_at(address);
            let from = |path: &str| {
                let request = client.get(format!("{}{path}", app.url)).header("x-forwarded-host", host);
                request.header("x-forwarded-proto", "https").header("forwarded", "host=evil.example;proto=https")
            };
            let asked = from("/auth-collections/login-google").header("x-api-key", PUBLISHABLE_KEY);
            let answer = app.send(asked.header("Referer", "http://localhost:5173/")).await;
            let url = answer.body["url"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
            let expected = if is_secure { expected.replace("http://", "https://") } else { expected.to_owned() };
            assert!(url.starts_with(&format!("{expected}/auth-collections/google-start?")), "{url}");
            let policy = from("/_/").send().await.unwrap().headers()["content-security-policy"].to_str().unwrap().to_owned();
            let host = expected.split_once("://").unwrap().1;
            assert!(policy.contains(&format!(" wss://{host};")) && !policy.contains("evil"), "{policy}");
            // The cookie goes over TLS only, if the page came by TLS.
            let path = format!("/auth-collections/google-start?{}", url.split_once('?').unwrap().1);
            let no_redirects = client_that_stays(address);
            let request = no_redirects.get(format!("{}{path}", app.url)).header("x-forwarded-proto", "https");
            let sent = request.send().await.unwrap();
            let cookie = sent.headers()["set-cookie"].to_str().unwrap();
            assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
        }
    }
}

/// A browser that shows where it is sent, and whose cookies the test keeps.
struct Browser<'a> {
    app: &'a TestApp,
    client: reqwest::Client,
}

impl<'a> Browser<'a> {
    fn new(app: &'a TestApp) -> Self {
        Self { app, client: reqwest::Client::builder().redirect(Policy::none()).build().unwrap() }
    }

    /// Follows the link that the page got. Returns where it leads, and the cookie.
    async fn start(&self, url: &str) -> (String, String) {
        let answer = self.client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 302);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        (header("location"), header("set-cookie"))
    }

    /// Comes back from the provider. Returns the page on which the sign-in ends.
    async fn come_back(&self, query: &[(&str, &str)], cookie: Option<&str>) -> reqwest::Url {
        let path = crate::harness::path_with("/auth-collections/google-callback", query);
        let mut request = self.client.get(format!("{}{path}", self.app.url));
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie.split(';').next().unwrap());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 302, "{}", answer.text().await.unwrap());
        reqwest::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap()
    }
}

fn client_that_stays(last: u8) -> reqwest::Client {
    let address = std::net::Ipv4Addr::new(127, 0, 0, last).into();
    reqwest::Client::builder().redirect(Policy::none()).local_address(Some(address)).build().unwrap()
}
