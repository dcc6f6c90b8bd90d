//! Rules of collections: who may read and write what.

mod access;
mod closed;
mod explain;
mod exposure;
mod masked_view;
mod masks;
mod of_users;
mod random;
mod reads;
mod recipes;
mod relations;
mod revocation;
mod settings;
mod streams;
mod table;
mod writes;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, PUBLISHABLE_KEY, TestApp},
    users::{Signed, ask},
};

/// Sets the rules of a collection, which is created if it is missing.
pub async fn set_rules(app: &TestApp, collection: &str, rules: Value) {
    app.post("/collections", json!({ "name": collection })).await;
    let answer = app.patch(&format!("/collections/{collection}/settings"), json!({ "rules": rules })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Sends a request with the publishable key alone. A null body is none.
pub async fn as_guest(app: &TestApp, method: Method, path: &str, body: Value) -> Answer {
    ask(app, PUBLISHABLE_KEY, method, path, body).await
}

/// Sends a request as a user, with the token alone.
pub async fn as_user(app: &TestApp, user: &Signed, method: Method, path: &str, body: Value) -> Answer {
    ask(app, &user.access, method, path, body).await
}

/// Returns the ids of the documents in an answer.
pub fn ids(answer: &Answer) -> Vec<&str> {
    let documents = answer.data().as_array().unwrap_or_else(|| panic!("{answer:?}"));
    documents.iter().map(|document| document["id"].as_str().unwrap()).collect()
}
