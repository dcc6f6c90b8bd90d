//! Access tokens: whoever forges one is nobody, on every door.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, sign_up, status_of};
use crate::harness::{TestApp, on_both_databases};

/// Returns the parts of a token as JSON: header and claims.
pub fn parts(token: &str) -> (Value, Value) {
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    let mut parts = token.split('.');
    (part(parts.next().unwrap()), part(parts.next().unwrap()))
}

pub fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Signs claims with the server's own secret, which the test reads from the database.
async fn sign(app: &TestApp, name: &str, header: &Value, claims: &Value) -> String {
    let sql = format!("SELECT value FROM secrets WHERE name = '{name}'");
    let secret = app.sql().await.texts(&sql).await.remove(0);
    let secret = base64::engine::general_purpose::STANDARD.decode(secret).unwrap();
    let signed = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(&secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

/// Tries tokens on every door.
pub async fn must_be_refused(app: &TestApp, forged: &[(&str, String)]) {
    for (why, token) in forged {
        let answer = ask(app, token, Method::GET, "/users/me", Value::Null).await;
        assert_eq!(answer.error(), (401, "UNAUTHORIZED"), "{why}: {answer:?}");
        let ticket = ask(app, token, Method::POST, "/realtime/tickets", json!({})).await;
        assert_eq!(ticket.error(), (401, "UNAUTHORIZED"), "{why}");
        let stream = ask(app, token, Method::GET, "/realtime/sse/posts", Value::Null).await;
        assert_eq!(stream.error(), (401, "UNAUTHORIZED"), "{why}");
        let dialect = ask(app, token, Method::GET, "/collections/posts/documents", Value::Null).await;
        assert_eq!(dialect.status, 401, "{why}");
    }
    // A connection allows five failures.
    for tokens in forged.chunks(4) {
        let mut socket = app.anonymous_socket().await;
        for (why, token) in tokens {
            socket.send(json!({ "type": "auth", "token": token })).await;
            let error = socket.next().await;
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("UNAUTHORIZED")), "{why}");
        }
    }
}

on_both_databases! {
    async fn a_token_says_what_the_specification_says(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let (header, claims) = parts(&ada.access);
        assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!("at+jwt")));
        assert!(header["kid"].is_string());
        assert_eq!((&claims["sub"], &claims["userId"]), (&json!(ada.id), &json!(ada.id)));
        let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 900);
        let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["exp", "iat", "key", "pid", "sid", "sub", "userId"]);
        // The helper that forges tokens below makes good ones, too.
        assert_eq!(status_of(app, &sign(app, "access", &header, &claims).await).await, 200);
    }

    async fn a_forged_token_is_worth_nothing_on_any_door(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let bob = sign_up(app, "bob@example.com").await;
        let (header, claims) = parts(&ada.access);
        let (_, of_bob) = parts(&bob.access);
        let with = |value: &Value, name: &str, new: Value| {
            let mut value = value.clone();
            value[name] = new;
            value
        };
        let without = |name: &str| {
            let mut claims = claims.clone();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let now = claims["iat"].as_i64().unwrap();
        let other_secret = |header: &Header| {
            jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(&[7; 32])).unwrap()
        };
        let of_header = |header: Value| format!("{}.{}.", encode(&header), encode(&claims));
        let mut signed_by_other = Header::new(Algorithm::HS256);
        signed_by_other.typ = Some("at+jwt".to_owned());
        signed_by_other.kid = header["kid"].as_str().map(str::to_owned);
        let signed = async |header: Value, claims: Value| sign(app, "access", &header, &claims).await;
        let unsigned = ada.access.rsplit_once('.').unwrap().0;
        let mut forged = vec![
            ("without a signature", format!("{unsigned}.")),
            ("`none`", of_header(with(&header, "alg", json!("none")))),
            ("`None`", of_header(with(&header, "alg", json!("None")))),
            ("another secret", other_secret(&signed_by_other)),
            ("another secret, and no kid", other_secret(&Header { kid: None, ..signed_by_other.clone() })),
            ("the secret of tickets", sign(app, "tickets", &header, &claims).await),
            ("the secret of refresh tokens", sign(app, "refresh", &header, &claims).await),
            ("expired", signed(header.clone(), with(&claims, "exp", json!(now - 1))).await),
            ("no exp", signed(header.clone(), without("exp")).await),
            ("exp as a text", signed(header.clone(), with(&claims, "exp", json!("never"))).await),
            ("issued tomorrow", signed(header.clone(), with(&claims, "iat", json!(now + 86_400))).await),
            ("no iat", signed(header.clone(), without("iat")).await),
            ("no sub", signed(header.clone(), without("sub")).await),
            ("no session", signed(header.clone(), without("sid")).await),
            ("a session that is none", signed(header.clone(), with(&claims, "sid", json!("none"))).await),
            ("another user's session", signed(header.clone(), with(&claims, "sid", of_bob["sid"].clone())).await),
            ("another project", signed(header.clone(), with(&claims, "pid", json!("other"))).await),
            ("two users", signed(header.clone(), with(&claims, "userId", json!(bob.id))).await),
            ("typ JWT", signed(with(&header, "typ", json!("JWT")), claims.clone()).await),
        ];
        for (name, value) in [
            ("kid", json!("../../dev/null")),
            ("kid", json!("' OR 1=1 --")),
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
            ("alg", json!("RS256")),
            ("alg", json!("EdDSA")),
            ("alg", json!("HS512")),
        ] {
            forged.push((name, signed(with(&header, name, value), claims.clone()).await));
        }
        must_be_refused(app, &forged).await;
        assert_eq!(status_of(app, &ada.access).await, 200);
    }
}
