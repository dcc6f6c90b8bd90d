//! Access tokens under EdDSA: other services verify them with the published key, and no key is taken for another one.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use coir::auth::TokenAlgorithm::{EdDsa, Hs256};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, jwk::JwkSet};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Signed, ask, refresh, sign_in, sign_up, status_of,
    streams::{socket, sse_by_ticket, ticket},
    tokens::{encode, must_be_refused, parts},
};
use crate::harness::{Answer, Database, TestApp, on_both_databases, on_each_database};

/// Asks for the public keys as another service does, without a key.
async fn published(app: &TestApp) -> Answer {
    app.send(app.http.get(format!("{}/.well-known/jwks.json", app.url))).await
}

/// Returns the ids of the public keys.
async fn key_ids(app: &TestApp) -> Vec<Value> {
    published(app).await.body["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

/// Verifies a token as another service does, and returns its claims.
fn verify(keys: &Value, token: &str) -> Option<Value> {
    let keys: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap())?).unwrap();
    let read = jsonwebtoken::decode::<Value>(token, &key, &Validation::new(Algorithm::EdDSA));
    read.ok().map(|token| token.claims)
}

/// Reads a secret of the server from the database.
async fn secret(app: &TestApp, name: &str) -> Vec<u8> {
    let sql = format!("SELECT value FROM secrets WHERE name = '{name}'");
    STANDARD.decode(app.sql().await.texts(&sql).await.remove(0)).unwrap()
}

/// An Ed25519 private key as jsonwebtoken takes it.
fn private_key(secret: &[u8]) -> EncodingKey {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(secret);
    EncodingKey::from_ed_der(&der)
}

