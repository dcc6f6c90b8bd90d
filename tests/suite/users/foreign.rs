//! Tokens of other issuers: who holds one is a user on every door.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    ask,
    linking::link,
    providers::{ada, assert_refused, enter, local, provide},
    second_factor::Guarded,
    sign_up,
};
use crate::harness::{
    Answer, PUBLISHABLE_KEY, TestApp, TestSocket, TestStream, event, on_both_databases,
    provider::{TestKey, TestProvider, jwk, merged, now, sign},
};

const AUDIENCE: &str = "api-of-the-test";

/// Signs a token that is good for five minutes.
pub fn token(issuer: &str, key: TestKey, change: &Value) -> String {
    let claims = json!({ "iss": issuer, "aud": AUDIENCE, "sub": "1815", "iat": now(), "exp": now() + 300 });
    sign(key, &merged(&claims, change))
}

/// Lets the project take tokens of an issuer.
pub async fn take(app: &TestApp, issuer: Value) {
    let issuer = merged(&json!({ "audience": AUDIENCE, "claims": { "roles": "realm.roles" } }), &issuer);
    let answer = app.patch("/settings", json!({ "issuers": [issuer] })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub async fn me(app: &TestApp, token: &str) -> Answer {
    let request = app.request_as(token, Method::GET, "/users/me").header("x-api-key", PUBLISHABLE_KEY);
    app.send(request).await
}

async fn connect(app: &TestApp, token: &str) -> TestSocket {
    let mut socket = app.anonymous_socket().await;
    socket.send(json!({ "type": "auth", "token": PUBLISHABLE_KEY, "user": token })).await;
    socket.subscribe("posts", json!({})).await;
    socket
}

on_both_databases! {
    async fn who_holds_a_token_of_another_issuer_is_a_user_on_every_door(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        take(app, json!({ "issuer": provider.url })).await;
        let editor = json!({ "realm": { "roles": ["editor"] }, "name": "Ada", "email": "ada@example.com", "email_verified": true });
        let ada = token(&provider.url, TestKey::Ec, &editor);
        let first = me(app, &ada).await;
        assert_eq!(first.status, 200, "{first:?}");
        let id = first.data()["id"].as_str().unwrap().to_owned();
        assert_eq!(
            first.data()["data"],
            json!({ "email": "ada@example.com", "emailVerified": true, "roles": ["editor"], "profile": { "name": "Ada" } })
        );
        // Other roles are those of the user from then on, and nothing else changes.
        let version = first.data()["version"].clone();
        assert_eq!(me(app, &ada).await.data()["version"], version);
        let admin = token(&provider.url, TestKey::Ec, &json!({ "realm": { "roles": ["admin"] }, "email": "x@example.com" }));
        let second = me(app, &admin).await;
        assert_eq!((&second.data()["id"], &second.data()["data"]["roles"]), (&json!(id), &json!(["admin"])));
        assert_eq!(second.data()["data"]["email"], "ada@example.com");
        let bob = me(app, &token(&provider.url, TestKey::Ec, &json!({ "sub": "1843" }))).await;
        assert_ne!(bob.data()["id"], id);
        // Server-sent events, sockets and tickets; the libraries' door.
        let post = |key| app.send(app.request(Method::POST, "/collections/posts").json(&json!({ "text": key })));
        assert_eq!(post("a").await.status, 201);
        let mut socket = connect(app, &ada).await;
        let request = app.request_as(&ada, Method::GET, "/realtime/sse/posts").header("x-api-key", PUBLISHABLE_KEY);
        let mut stream = TestStream::open(request).await;
        stream.opened().await;
        let asked = app.request_as(&ada, Method::POST, "/realtime/tickets").header("x-api-key", PUBLISHABLE_KEY);
        let ticket = app.send(asked.json(&json!({}))).await.data()["ticket"].as_str().unwrap().to_owned();
        let mut by_ticket = TestStream::open(app.http.get(format!("{}/realtime/sse/posts?ticket={ticket}", app.url))).await;
        by_ticket.opened().await;
        let written = app.create("posts", json!({ "text": "b" })).await;
        assert_eq!(socket.next().await, event("posts", "created", &written));
        stream.next_event().await;
        by_ticket.next_event().await;
        let request = app.request_as(&ada, Method::GET, "/auth-collections/user").header("x-api-key", PUBLISHABLE_KEY);
        assert_eq!(app.send(request).await.body["id"], json!(id));
        // The end of the user is the end of the streams.
        assert_eq!(app.delete(&format!("/users/{id}")).await.status, 200);
        must_close(&mut socket).await;
        assert!(stream_ends(stream).await && stream_ends(by_ticket).await);
    }

    async fn a_token_of_another_issuer_shows_no_second_factor(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        take(app, json!({ "issuer": provider.url })).await;
        let guarded = Guarded::new(app).await;
        // The sign-in is not finished, but the identity is that of the user from then on: both sides have verified the address.
        let asked = enter(app, &provider, &ada()).await;
        assert!(asked.data().get("mfa").is_some(), "{asked:?}");
        let token = token(&provider.url, TestKey::Ec, &json!({ "sub": ada()["sub"] }));
        assert_hint(&me(app, &token).await, "second factor");
        assert_eq!(app.delete(&format!("/users/{}/totp", guarded.user.id)).await.status, 200);
        assert_eq!(me(app, &token).await.data()["id"], json!(guarded.user.id));
    }

    async fn a_second_factor_that_is_turned_on_ends_what_a_token_of_another_issuer_is_good_for(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        take(app, json!({ "issuer": provider.url })).await;
        let bob = sign_up(app, "bob@example.com").await;
        app.patch(&format!("/users/{}", bob.id), json!({ "emailVerified": true })).await;
        assert_eq!(link(app, &provider, &bob, &ada()).await.status, 200);
        let claims = json!({ "sub": ada()["sub"], "auth_time": now() });
        let token = token(&provider.url, TestKey::Ec, &claims);
        assert_eq!(me(app, &token).await.data()["id"], json!(bob.id));
        // Whoever has the token can't turn it on, because the token would be good for nothing then.
        let request = app.request_as(&token, Method::POST, "/users/me/totp").header("x-api-key", PUBLISHABLE_KEY);
        let refused = app.send(request).await;
        assert_refused(&refused, (403, "FORBIDDEN"), "another issuer");
        app.create("posts", json!({})).await;
        let mut socket = connect(app, &token).await;
        let begun = ask(app, &bob.access, Method::POST, "/users/me/totp", Value::Null).await;
        let secret = begun.data()["secret"].as_str().unwrap();
        let step = coir::domain::Timestamp::now().0.unsigned_abs() / 30_000;
        let code = json!({ "code": coir::auth::totp::code_of(secret, step).unwrap() });
        assert_eq!(ask(app, &bob.access, Method::POST, "/users/me/totp/confirm", code).await.status, 200);
        must_close(&mut socket).await;
        assert_hint(&me(app, &token).await, "second factor");
    }

    async fn a_token_is_taken_from_the_clients_that_the_settings_name(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        let of = |party: Value| token(&provider.url, TestKey::Ec, &json!({ "azp": party }));
        take(app, json!({ "issuer": provider.url })).await;
        assert_eq!(me(app, &of(json!("any"))).await.status, 200);
        take(app, json!({ "issuer": provider.url, "authorizedParties": ["app", "phone"] })).await;
        for (party, is_good) in
            [(json!("app"), true), (json!("phone"), true), (json!("any"), false), (json!(["app"]), false)]
        {
            let answer = me(app, &of(party.clone())).await;
            assert_eq!(answer.status == 200, is_good, "{party}: {answer:?}");
            if !is_good {
                assert_hint(&answer, "`azp`");
            }
        }
        // Where it says nothing, it is for one audience alone.
        assert_eq!(me(app, &token(&provider.url, TestKey::Ec, &json!({}))).await.status, 200);
        let both = json!({ "aud": [AUDIENCE, "another"] });
        assert_hint(&me(app, &token(&provider.url, TestKey::Ec, &both)).await, "`azp`");
    }

    async fn a_sign_in_that_is_still_to_come_is_no_recent_one(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        take(app, json!({ "issuer": provider.url })).await;
        let delete = async |at: i64| {
            let token = token(&provider.url, TestKey::Ec, &json!({ "auth_time": at }));
            let request = app.request_as(&token, Method::DELETE, "/users/me").header("x-api-key", PUBLISHABLE_KEY);
            app.send(request).await.status.as_u16()
        };
        for at in [now() - 3600, now() + 3600, 1 << 62] {
            assert_eq!(delete(at).await, 403, "{at}");
        }
        assert_eq!(delete(now() - 60).await, 200);
    }

    async fn a_token_is_taken_only_from_its_issuer_for_this_api_and_while_it_is_good(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        take(app, json!({ "issuer": provider.url, "jwksUrl": format!("{}/keys", provider.url) })).await;
        let good = token(&provider.url, TestKey::Ec, &json!({}));
        assert_eq!(me(app, &good).await.status, 200);
        let alone = ask(app, &good, Method::GET, "/users/me", Value::Null).await;
        assert_hint(&alone, "send a key");
        for (change, told) in [
            (json!({ "aud": "somebody else" }), "`aud`"),
            (json!({ "aud": null }), "`aud`"),
            (json!({ "iss": "https://evil.example" }), "this issuer"),
            (json!({ "exp": now() - 120 }), "expired"),
            (json!({ "exp": null }), "expired"),
            (json!({ "nbf": now() + 3600 }), "not good yet"),
            (json!({ "iat": now() + 3600 }), "not good yet"),
            (json!({ "iat": 1e300 }), "not good yet"),
            (json!({ "iat": "now" }), "no signed token"),
            (json!({ "exp": now() + 32 * 24 * 3600 }), "longer"),
            (json!({ "exp": 1e300 }), "expired"),
            (json!({ "sub": null }), "`sub`"),
        ] {
            assert_hint(&me(app, &token(&provider.url, TestKey::Ec, &change)).await, told);
        }
        let before = provider.asked("/keys");
        for _ in 0..10 {
            assert_hint(&me(app, &token(&provider.url, TestKey::OtherEc, &json!({}))).await, "doesn't publish");
        }
        assert!(provider.asked("/keys") <= before + 1, "an unknown key costs no request each time");
        let claims = json!({ "iss": provider.url, "aud": AUDIENCE, "sub": "1815", "exp": now() + 300 });
        let public = jwk(TestKey::Ec)["x"].as_str().unwrap().to_owned();
        let key = jsonwebtoken::EncodingKey::from_secret(public.as_bytes());
        let confused = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        assert_hint(&me(app, &confused).await, "RS256, ES256 or EdDSA");
        let users = app.get("/collections/_users/query/count").await.data()["count"].clone();
        assert_eq!(users, 1);
        // Keys in the settings, of each kind, without any request.
        let keys = json!({ "keys": [jwk(TestKey::Rsa), jwk(TestKey::Ec), jwk(TestKey::Ed)] });
        take(app, json!({ "issuer": "https://login.example.com", "jwks": keys })).await;
        for key in [TestKey::Rsa, TestKey::Ec, TestKey::Ed] {
            let token = token("https://login.example.com", key, &json!({ "realm": { "roles": ["a"] } }));
            let answer = me(app, &token).await;
            assert_eq!((answer.status.as_u16(), &answer.data()["data"]["roles"]), (200, &json!(["a"])), "{key:?}");
        }
        assert_hint(&me(app, &good).await, "this issuer");
        // Nobody signs up this way where nobody may.
        app.patch("/settings", json!({ "signup": { "mode": "closed" } })).await;
        let new = token("https://login.example.com", TestKey::Ed, &json!({ "sub": "1843" }));
        assert_hint(&me(app, &new).await, "lets nobody sign up");
    }

    async fn a_socket_ends_with_the_token_of_another_issuer(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        take(app, json!({ "issuer": provider.url })).await;
        // A token may be a minute older than it says, and its stream may not.
        let short = token(&provider.url, TestKey::Ec, &json!({ "exp": now() + 2 }));
        app.create("posts", json!({})).await;
        let mut socket = connect(app, &short).await;
        must_close(&mut socket).await;
        // Signing out ends the streams, and the token begins a session anew.
        let long = token(&provider.url, TestKey::Ec, &json!({}));
        let mut socket = connect(app, &long).await;
        let request = app.request_as(&long, Method::POST, "/users/logout").header("x-api-key", PUBLISHABLE_KEY);
        assert_eq!(app.send(request).await.status, 200);
        must_close(&mut socket).await;
        assert_eq!(me(app, &long).await.status, 200);
        // Without `auth_time`, nobody knows when the user last proved who they are.
        let request = app.request_as(&long, Method::DELETE, "/users/me").header("x-api-key", PUBLISHABLE_KEY);
        assert_refused(&app.send(request).await, (403, "FORBIDDEN"), "10 minutes");
    }
}

/// The message for a bad token is fixed, and the hint says what is wrong.
#[track_caller]
pub fn assert_hint(answer: &Answer, told: &str) {
    assert_eq!(answer.error(), (401, "UNAUTHORIZED"), "{told}: {answer:?}");
    let hint = answer.body["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains(told), "{told}: {hint}");
}

async fn must_close(socket: &mut TestSocket) {
    assert_eq!(socket.next_error().await.0, "UNAUTHORIZED");
    assert_eq!(u16::from(socket.next_close().await.code), 1008);
}

async fn stream_ends(mut stream: TestStream) -> bool {
    while stream.try_next_block().await.is_some() {}
    true
}
