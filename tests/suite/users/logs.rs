//! What the log of the process says about users: nothing that opens an account, and no address.

use std::collections::BTreeSet;

use coir::{auth::totp, domain::Timestamp};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::{digits_of, providers::PAGE, token_of};
use crate::harness::{
    PUBLISHABLE_KEY, SECRET_KEY, Sql, fresh_database, on_each_database, path_with,
    process::{self, Process},
    provider::{CLIENT, CLIENT_SECRET, TestProvider},
};

/// The members of requests and answers whose values nobody else may see.
const SECRET_MEMBERS: [&str; 15] = [
    "accessToken",
    "clientSecret",
    "code",
    "codeVerifier",
    "current",
    "email",
    "invitation",
    "new",
    "password",
    "recoveryCodes",
    "refreshToken",
    "secret",
    "state",
    "ticket",
    "token",
];

/// What stands in the columns beside the documents.
const SECRET_COLUMNS: [&str; 9] = [
    "SELECT password FROM credentials WHERE password IS NOT NULL",
    "SELECT totp FROM credentials WHERE totp IS NOT NULL",
    "SELECT token_hash FROM sessions",
    "SELECT hash FROM codes",
    "SELECT digits_hash FROM codes WHERE digits_hash IS NOT NULL",
    "SELECT hash FROM invitations",
    "SELECT hash FROM api_keys",
    "SELECT value FROM secrets",
    "SELECT body FROM mails",
];

/// A client that remembers every secret that it sends and gets.
struct Door {
    http: Client,
    url: String,
    secrets: BTreeSet<String>,
}

impl Door {
    /// Sends a request as somebody, and returns the status and the body of the answer.
    async fn ask(&mut self, credential: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.remember(&body);
        let request =
            self.http.request(method, format!("{}{path}", self.url)).header("accept", "application/json");
        let request = match credential {
            "" => request,
            some => request.bearer_auth(some),
        };
        let sent = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
        let status = sent.status().as_u16();
        let answer = serde_json::from_str(&sent.text().await.unwrap()).unwrap();
        self.remember(&answer);
        (status, answer)
    }

    /// Posts with the publishable key, and returns the data of the answer, which must be a success.
    async fn post(&mut self, path: &str, body: Value) -> Value {
        self.post_as(PUBLISHABLE_KEY, path, body).await
    }

    async fn post_as(&mut self, credential: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(credential, Method::POST, path, body).await;
        assert!(status < 300, "{path}: {answer}");
        answer["data"].clone()
    }

    /// Posts what must be refused.
    async fn fail(&mut self, path: &str, body: Value) {
        let (status, answer) = self.ask(PUBLISHABLE_KEY, Method::POST, path, body).await;
        assert!(status >= 400, "{path}: {answer}");
    }

    fn remember(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let texts = match value {
                        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                        value => value.as_str().into_iter().collect::<Vec<_>>(),
                    };
                    // The member `code` of an error is no secret.
                    let is_secret = SECRET_MEMBERS.contains(&&**name)
                        && !(name == "code" && members.contains_key("message"));
                    if is_secret {
                        self.secrets
                            .extend(texts.into_iter().filter(|text| text.len() > 3).map(str::to_owned));
                    }
                    self.remember(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.remember(item)),
            _ => {}
        }
    }

    /// Waits for the newest mail of a kind to an address.
    async fn mail(&mut self, kind: &str, to: &str) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let (_, outbox) = self.ask(SECRET_KEY, Method::GET, "/outbox", Value::Null).await;
            let mails = outbox["data"].as_array().unwrap();
            if let Some(mail) = mails.iter().find(|mail| mail["kind"] == kind && mail["to"] == to) {
                if mail["text"].as_str().unwrap().contains("&token=") {
                    self.secrets.insert(token_of(mail));
                }
                return mail.clone();
            }
            assert!(begun.elapsed().as_secs() < 20, "no mail {kind}: {outbox}");
            tokio::task::yield_now().await;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// Goes through every flow of an account, and through what goes wrong on the way.
