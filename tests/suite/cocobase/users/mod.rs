//! Users through the client libraries' door: the exact requests of Flutter and Go, and what no library shows.

mod account;
mod by_mail;
mod list;
mod providers;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp};

const PASSWORD: &str = "correct horse";

/// Sends a request as the libraries do: the key in `x-api-key`, a user's token beside it, and a content type in any case. A null
/// body is none.
async fn call(app: &TestApp, (key, token): (&str, &str), method: Method, path: &str, body: Value) -> Answer {
    let request = app.http.request(method, format!("{}{path}", app.url));
    let mut request = request.header("Content-Type", "application/json");
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    app.send(if body.is_null() { request } else { request.body(body.to_string()) }).await
}

async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    call(app, (PUBLISHABLE_KEY, ""), Method::POST, path, body).await
}

async fn sign_up(app: &TestApp, email: &str, data: Value) -> (String, Value) {
    let body = json!({ "email": email, "password": PASSWORD, "data": data });
    read(&post(app, "/auth-collections/signup", body).await)
}

/// Reads the token and the user of an answer to a sign-in.
fn read(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let members: Vec<_> = answer.body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["access_token", "token_type", "user"], "there is no refresh token");
    (answer.body["access_token"].as_str().unwrap().to_owned(), answer.body["user"].clone())
}

/// Returns the status and the `detail` of an error.
fn detail(answer: &Answer) -> (u16, &str) {
    let members: Vec<_> = answer.body.as_object().unwrap_or_else(|| panic!("{answer:?}")).keys().collect();
    assert_eq!(members, ["detail"], "{answer:?}");
    (answer.status.as_u16(), answer.body["detail"].as_str().unwrap())
}
