//! A provider of sign-ins on a free port: an OpenID provider and a GitHub. It does as it is told, also what no provider should.

use std::{
    collections::HashMap,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use coir::{domain::Timestamp, providers::state::challenge_of};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The client of every project in these tests.
pub const CLIENT: &str = "client-of-the-test";
pub const CLIENT_SECRET: &str = "secret of the client";

/// A key that signs tokens. Its public part is in [`jwk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestKey {
    Rsa,
    Ec,
    /// Of the same kind as [`TestKey::Ec`], and published nowhere unless a test does.
    OtherEc,
    Ed,
}

/// What the provider does. A test changes it between two steps.
pub struct Behaviour {
    pub issuer: String,
    /// The keys that it publishes.
    pub keys: Vec<Value>,
    /// Members that take the place of those of the discovery document. Null takes one out.
    pub discovery: Value,
    /// The same for the claims of ID tokens.
    pub claims: Value,
    pub signs_with: TestKey,
    /// Takes the place of the whole ID token.
    pub id_token: Option<String>,
    /// The addresses that GitHub knows.
    pub emails: Value,
    /// What `/userinfo` answers, if it is there.
    pub user_info: Value,
    /// Whether a code is good more than once, and PKCE and the redirect are not looked at.
    pub is_careless: bool,
    /// Paths that lead elsewhere, that have endless answers, or that answer never.
    pub redirected: Vec<String>,
    pub endless: Vec<String>,
    pub silent: Vec<String>,
    /// How often each path was asked for.
    pub asked: HashMap<String, usize>,
    codes: HashMap<String, Approval>,
    next: usize,
}

struct Approval {
    person: Value,
    nonce: Option<String>,
    challenge: String,
    redirect: String,
}

/// A provider; ends when it is dropped.
pub struct TestProvider {
    pub url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    handle: ServerHandle,
}

/// What the provider gives the browser.
#[derive(Clone, Debug)]
pub struct Returned {
    pub code: String,
    pub state: String,
}

impl TestProvider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(Behaviour {
            issuer: url.clone(),
            keys: vec![jwk(TestKey::Ec)],
            discovery: json!({}),
            claims: json!({}),
            signs_with: TestKey::Ec,
            id_token: None,
            emails: json!([]),
            user_info: Value::Null,
            is_careless: false,
            redirected: Vec::new(),
            endless: Vec::new(),
            silent: Vec::new(),
            asked: HashMap::new(),
            codes: HashMap::new(),
            next: 0,
        }));
        let data = web::Data::new((url.clone(), behaviour.clone()));
        let server = HttpServer::new(move || {
            App::new().app_data(data.clone()).default_service(web::route().to(answer))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, behaviour, handle }
    }

    pub fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    /// Returns how often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.behaviour().asked.get(path).copied().unwrap_or_default()
    }

    /// Signs a person in who was sent to this URL. `person` has the claims about them, or what GitHub says of them.
    pub fn approve(&self, url: &str, person: &Value) -> Returned {
        let url = reqwest::Url::parse(url).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["code_challenge_method"], "S256");
        let mut behaviour = self.behaviour();
        behaviour.next += 1;
        let code = format!("code-{}", behaviour.next);
        let approval = Approval {
            person: person.clone(),
            nonce: query.get("nonce").cloned(),
            challenge: query["code_challenge"].clone(),
            redirect: query["redirect_uri"].clone(),
        };
        behaviour.codes.insert(code.clone(), approval);
        Returned { code, state: query["state"].clone() }
    }

    /// Makes a code as an app gets it that asked for one without the server.
    pub fn code_for_app(&self, person: &Value, redirect: &str) -> String {
        let url = format!(
            "{}/authorize?client_id={CLIENT}&code_challenge_method=S256&code_challenge=&state=&redirect_uri={redirect}",
            self.url
        );
        self.approve(&url, person).code
    }

    /// Signs claims about a person, which are good for five minutes.
    pub fn id_token(&self, claims: &Value) -> String {
        let behaviour = self.behaviour();
        sign(behaviour.signs_with, &merged(&base_claims(&behaviour.issuer), claims))
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        // Also if the test's runtime is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.stop(false).await });
        }
    }
}

