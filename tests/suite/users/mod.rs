//! Users: accounts, sessions and tokens.

mod accounts;
mod addresses;
mod advice;
mod audit;
mod disabled;
mod doors;
mod doubts;
mod expiry;
mod foreign;
mod invitations;
pub mod keys;
pub mod limits;
mod linking;
mod logs;
mod mails;
mod nodes;
mod outbox;
mod own_ends;

mod provider_settings;
mod providers;
mod requests;
mod second_factor;
mod secrets;
mod servers;
mod sessions;
mod strangers;
pub mod streams;
mod tabs;
mod taken_over;
mod templates;
mod token_algorithms;
mod tokens;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp};

/// The password of every user that these tests create.
pub const PASSWORD: &str = "correct horse";

/// A user who is signed in.
#[derive(Clone, Debug)]
pub struct Signed {
    pub id: String,
    pub access: String,
    pub refresh: String,
}

impl Signed {
    /// Reads the answer to a sign-up, a sign-in or a refresh.
    pub fn read(answer: &Answer) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        let data = answer.data();
        Self {
            id: text(&data["user"]["id"]),
            access: text(&data["accessToken"]),
            refresh: text(&data["refreshToken"]),
        }
    }
}

/// Sends a request with the publishable key alone.
pub async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    app.send(app.request_as(PUBLISHABLE_KEY, Method::POST, path).json(&body)).await
}

/// Sends a request as a user. A null body is none.
pub async fn ask(app: &TestApp, token: &str, method: Method, path: &str, body: Value) -> Answer {
    let request = app.request_as(token, method, path);
    app.send(if body.is_null() { request } else { request.json(&body) }).await
}

/// Creates a user with [`PASSWORD`].
pub async fn sign_up(app: &TestApp, email: &str) -> Signed {
    Signed::read(&post(app, "/users", json!({ "email": email, "password": PASSWORD })).await)
}

/// Signs a user in with [`PASSWORD`].
pub async fn sign_in(app: &TestApp, email: &str) -> Signed {
    Signed::read(&post(app, "/users/login", json!({ "email": email, "password": PASSWORD })).await)
}

/// Waits until so many mails wait in the outbox, and returns them, the oldest first.
pub async fn mails(app: &TestApp, count: usize) -> Vec<Value> {
    let begun = std::time::Instant::now();
    loop {
        let mut mails = app.get("/outbox").await.data().as_array().unwrap().clone();
        if mails.len() >= count {
            mails.reverse();
            assert_eq!(mails.len(), count, "{mails:?}");
            return mails;
        }
        assert!(begun.elapsed().as_secs() < 20, "only {mails:?}");
        tokio::task::yield_now().await;
    }
}

/// Returns the token in the link of a mail.
pub fn token_of(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    text.split_once("&token=")
        .unwrap_or_else(|| panic!("{mail}"))
        .1
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

/// Returns the six digits in a mail.
pub fn digits_of(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    text.split_once("Your code is ").unwrap_or_else(|| panic!("{mail}")).1[..6].to_owned()
}

/// Exchanges a refresh token, without a key.
pub async fn refresh(app: &TestApp, token: &str) -> Answer {
    let request = app.http.post(format!("{}/users/refresh", app.url));
    app.send(request.json(&json!({ "refreshToken": token }))).await
}

/// Asks with a token who the user is, and returns the status.
pub async fn status_of(app: &TestApp, token: &str) -> u16 {
    ask(app, token, Method::GET, "/users/me", Value::Null).await.status.as_u16()
}