fn sign((key, algorithm): (&EncodingKey, Algorithm), header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// Stops the server, and starts it with another algorithm.
async fn restart_with(app: TestApp, algorithm: coir::auth::TokenAlgorithm) -> TestApp {
    let (mut config, directory) = app.into_parts().await;
    config.jwt_algorithm = algorithm;
    TestApp::start_on(config, directory).await
}

on_both_databases! {
    async fn another_service_verifies_a_token_with_the_published_key(app: &TestApp, |config| config.jwt_algorithm = EdDsa) {
        sign_up(app, "ada@example.com").await;
        let ada = sign_in(app, "ada@example.com").await;
        let answer = published(app).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let [key] = &answer.body["keys"].as_array().unwrap()[..] else { panic!("{answer:?}") };
        let mut names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"], "the private half stays here");
        let (header, _) = parts(&ada.access);
        assert_eq!(header, json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": key["kid"] }));
        let claims = verify(&answer.body, &ada.access).unwrap();
        assert_eq!(claims["sub"], json!(ada.id));
        let next = Signed::read(&refresh(app, &ada.refresh).await);
        assert_eq!(verify(&answer.body, &next.access).unwrap()["sid"], claims["sid"]);
        let (signed, signature) = next.access.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        assert_eq!(verify(&answer.body, &format!("{signed}.{other}{}", &signature[1..])), None);
        let request = app.http.get(format!("{}/.well-known/jwks.json", app.url));
        let page = app.send(request.header("Origin", "https://app.example.com")).await;
        assert_eq!(page.header("access-control-allow-origin"), "*");
    }

    async fn a_token_of_the_key_pair_opens_every_door(app: &TestApp, |config| config.jwt_algorithm = EdDsa) {
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        assert_eq!(status_of(app, &ada.access).await, 200);
        let mut socket = socket(app, &ada.access).await;
        socket.subscribe("posts", json!({})).await;
        let document = app.create("posts", json!({})).await;
        assert_eq!(socket.next().await["document"]["id"], document["id"]);
        let ticket = ticket(app, &ada.access).await;
        assert_eq!(sse_by_ticket(app, &ticket, "posts").send().await.unwrap().status(), 200);
        let stream = app.request_as(&ada.access, Method::GET, "/realtime/sse/posts").send().await.unwrap();
        assert_eq!(stream.status(), 200);
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        assert_eq!(status_of(app, &ada.access).await, 401, "the signature is good, and the session has ended");
    }

    async fn no_key_is_taken_for_another_one(app: &TestApp, |config| config.jwt_algorithm = EdDsa) {
        let ada = sign_up(app, "ada@example.com").await;
        let (header, claims) = parts(&ada.access);
        let public = published(app).await.body["keys"][0].clone();
        let bytes = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
        let der = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".to_vec(), bytes.clone()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
        let pair = private_key(&secret(app, "access-eddsa").await);
        let symmetric = secret(app, "access").await;
        let stranger = private_key(&[7; 32]);
        let with = |name: &str, value: Value| {
            let mut header = header.clone();
            header[name] = value;
            header
        };
        // The id of the secret of HS256, as its tokens have it.
        use sha2::Digest;
        let id = sha2::Sha256::digest(&symmetric).iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let of_secret = json!({ "typ": "at+jwt", "alg": "HS256", "kid": id[..16] });
        let hs256 = |key: &[u8], header: &Value| {
            sign((&EncodingKey::from_secret(key), Algorithm::HS256), header, &claims)
        };
        let eddsa = |key: &EncodingKey, header: &Value| sign((key, Algorithm::EdDSA), header, &claims);
        // Either key makes good tokens with its own header.
        for good in [eddsa(&pair, &header), hs256(&symmetric, &of_secret)] {
            assert_eq!(status_of(app, &good).await, 200);
        }
        let as_hs256 = with("alg", json!("HS256"));
        let unsigned = |header: &Value| format!("{}.{}.", encode(header), encode(&claims));
        let mut as_pair = of_secret.clone();
        as_pair["alg"] = json!("EdDSA");
        let mut forged = vec![
            ("the public key as a secret", hs256(&bytes, &as_hs256)),
            ("its text as a secret", hs256(public["x"].as_str().unwrap().as_bytes(), &as_hs256)),
            ("the JWK as a secret", hs256(public.to_string().as_bytes(), &as_hs256)),
            ("the DER as a secret", hs256(&der, &as_hs256)),
            ("the PEM as a secret", hs256(pem.as_bytes(), &as_hs256)),
            ("the public key by the id of the secret", hs256(&bytes, &of_secret)),
            ("the private key as a secret", hs256(&secret(app, "access-eddsa").await, &as_hs256)),
            ("HS256 that calls itself EdDSA", hs256(&bytes, &header)),
            ("the secret by the id of the pair", hs256(&symmetric, &as_hs256)),
            ("the secret by the header of the pair", hs256(&symmetric, &header)),
            ("the pair by the id of the secret", eddsa(&pair, &as_pair)),
            ("the pair by the header of the secret", eddsa(&pair, &of_secret)),
            ("the secret as a private key", eddsa(&private_key(&symmetric), &header)),
            ("another private key", eddsa(&stranger, &header)),
            ("`none`", unsigned(&with("alg", json!("none")))),
            ("no signature", unsigned(&header)),
            ("typ JWT", eddsa(&pair, &with("typ", json!("JWT")))),
            ("no kid", eddsa(&pair, &json!({ "typ": "at+jwt", "alg": "EdDSA" }))),
            ("another kid", eddsa(&pair, &with("kid", json!("../../dev/null")))),
        ];
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&stranger, Algorithm::EdDSA).unwrap();
        for (name, value) in [
            ("jwk", serde_json::to_value(&jwk).unwrap()),
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["AAAA"])),
            ("crit", json!(["exp"])),
        ] {
            forged.push((name, eddsa(&stranger, &with(name, value.clone()))));
            // Also where the signature is good: no token of this server has this member.
            forged.push((name, eddsa(&pair, &with(name, value))));
        }
        must_be_refused(app, &forged).await;
        assert_eq!(status_of(app, &ada.access).await, 200);
    }

    async fn without_eddsa_no_key_is_published(app: &TestApp) {
        let answer = published(app).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({ "keys": [] })));
    }

    /// The example of the docs.
    async fn the_example_of_the_docs_verifies_a_token(app: &TestApp, |config| config.jwt_algorithm = EdDsa) {
        let ada = sign_up(app, "ada@example.com").await;
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/users.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, section) = page.split_once("\n### Other services verify tokens\n").unwrap();
        let (_, code) = section.split_once("```javascript\n").unwrap();
        let code = code.split_once("```").unwrap().0;
        let (signed, signature) = ada.access.rsplit_once('.').unwrap();
        let (header, claims) = parts(&ada.access);
        let mut claims_of_bob = claims.clone();
        claims_of_bob["sub"] = json!("bob");
        let mut old = claims.clone();
        old["exp"] = json!(1);
        let pair = private_key(&secret(app, "access-eddsa").await);
        let project = claims["pid"].as_str().unwrap();
        let mut mail = header.clone();
        mail["typ"] = json!("JWT");
        for (why, token, project, is_good) in [
            ("good", ada.access.clone(), project, true),
            ("another project", ada.access.clone(), "other", false),
            ("changed", format!("{}.{}.{signature}", encode(&header), encode(&claims_of_bob)), project, false),
            ("unsigned", format!("{signed}."), project, false),
            ("another key", sign((&private_key(&[7; 32]), Algorithm::EdDSA), &header, &claims), project, false),
            ("expired", sign((&pair, Algorithm::EdDSA), &header, &old), project, false),
            ("another purpose", sign((&pair, Algorithm::EdDSA), &mail, &claims), project, false),
            ("no token", "x".to_owned(), project, false),
            ("no JSON", "a.b.c".to_owned(), project, false),
            ("no header", format!("{}.{}.", encode(&Value::Null), encode(&claims)), project, false),
        ] {
            let code = format!("{code}\nconsole.log(JSON.stringify(await userOf(process.argv[1])));");
            let mut node = std::process::Command::new("node");
            node.args(["--input-type=module", "-e", &code, &token]);
            node.env("COIR_URL", &app.url).env("COIR_PROJECT", project);
            let output = tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap();
            assert!(output.status.success(), "{why}: {output:?}");
            let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(printed, if is_good { json!(ada.id) } else { Value::Null }, "{why}");
        }
    }
}