async fn live(door: &mut Door, provider: &TestProvider) {
    let account = |password: &str| json!({ "email": "Ada@Example.com", "password": password });
    let ada = door.post("/users", account("correct horse")).await;
    door.fail("/users", account("correct horse")).await;
    door.fail("/users", json!({ "email": "not an address", "password": "some password" })).await;
    door.fail("/users", json!({ "email": "eve@example.com", "password": ["listed horse"] })).await;
    door.fail("/users/login", account("wrong horse")).await;
    door.fail("/users/login", json!({ "email": "nobody@example.com", "password": "any horse" })).await;
    let access = text(&ada["accessToken"]);

    // Links and codes.
    door.post_as(&access, "/users/email/verify/send", Value::Null).await;
    let token = token_of(&door.mail("verify-email", "ada@example.com").await);
    door.post_as(&access, "/users/email/verify", json!({ "token": token })).await;
    door.fail("/users/email/verify", json!({ "token": token })).await;
    door.post("/users/login/code", json!({ "email": "ada@example.com" })).await;
    let mail = door.mail("sign-in", "ada@example.com").await;
    door.fail("/users/login/code/verify", json!({ "email": "ada@example.com", "code": "000000" })).await;
    let code = digits_of(&mail);
    door.post("/users/login/code/verify", json!({ "email": "ada@example.com", "code": code })).await;
    door.post("/users/password/forgot", json!({ "email": "ada@example.com" })).await;
    let token = token_of(&door.mail("reset-password", "ada@example.com").await);
    door.post("/users/password/reset", json!({ "token": token, "password": "battery staple" })).await;
    let ada = door.post("/users/login", account("battery staple")).await;
    let access = text(&ada["accessToken"]);
    let change = json!({ "email": "lovelace@example.com", "password": "battery staple" });
    door.post_as(&access, "/users/me/email", change).await;
    let token = token_of(&door.mail("change-email", "lovelace@example.com").await);
    door.post("/users/email/verify", json!({ "token": token })).await;
    let change = json!({ "current": "battery staple", "new": "third password" });
    door.post_as(&access, "/users/me/password", change).await;

    // A second factor.
    let begun = door.post_as(&access, "/users/me/totp", json!({ "password": "third password" })).await;
    let secret = text(&begun["secret"]);
    let step = Timestamp::now().0.unsigned_abs() / 30_000;
    let code = totp::code_of(&secret, step).unwrap();
    let confirmed = door.post_as(&access, "/users/me/totp/confirm", json!({ "code": code })).await;
    let login = json!({ "email": "lovelace@example.com", "password": "third password" });
    for wrong in [true, false] {
        let ticket = text(&door.post("/users/login", login.clone()).await["mfa"]["ticket"]);
        if wrong {
            door.fail("/users/login/mfa", json!({ "ticket": ticket, "code": code })).await;
        }
        let code = &confirmed["recoveryCodes"][usize::from(wrong)];
        door.post("/users/login/mfa", json!({ "ticket": ticket, "code": code })).await;
    }

    // Sessions and streams.
    let first = text(&ada["refreshToken"]);
    let mut current = first.clone();
    for _ in 0..2 {
        let next = door.post_as("", "/users/refresh", json!({ "refreshToken": current })).await;
        current = text(&next["refreshToken"]);
    }
    let ticket = text(&door.post_as(&access, "/realtime/tickets", json!({})).await["ticket"]);
    let stream = door.http.get(format!("{}/realtime/sse/_users?ticket={ticket}", door.url)).send().await;
    assert_eq!(stream.unwrap().status(), 200);
    let stream = door.http.get(format!("{}/realtime/sse/_users?ticket={ticket}x", door.url)).send().await;
    assert_eq!(stream.unwrap().status(), 401);
    door.fail("/users/refresh", json!({ "refreshToken": first })).await;
    door.fail("/users/refresh", json!({ "refreshToken": "rt_nonsense" })).await;
    let (status, _) = door.ask(&access, Method::GET, "/users/me", Value::Null).await;
    assert_eq!(status, 401);

    // Invitations, and a sign-up that conceals.
    let invite = json!({ "email": "bob@example.com", "roles": ["editor"] });
    door.post_as(SECRET_KEY, "/users/invitations", invite).await;
    let token = token_of(&door.mail("invitation", "bob@example.com").await);
    let accept = json!({ "email": "bob@example.com", "password": "bobs password", "invitation": token });
    door.post("/users", accept).await;
    let guest = door.post("/users/anonymous", json!({})).await;
    let upgrade = json!({ "email": "guest@example.com", "password": "guests password" });
    door.post_as(&text(&guest["accessToken"]), "/users/me/upgrade", upgrade).await;

    // A provider that fails at first.
    let settings = json!({ "issuer": provider.url, "clientId": CLIENT, "clientSecret": CLIENT_SECRET });
    let settings = json!({ "oauth": { "acme": settings }, "signup": { "conceal": true } });
    let (status, answer) = door.ask(SECRET_KEY, Method::PATCH, "/settings", settings).await;
    assert_eq!(status, 200, "{answer}");
    door.post("/users", json!({ "email": "carol@example.com", "password": "carols password" })).await;
    let token = token_of(&door.mail("confirm-sign-up", "carol@example.com").await);
    door.post("/users", json!({ "invitation": token, "password": "carols password" })).await;
    for is_good in [false, true] {
        let path = path_with("/users/oauth/acme/start", &[("redirectTo", PAGE)]);
        let (_, begun) = door.ask(PUBLISHABLE_KEY, Method::GET, &path, Value::Null).await;
        let person = json!({ "sub": "1815", "email": "dave@example.com", "email_verified": true });
        let url = begun["data"]["url"].as_str().unwrap_or_else(|| panic!("{begun}"));
        let returned = provider.approve(url, &person);
        let body = json!({ "code": returned.code, "state": returned.state });
        if is_good {
            door.post("/users/oauth/acme", body).await;
        } else {
            let id_token = format!("eyJhbGciOiJub25lIn0.{}", "e30".repeat(20));
            provider.behaviour().id_token = Some(id_token);
            door.fail("/users/oauth/acme", body).await;
            provider.behaviour().id_token = None;
        }
    }
}

