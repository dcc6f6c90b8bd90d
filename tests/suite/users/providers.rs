//! Sign-ins with other providers: what is believed of them, and whose account an identity joins.

use coir::{config::Config, domain::Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Signed, ask, post, refresh, status_of};
use crate::harness::{
    Answer, PUBLISHABLE_KEY, TestApp, on_both_databases, path_with,
    provider::{CLIENT, CLIENT_SECRET, Returned, TestKey, TestProvider, jwk, merged, now, sign},
};

/// The page on which sign-ins end.
pub const PAGE: &str = "http://localhost:5173/in";

pub fn local(config: &mut Config) {
    config.private_providers = vec!["127.0.0.1".to_owned()];
}

/// Lets the project have the provider, as `acme` and as `github`.
pub async fn provide(app: &TestApp, provider: &TestProvider) {
    let settings = json!({ "issuer": provider.url, "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
    let github = merged(&settings, &json!({ "issuer": format!("{}/github", provider.url) }));
    let answer = app.patch("/settings", json!({ "oauth": { "acme": settings, "github": github } })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Begins a sign-in as somebody with these credentials, and returns the answer, which has the URL of the provider.
pub async fn begin(app: &TestApp, token: &str, provider: &str, more: &[(&str, &str)]) -> Answer {
    let parameters: Vec<_> = [("redirectTo", PAGE)].iter().chain(more).copied().collect();
    let path = path_with(&format!("/users/oauth/{provider}/start"), &parameters);
    app.send(app.request_as(token, Method::GET, &path).header("accept", "application/json")).await
}

pub fn url_of(answer: &Answer) -> String {
    answer.data()["url"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Sends on what the provider gave the browser.
pub async fn finish(app: &TestApp, token: &str, provider: &str, returned: &Returned) -> Answer {
    let body = json!({ "code": returned.code, "state": returned.state });
    ask(app, token, Method::POST, &format!("/users/oauth/{provider}"), body).await
}

/// Signs a person in, from the first request to the last.
pub async fn enter(app: &TestApp, provider: &TestProvider, person: &Value) -> Answer {
    let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
    finish(app, PUBLISHABLE_KEY, "acme", &provider.approve(&url, person)).await
}

pub async fn data_of(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/users/{id}")).await.data()["data"].clone()
}

async fn count_users(app: &TestApp) -> u64 {
    app.get("/collections/_users/query/count").await.data()["count"].as_u64().unwrap()
}

pub fn ada() -> Value {
    json!({ "sub": "1815", "email": "Ada@example.com", "email_verified": true, "name": "Ada" })
}

/// Signs in as `ada` must be refused with this status, code and part of the message.
#[track_caller]
pub fn assert_refused(answer: &Answer, error: (u16, &str), told: &str) {
    assert_eq!(answer.error(), error, "{told}: {answer:?}");
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains(told), "{told}: {message}");
}

on_both_databases! {
    async fn whoever_signs_in_with_a_provider_is_the_same_user_each_time(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let shown = post_list(app).await;
        assert_eq!(shown, json!([{ "id": "acme", "name": "Acme" }, { "id": "github", "name": "GitHub" }]));
        let first = enter(app, &provider, &ada()).await;
        let first = Signed::read(&first);
        assert_eq!(status_of(app, &first.access).await, 200);
        let data = data_of(app, &first.id).await;
        let expected = json!({ "email": "ada@example.com", "emailVerified": true, "roles": [], "profile": { "name": "Ada" } });
        assert_eq!(data, expected);
        // The provider's name for her counts, and not the address.
        let moved = merged(&ada(), &json!({ "email": "lovelace@example.com" }));
        let again = Signed::read(&enter(app, &provider, &moved).await);
        assert_eq!(again.id, first.id);
        assert_eq!(data_of(app, &first.id).await, expected);
        let other = Signed::read(&enter(app, &provider, &merged(&moved, &json!({ "sub": "1843" }))).await);
        assert_ne!(other.id, first.id);
        // Without an address there is a user without one.
        let bare = Signed::read(&enter(app, &provider, &json!({ "sub": "7" })).await);
        assert_eq!(data_of(app, &bare.id).await["email"], Value::Null);
        assert_eq!(status_of(app, &Signed::read(&refresh(app, &bare.refresh).await).access).await, 200);
        let identities = ask(app, &first.access, Method::GET, "/users/me/identities", Value::Null).await;
        let identity = &identities.data()[0];
        assert_eq!(
            (&identity["provider"], &identity["issuer"], &identity["subject"], &identity["email"]),
            (&json!("acme"), &json!(provider.url), &json!("1815"), &json!("ada@example.com"))
        );
        // What she has goes with her.
        assert_eq!(app.delete(&format!("/users/{}", first.id)).await.status, 200);
        assert_eq!(app.sql().await.integers("SELECT COUNT(*) FROM identities").await, [2]);
        let new = Signed::read(&enter(app, &provider, &ada()).await);
        assert_ne!(new.id, first.id);
    }

    async fn a_browser_is_sent_to_the_provider_with_what_protects_the_sign_in(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let path = path_with("/users/oauth/acme/start", &[("redirectTo", PAGE), ("token", PUBLISHABLE_KEY)]);
        let answer = browser.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (302, &"no-store".parse().unwrap()));
        let url = answer.headers()["location"].to_str().unwrap().to_owned();
        let parsed = reqwest::Url::parse(&url).unwrap();
        let query: std::collections::HashMap<_, _> = parsed.query_pairs().into_owned().collect();
        assert!(url.starts_with(&format!("{}/authorize?", provider.url)), "{url}");
        assert_eq!(
            (query["response_type"].as_str(), query["scope"].as_str(), query["redirect_uri"].as_str()),
            ("code", "openid email profile", PAGE)
        );
        assert!(query["nonce"].len() >= 43 && query["code_challenge"].len() == 43, "{url}");
        // Nothing of what the provider must not guess is in the state.
        assert!(!url.contains(CLIENT_SECRET));
        let done = finish(app, PUBLISHABLE_KEY, "acme", &provider.approve(&url, &ada())).await;
        assert_eq!(done.status, 200, "{done:?}");
        // No secret key stands in a URL, and no page of somebody else gets a code.
        for (redirect, token, error) in [
            (PAGE, crate::harness::SECRET_KEY, (401, "UNAUTHORIZED")),
            ("https://evil.example/", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("http://localhost:5173@evil.example/", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("javascript:alert(1)", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("/in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            // What a URL reader would overlook, and others may not.
            ("http://localhost:5173/\r\nin", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("http://local\thost:5173/in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            (" http://localhost:5173/in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("http:\\\\localhost:5173\\in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("http:localhost:5173/in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
            ("http:///localhost:5173/in", PUBLISHABLE_KEY, (400, "INVALID_FILTER")),
        ] {
            let path = path_with("/users/oauth/acme/start", &[("redirectTo", redirect), ("token", token)]);
            let answer = app.send(app.http.get(format!("{}{path}", app.url))).await;
            assert_eq!(answer.error(), error, "{redirect:?}");
        }
        app.patch("/settings", json!({ "redirects": ["https://app.example.com"] })).await;
        assert_refused(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await, (400, "INVALID_FILTER"), "`redirects`");
        let path = path_with("/users/oauth/acme/start", &[("redirectTo", "https://app.example.com/in?a=b")]);
        let allowed = app.send(app.request_as(PUBLISHABLE_KEY, Method::GET, &path).header("accept", "application/json")).await;
        assert!(url_of(&allowed).contains("redirect_uri=https%3A%2F%2Fapp.example.com%2Fin%3Fa%3Db"));
        assert_eq!(begin(app, PUBLISHABLE_KEY, "google", &[]).await.error(), (404, "NOT_FOUND"));
    }

    async fn a_state_is_good_once_and_for_the_sign_in_that_it_was_made_for(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        // A provider that takes a code again, so that the server alone refuses.
        provider.behaviour().is_careless = true;
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let returned = provider.approve(&url, &ada());
        assert_eq!(finish(app, PUBLISHABLE_KEY, "acme", &returned).await.status, 200);
        let again = finish(app, PUBLISHABLE_KEY, "acme", &returned).await;
        assert_refused(&again, (401, "UNAUTHORIZED"), "finished before");
        // The same state in another spelling, and with another code.
        let spelled = Returned { state: respelled(&returned.state), ..provider.approve(&url, &ada()) };
        assert_eq!(finish(app, PUBLISHABLE_KEY, "acme", &spelled).await.error(), (401, "UNAUTHORIZED"));
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let returned = provider.approve(&url, &ada());
        let lost = Returned { state: String::new(), ..returned.clone() };
        let forged = Returned { state: forged_state(&returned.state), ..returned.clone() };
        for wrong in [lost, forged] {
            let answer = finish(app, PUBLISHABLE_KEY, "acme", &wrong).await;
            assert_refused(&answer, (401, "UNAUTHORIZED"), "`state` is none of this server");
        }
        // Mixed up with another provider: the code must not go there.
        let before = provider.asked("/login/oauth/access_token");
        let mixed = finish(app, PUBLISHABLE_KEY, "github", &returned).await;
        assert_refused(&mixed, (401, "UNAUTHORIZED"), "for this provider");
        assert_eq!(provider.asked("/login/oauth/access_token"), before);
        let body = json!({ "code": returned.code, "state": returned.state, "iss": "https://evil.example" });
        let mixed = post(app, "/users/oauth/acme", body).await;
        assert_refused(&mixed, (401, "UNAUTHORIZED"), "`iss` names another provider");
        assert_eq!(post(app, "/users/oauth/acme", json!({ "state": returned.state })).await.error(), (400, "INVALID_BODY"));
        // Nothing of this has used the state up.
        assert_eq!(finish(app, PUBLISHABLE_KEY, "acme", &returned).await.status, 200);
        provider.behaviour().is_careless = false;
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let other = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let swapped = Returned { state: provider.approve(&other, &ada()).state, ..provider.approve(&url, &ada()) };
        let answer = finish(app, PUBLISHABLE_KEY, "acme", &swapped).await;
        assert_refused(&answer, (401, "UNAUTHORIZED"), "refused the code");
    }

    async fn a_sign_in_belongs_to_the_browser_that_has_the_verifier(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        provider.behaviour().is_careless = true;
        let verifier = "a-verifier-of-the-page-that-nobody-else-knows-0123456789";
        let challenge = coir::providers::state::challenge_of(verifier);
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[("codeChallenge", &challenge)]).await);
        let returned = provider.approve(&url, &ada());
        let send = async |verifier: Option<&str>| {
            let body = json!({ "code": returned.code, "state": returned.state, "codeVerifier": verifier });
            post(app, "/users/oauth/acme", body).await
        };
        assert_refused(&send(None).await, (401, "UNAUTHORIZED"), "send its `codeVerifier`");
        assert_refused(&send(Some("another")).await, (401, "UNAUTHORIZED"), "another browser");
        assert_eq!(send(Some(verifier)).await.status, 200);
        let bad = begin(app, PUBLISHABLE_KEY, "acme", &[("codeChallenge", verifier)]).await;
        assert_eq!(bad.error(), (400, "INVALID_FILTER"));
    }

    async fn what_a_provider_says_is_believed_only_if_it_is_signed_for_this_sign_in(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let users = count_users(app).await;
        let good = json!({ "iss": provider.url, "aud": CLIENT, "sub": "1815", "iat": now(), "exp": now() + 300 });
        for (claims, told) in [
            (json!({ "nonce": "another" }), "`nonce`"),
            (json!({ "nonce": null }), "`nonce`"),
            (json!({ "aud": "somebody else" }), "`aud`"),
            (json!({ "aud": [CLIENT, "somebody else"] }), "`aud`"),
            (json!({ "aud": null }), "`aud`"),
            (json!({ "azp": "somebody else" }), "`aud`"),
            (json!({ "iss": "https://evil.example" }), "`iss`"),
            (json!({ "iss": null }), "`iss`"),
            (json!({ "exp": now() - 120 }), "expired"),
            (json!({ "exp": null }), "expired"),
            (json!({ "iat": now() + 3600 }), "not good yet"),
            (json!({ "nbf": now() + 3600 }), "not good yet"),
            (json!({ "sub": "" }), "`sub`"),
            (json!({ "sub": 1815 }), "`sub`"),
            (json!({ "sub": "x".repeat(256) }), "`sub`"),
        ] {
            provider.behaviour().claims = claims;
            assert_refused(&enter(app, &provider, &ada()).await, (401, "UNAUTHORIZED"), told);
        }
        provider.behaviour().claims = json!({});
        let signed = sign(TestKey::Ec, &good);
        let (head, rest) = signed.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let encode = |header: Value| base64_of(header.to_string().as_bytes()) + "." + body;
        let none = encode(json!({ "alg": "none", "typ": "JWT" }));
        let public = jwk(TestKey::Ec)["x"].as_str().unwrap().to_owned();
        let hs256 = hs256_token(&good, public.as_bytes());
        let named = json!({ "alg": "ES256", "kid": "ec", "jku": format!("{}/evil-keys", provider.url) });
        for (token, told) in [
            (format!("{none}."), "RS256, ES256 or EdDSA"),
            (format!("{none}.{signature}"), "RS256, ES256 or EdDSA"),
            (hs256, "RS256, ES256 or EdDSA"),
            // A key of another kind, of nobody, and with the name of a published one.
            (sign(TestKey::Rsa, &good), "doesn't publish"),
            (sign(TestKey::OtherEc, &good), "doesn't publish"),
            (renamed(&sign(TestKey::OtherEc, &good)), "signature"),
            (format!("{}.{signature}", encode(named)), "signature"),
            (format!("{head}.{body}.{}", &signature[..40]), "signature"),
            (format!("{head}.{body}"), "no signed token"),
            ("nothing".to_owned(), "no signed token"),
        ] {
            provider.behaviour().id_token = Some(token.clone());
            let answer = enter(app, &provider, &ada()).await;
            assert_eq!(answer.error().0, 401, "{token}: {answer:?}");
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains(told) || message.contains("no signed token"), "{token}: {message}");
        }
        assert_eq!(provider.asked("/evil-keys"), 0);
        provider.behaviour().id_token = None;
        assert_eq!(count_users(app).await, users);
        // Keys that nobody publishes cost no request each time.
        assert!(provider.asked("/keys") <= 2, "{}", provider.asked("/keys"));
        let other = TestProvider::start().await;
        other.behaviour().keys =
            vec![json!({ "kty": "of tomorrow" }), jwk(TestKey::Rsa), jwk(TestKey::Ec), jwk(TestKey::Ed)];
        provide(app, &other).await;
        for key in [TestKey::Rsa, TestKey::Ed, TestKey::Ec] {
            other.behaviour().signs_with = key;
            let answer = enter(app, &other, &ada()).await;
            assert_eq!(answer.status, 200, "{key:?}: {answer:?}");
        }
        assert_eq!(other.asked("/keys"), 1);
    }

    async fn an_address_counts_if_the_provider_has_verified_it(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        for verified in [json!(false), json!(null), json!("no")] {
            let person = merged(&ada(), &json!({ "email_verified": verified }));
            assert_refused(&enter(app, &provider, &person).await, (403, "FORBIDDEN"), "has not verified");
        }
        assert_eq!(count_users(app).await, 0);
        let person = merged(&ada(), &json!({ "email_verified": null }));
        app.patch("/settings", json!({ "oauth": { "acme": { "trustEmail": true } } })).await;
        let trusted = Signed::read(&enter(app, &provider, &person).await);
        assert_eq!(data_of(app, &trusted.id).await["emailVerified"], true);
        // What isn't in the ID token is in the user info, which must be about the same person.
        app.patch("/settings", json!({ "oauth": { "acme": { "trustEmail": null } } })).await;
        let bare = json!({ "sub": "1843" });
        provider.behaviour().user_info = json!({ "sub": "1815", "email": "bob@example.com", "email_verified": true });
        assert_refused(&enter(app, &provider, &bare).await, (503, "OVERLOADED"), "somebody else");
        provider.behaviour().user_info["sub"] = json!("1843");
        let bob = Signed::read(&enter(app, &provider, &bare).await);
        assert_eq!(data_of(app, &bob.id).await["email"], "bob@example.com");
    }

    async fn github_says_who_somebody_is_by_number_and_primary_address(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let enter = async |person: Value| {
            let url = url_of(&begin(app, PUBLISHABLE_KEY, "github", &[]).await);
            finish(app, PUBLISHABLE_KEY, "github", &provider.approve(&url, &person)).await
        };
        let octocat = json!({ "id": 583231, "login": "octocat", "name": "Octo", "email": "somebody@example.com" });
        provider.behaviour().emails = json!([
            { "email": "other@example.com", "primary": false, "verified": true },
            { "email": "octo@example.com", "primary": true, "verified": false },
        ]);
        assert_refused(&enter(octocat.clone()).await, (403, "FORBIDDEN"), "has not verified");
        provider.behaviour().emails[1]["verified"] = json!(true);
        let first = Signed::read(&enter(octocat.clone()).await);
        assert_eq!(data_of(app, &first.id).await["email"], "octo@example.com");
        let renamed = Signed::read(&enter(merged(&octocat, &json!({ "login": "kitty" }))).await);
        assert_eq!(renamed.id, first.id);
        // Somebody else has the login now.
        provider.behaviour().emails = json!([{ "email": "eve@example.com", "primary": true, "verified": true }]);
        let other = Signed::read(&enter(merged(&octocat, &json!({ "id": 7 }))).await);
        assert_ne!(other.id, first.id);
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "github", &[]).await);
        let returned = provider.approve(&url, &octocat);
        assert_eq!(finish(app, PUBLISHABLE_KEY, "github", &returned).await.status, 200);
        assert_refused(&finish(app, PUBLISHABLE_KEY, "github", &returned).await, (401, "UNAUTHORIZED"), "refused the code");
    }

    async fn a_provider_that_misbehaves_holds_nobody_up(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let tried = async || finish(app, PUBLISHABLE_KEY, "acme", &provider.approve(&url, &ada())).await;
        provider.behaviour().redirected = vec!["/token".to_owned()];
        assert_refused(&tried().await, (503, "OVERLOADED"), "redirect");
        assert_eq!(provider.asked("/elsewhere"), 0);
        provider.behaviour().redirected.clear();
        provider.behaviour().endless = vec!["/token".to_owned()];
        assert_refused(&tried().await, (503, "OVERLOADED"), "256 KiB");
        provider.behaviour().endless.clear();
        provider.behaviour().silent = vec!["/token".to_owned()];
        assert_refused(&tried().await, (503, "OVERLOADED"), "cannot be reached");
        provider.behaviour().silent.clear();
        assert_eq!(tried().await.status, 200);
        // Endpoints where no request goes, although a provider names them.
        for (named, told) in [
            ("http://10.0.0.1/token", "https://"),
            ("https://10.0.0.1/token", "private"),
            ("https://169.254.169.254/latest", "private"),
            ("https://localhost/token", "private"),
            ("file:///etc/passwd", "no host"),
        ] {
            let other = TestProvider::start().await;
            other.behaviour().discovery = json!({ "token_endpoint": named });
            provide(app, &other).await;
            let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
            let answer = finish(app, PUBLISHABLE_KEY, "acme", &other.approve(&url, &ada())).await;
            assert_refused(&answer, (409, "CONFLICT"), told);
        }
        let other = TestProvider::start().await;
        other.behaviour().issuer = "https://accounts.google.com".to_owned();
        provide(app, &other).await;
        assert_refused(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await, (503, "OVERLOADED"), "another issuer");
        // A sign-in of nobody costs the provider no request each time.
        for _ in 0..5 {
            assert_eq!(begin(app, PUBLISHABLE_KEY, "acme", &[]).await.error().0, 503);
        }
        assert_eq!(other.asked("/.well-known/openid-configuration"), 1);
    }
}

async fn post_list(app: &TestApp) -> Value {
    ask(app, PUBLISHABLE_KEY, Method::GET, "/users/oauth", Value::Null).await.data().clone()
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs claims with a public key, as if it were a secret.
fn hs256_token(claims: &Value, secret: &[u8]) -> String {
    let header = jsonwebtoken::Header { kid: Some("ec".to_owned()), ..Default::default() };
    jsonwebtoken::encode(&header, claims, &jsonwebtoken::EncodingKey::from_secret(secret)).unwrap()
}

/// Gives a token the `kid` of the key that is published.
fn renamed(token: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "ec" });
    format!("{}.{rest}", base64_of(header.to_string().as_bytes()))
}

/// Writes the last character of a signature otherwise, without another meaning if the decoder is lenient.
fn respelled(text: &str) -> String {
    format!("{text}=")
}

fn forged_state(state: &str) -> String {
    let claims = json!({ "aud": "oauth-state", "exp": Timestamp::now().0 / 1000 + 600, "jti": "a", "pid": "p", "prv": "acme", "uri": PAGE });
    let forged = hs256_token(&claims, b"a secret that somebody else has, of 256 bits");
    assert_eq!(forged.matches('.').count(), state.matches('.').count());
    forged
}