/// Returns the public part of a key. Its `kid` is its name.
pub fn jwk(key: TestKey) -> Value {
    let ec = |x: &str, y: &str| json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "x": x, "y": y });
    let mut jwk = match key {
        TestKey::Rsa => json!({ "kty": "RSA", "use": "sig", "e": "AQAB",
            "n": "zQZRAlRlAclUGad776br9wa_2KX-u3LZPUFU3Yau1ulyMgIsmtD7BlVDVKC7zSPTNuhh-p40K9itN5f0pbYeLXaV9DbExzjVJB0Mo9m4P-qyNjo5JYlH8wW86qQzi7XF28WtwdFVdkTYKDkVcGIVvCc0sL0R3xSrHoHSc8WyPYmkwG1oHMtbHl7uH0YlLnX9NdmBiQGvMEgrpjRTU81uHmHU6UgHSQyepi3th2jid-n7Fg8wa_glGMWWjfHb-9MCJcBvkywZ6q6x_KL3RkungZFSl7Y575Cey-hbdosB-toUtrkF7NeSslzKzIrfyonDgrPv3S87DI_p4m4kkUSIrQ" }),
        TestKey::Ec => {
            ec("tB77OcXJ9FMY8nqLTkjGqJhaGQIzthH0lamMSvA1vaI", "jo8sjsIFJULf-T3lyR-q8j-0QIo0BLSfRkU0yPTQcbA")
        }
        TestKey::OtherEc => {
            ec("LD5N6WgwfbkZEyZunEptdfCZVUWY7-X2wqkrT5n26kQ", "YEvom2KiwwsTF6ee1GpOyDEwlP-37r6zTlIcyaq6lSw")
        }
        TestKey::Ed => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "NUWXrL-LKgUhc1Wg0XxJpyc3beNXI23cjGREvd43qYM" })
        }
    };
    jwk["kid"] = json!(kid(key));
    jwk
}

/// Signs claims.
pub fn sign(key: TestKey, claims: &Value) -> String {
    let (algorithm, key_of) = match key {
        TestKey::Rsa => (Algorithm::RS256, EncodingKey::from_rsa_der(include_bytes!("keys/rsa.der"))),
        TestKey::Ec => (Algorithm::ES256, EncodingKey::from_ec_der(include_bytes!("keys/ec.der"))),
        TestKey::OtherEc => (Algorithm::ES256, EncodingKey::from_ec_der(include_bytes!("keys/ec-other.der"))),
        TestKey::Ed => (Algorithm::EdDSA, EncodingKey::from_ed_der(include_bytes!("keys/ed.der"))),
    };
    let header = Header { kid: Some(kid(key).to_owned()), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &key_of).unwrap()
}

/// Merges members into an object. Null takes a member out.
pub fn merged(base: &Value, change: &Value) -> Value {
    let mut merged = base.as_object().unwrap().clone();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(merged.remove(name)),
            value => drop(merged.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(merged)
}

pub fn now() -> i64 {
    Timestamp::now().0 / 1000
}

fn kid(key: TestKey) -> &'static str {
    match key {
        TestKey::Rsa => "rsa",
        TestKey::Ec => "ec",
        TestKey::OtherEc => "other-ec",
        TestKey::Ed => "ed",
    }
}

fn base_claims(issuer: &str) -> Value {
    json!({ "iss": issuer, "aud": CLIENT, "iat": now(), "exp": now() + 300 })
}