on_each_database! {
    async fn another_algorithm_signs_nobody_out(database) {
        let app = TestApp::start(database).await;
        let before = sign_up(&app, "ada@example.com").await;
        let app = restart_with(app, EdDsa).await;
        assert_eq!(status_of(&app, &before.access).await, 200);
        let between = Signed::read(&refresh(&app, &before.refresh).await);
        assert_eq!(parts(&between.access).0["alg"], "EdDSA");
        assert_eq!(parts(&between.access).1["sid"], parts(&before.access).1["sid"]);
        let ids = key_ids(&app).await;
        let app = app.restart().await;
        assert_eq!(key_ids(&app).await, ids, "the key pair is the same one after a restart");
        let app = restart_with(app, Hs256).await;
        assert!(key_ids(&app).await.is_empty());
        for token in [&before, &between] {
            assert_eq!(status_of(&app, &token.access).await, 200);
        }
        let after = Signed::read(&refresh(&app, &between.refresh).await);
        assert_eq!(parts(&after.access).0["alg"], "HS256");
        assert_eq!(status_of(&app, &after.access).await, 200);
        app.stop().await;
    }

    async fn the_key_before_the_current_one_is_published_and_reads(database) {
        let app = TestApp::start_with(database, |config| config.jwt_algorithm = EdDsa).await;
        let ada = sign_up(&app, "ada@example.com").await;
        let old = key_ids(&app).await;
        let sql = "UPDATE secrets SET name = 'access-eddsa.previous' WHERE name = 'access-eddsa'";
        app.sql().await.execute(sql).await;
        let app = app.restart().await;
        let ids = key_ids(&app).await;
        assert_eq!((ids.len(), &ids[1]), (2, &old[0]));
        assert_eq!(status_of(&app, &ada.access).await, 200);
        assert!(verify(&published(&app).await.body, &ada.access).is_some());
        let next = Signed::read(&refresh(&app, &ada.refresh).await);
        assert_eq!(parts(&next.access).0["kid"], ids[0]);
        app.sql().await.execute("DELETE FROM secrets WHERE name = 'access-eddsa.previous'").await;
        let app = app.restart().await;
        assert_eq!(key_ids(&app).await, ids[..1]);
        assert_eq!(status_of(&app, &ada.access).await, 401);
        assert_eq!(status_of(&app, &next.access).await, 200);
        app.stop().await;
    }

    async fn a_damaged_key_pair_stops_the_start(database) {
        let app = TestApp::start(database).await;
        let sql = format!("UPDATE secrets SET value = '{}' WHERE name = 'access-eddsa'", STANDARD.encode([1; 33]));
        app.sql().await.execute(&sql).await;
        let (config, _directory) = app.into_parts().await;
        let told = coir::app::start(config).await.err().unwrap().to_string();
        assert!(told.contains("`access-eddsa`") && told.contains("32 bytes"), "{told}");
    }
}

/// Nodes may start one after the other with another algorithm.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_take_each_others_tokens() {
    for [first, second] in [[EdDsa, EdDsa], [Hs256, EdDsa], [EdDsa, Hs256]] {
        let app = TestApp::start_with(Database::Postgres, |config| config.jwt_algorithm = first).await;
        let mut config = app.config.clone();
        config.jwt_algorithm = second;
        let other = TestApp::start_on(config, None).await;
        let (ada, bob) = (sign_up(&app, "ada@example.com").await, sign_up(&other, "bob@example.com").await);
        for user in [&ada, &bob] {
            for node in [&app, &other] {
                assert_eq!(status_of(node, &user.access).await, 200, "{first:?} {second:?}");
            }
        }
        if [first, second] == [EdDsa, EdDsa] {
            assert_eq!(key_ids(&app).await, key_ids(&other).await);
        }
        other.stop_without_looking().await;
        app.stop().await;
    }
}