/// Lets every write about users fail in the database, which the log tells.
async fn fail(door: &mut Door, database_url: &str) {
    let open = json!({ "signup": { "conceal": false } });
    assert_eq!(door.ask(SECRET_KEY, Method::PATCH, "/settings", open).await.0, 200);
    let mut sql = Sql::connect(database_url).await;
    sql.execute("ALTER TABLE sessions RENAME TO lost").await;
    door.fail("/users", json!({ "email": "erin@example.com", "password": "erins password" })).await;
    door.fail("/users/login", json!({ "email": "bob@example.com", "password": "bobs password" })).await;
    sql.execute("ALTER TABLE lost RENAME TO sessions").await;
}

/// Whether a line has a text that stands alone: six digits are no part of a longer number.
fn has(line: &str, secret: &str) -> bool {
    line.match_indices(secret).any(|(start, found)| {
        let is_part = |neighbour: Option<char>| neighbour.is_some_and(|c| c.is_ascii_alphanumeric());
        found.len() > 8
            || !(is_part(line[..start].chars().next_back())
                || is_part(line[start + found.len()..].chars().next()))
    })
}

on_each_database! {
    async fn the_log_of_every_account_flow_has_no_secret_and_no_address(database) {
        let (database_url, _directory) = fresh_database(database).await;
        let logs = tempfile::tempdir().unwrap();
        let path = logs.path().join("log");
        let mut command = process::command(&["serve"]);
        command.stderr(std::fs::File::create(&path).unwrap());
        command.envs([
            ("COIR_LOG", "debug,coir=trace"),
            ("COIR_PRIVATE_PROVIDERS", "127.0.0.1"),
            ("COIR_RATE_LIMITS", "off"),
        ]);
        let url = database_url.clone();
        let server = tokio::task::spawn_blocking(move || Process::spawn(command, &url, "127.0.0.1:0"));
        let mut server = server.await.unwrap();
        let provider = TestProvider::start().await;
        let mut door = Door { http: Client::new(), url: server.url.clone(), secrets: BTreeSet::new() };
        live(&mut door, &provider).await;
        let mut sql = Sql::connect(&database_url).await;
        for query in SECRET_COLUMNS {
            door.secrets.extend(sql.texts(query).await);
        }
        fail(&mut door, &database_url).await;
        let terminate = move || assert!(server.terminate());
        tokio::task::spawn_blocking(terminate).await.unwrap();

        let log = std::fs::read_to_string(&path).unwrap();
        // It is the log of what happened.
        assert!(log.contains("a mail (reset-password) waits in the outbox"), "{log}");
        assert!(log.contains(" failed: "), "{log}");
        assert!(door.secrets.len() > 60, "{:?}", door.secrets);
        let mut told_secrets = Vec::new();
        for line in log.lines() {
            // The time has six digits behind the second.
            let told = line.split_once(' ').map_or(line, |(_, told)| told).to_lowercase();
            let secrets = door.secrets.iter().filter(|secret| has(&told, &secret.to_lowercase()));
            told_secrets.extend(secrets.map(|secret| format!("{secret} in: {line}")));
            let parts = ["rt_", "eyj", "$argon2", "sk_", "pk_", "otpauth", "@example.com", "%40example", "horse"];
            let parts = parts.iter().filter(|part| told.contains(**part));
            told_secrets.extend(parts.map(|part| format!("{part} in: {line}")));
        }
        assert!(told_secrets.is_empty(), "{told_secrets:#?}");
        eprintln!("{} lines of log, {} secrets", log.lines().count(), door.secrets.len());
    }
}