async fn answer(
    request: HttpRequest,
    body: web::Bytes,
    data: web::Data<(String, Arc<Mutex<Behaviour>>)>,
) -> HttpResponse {
    let (url, behaviour) = &**data;
    // GitHub has an address of its own, as two providers have.
    let path = request.path().trim_start_matches("/github").to_owned();
    let is_silent = {
        let mut behaviour = behaviour.lock().unwrap();
        *behaviour.asked.entry(path.clone()).or_default() += 1;
        if behaviour.redirected.contains(&path) {
            return HttpResponse::Found().insert_header(("location", format!("{url}/elsewhere"))).finish();
        }
        if behaviour.endless.contains(&path) {
            let spaces = futures_util::stream::repeat_with(|| {
                Ok::<_, actix_web::Error>(web::Bytes::from_static(&[b' '; 8192]))
            });
            return HttpResponse::Ok().streaming(spaces);
        }
        behaviour.silent.contains(&path)
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
    let mut behaviour = behaviour.lock().unwrap();
    let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    match path.as_str() {
        "/.well-known/openid-configuration" => {
            let discovery = json!({
                "issuer": behaviour.issuer,
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "userinfo_endpoint": format!("{url}/userinfo"),
                "jwks_uri": format!("{url}/keys"),
            });
            HttpResponse::Ok().json(merged(&discovery, &behaviour.discovery))
        }
        "/keys" => HttpResponse::Ok().json(json!({ "keys": behaviour.keys })),
        "/token" | "/login/oauth/access_token" => {
            let form: HashMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
            give_tokens(&mut behaviour, &form, bearer, path == "/token")
        }
        "/userinfo" if !behaviour.user_info.is_null() => HttpResponse::Ok().json(&behaviour.user_info),
        "/api/v3/user" | "/api/v3/user/emails"
            if bearer.is_some_and(|token| token.starts_with("Bearer of ")) =>
        {
            let person: Value =
                serde_json::from_str(bearer.unwrap().trim_start_matches("Bearer of ")).unwrap();
            let is_emails = path.ends_with("emails");
            HttpResponse::Ok().json(if is_emails { behaviour.emails.clone() } else { person })
        }
        _ => HttpResponse::NotFound().json(json!({ "message": "Not Found" })),
    }
}

fn give_tokens(
    behaviour: &mut Behaviour,
    form: &HashMap<String, String>,
    authorization: Option<&str>,
    is_openid: bool,
) -> HttpResponse {
    let refuse = |status: u16, error: &str| {
        let status = actix_web::http::StatusCode::from_u16(if is_openid { status } else { 200 }).unwrap();
        HttpResponse::build(status).json(json!({ "error": error }))
    };
    let basic = "Basic Y2xpZW50LW9mLXRoZS10ZXN0OnNlY3JldCtvZit0aGUrY2xpZW50";
    let is_posted = form.get("client_id").is_some_and(|id| id == CLIENT)
        && form.get("client_secret").is_some_and(|secret| secret == CLIENT_SECRET);
    if authorization != Some(basic) && !is_posted {
        return refuse(401, "invalid_client");
    }
    let code = form.get("code").cloned().unwrap_or_default();
    let bad = if is_openid { "invalid_grant" } else { "bad_verification_code" };
    let approval = match behaviour.is_careless {
        true => behaviour.codes.get(&code).map(|found| Approval {
            person: found.person.clone(),
            nonce: found.nonce.clone(),
            challenge: String::new(),
            redirect: found.redirect.clone(),
        }),
        false => behaviour.codes.remove(&code),
    };
    let Some(approval) = approval else { return refuse(400, bad) };
    let is_proven = approval.challenge.is_empty()
        || form.get("code_verifier").is_some_and(|verifier| challenge_of(verifier) == approval.challenge);
    if !is_proven || form.get("redirect_uri") != Some(&approval.redirect) {
        return refuse(400, bad);
    }
    if !is_openid {
        return HttpResponse::Ok()
            .json(json!({ "access_token": format!("of {}", approval.person), "token_type": "bearer" }));
    }
    let claims = merged(
        &merged(&base_claims(&behaviour.issuer), &approval.person),
        &json!({ "nonce": approval.nonce }),
    );
    let id_token = match &behaviour.id_token {
        Some(token) => token.clone(),
        None => sign(behaviour.signs_with, &merged(&claims, &behaviour.claims)),
    };
    HttpResponse::Ok().json(json!({ "access_token": "at", "token_type": "Bearer", "id_token": id_token }))
}
