//! The keys with which users sign in, and what a token can do without one.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Signed, ask, refresh, sign_up, status_of, streams::socket};
use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, TestStream, on_both_databases, process};

/// Runs a command on the server's database, and returns the first word that it prints.
pub async fn run(app: &TestApp, arguments: &[&str]) -> String {
    let mut command = process::command(arguments);
    command.env("DATABASE_URL", &app.config.database_url);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap_or_default().to_owned()
}

async fn sign_up_with(app: &TestApp, key: &str, email: &str) -> Signed {
    let body = json!({ "email": email, "password": super::PASSWORD });
    Signed::read(&app.send(app.request_as(key, Method::POST, "/users").json(&body)).await)
}

async fn write(app: &TestApp, token: &str, key: Option<&str>) -> Answer {
    let mut request = app.request_as(token, Method::POST, "/collections/posts").json(&json!({ "n": 1 }));
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    app.send(request).await
}

on_both_databases! {
    async fn a_token_alone_can_do_what_the_key_can_with_which_its_session_began(app: &TestApp) {
        app.create("posts", json!({})).await;
        let narrow = run(app, &["keys", "create", "publishable", "--scope", "users,documents:read"]).await;
        let ada = sign_up_with(app, &narrow, "ada@example.com").await;
        assert_eq!(status_of(app, &ada.access).await, 200);
        assert_eq!(ask(app, &ada.access, Method::GET, "/collections/posts", Value::Null).await.status, 200);
        let refused = write(app, &ada.access, None).await;
        assert_eq!(refused.error(), (403, "FORBIDDEN"));
        assert!(refused.body["error"]["message"].as_str().unwrap().contains("documents:write"), "{refused:?}");
        assert_eq!(write(app, &ada.access, Some(PUBLISHABLE_KEY)).await.status, 201);
        let stream = ask(app, &ada.access, Method::GET, "/realtime/sse/posts", Value::Null).await;
        assert_eq!(stream.error(), (403, "FORBIDDEN"));
        // A refresh with another key beside it gives the session that key.
        let body = json!({ "refreshToken": ada.refresh });
        let next = Signed::read(&app.send(app.request(Method::POST, "/users/refresh").json(&body)).await);
        assert_eq!(write(app, &next.access, None).await.status, 201);
        // A server that signs a user in gives nobody a server's rights.
        let lists = ask(app, &next.access, Method::GET, "/users", Value::Null).await;
        assert_eq!(lists.data().as_array().unwrap().len(), 1);
        assert_eq!(ask(app, &next.access, Method::GET, "/outbox", Value::Null).await.error(), (403, "FORBIDDEN"));
        let wide = sign_up(app, "bob@example.com").await;
        assert_eq!(write(app, &wide.access, None).await.status, 201);
    }

    async fn a_token_alone_is_good_while_the_key_is_with_which_its_session_began(app: &TestApp) {
        app.create("posts", json!({})).await;
        let key = run(app, &["keys", "create", "publishable"]).await;
        let ada = sign_up_with(app, &key, "ada@example.com").await;
        let mut alone = socket(app, &ada.access).await;
        alone.subscribe("posts", json!({})).await;
        let request = app.request_as(&ada.access, Method::GET, "/realtime/sse/posts");
        let mut with_key = TestStream::open(request.header("x-api-key", PUBLISHABLE_KEY)).await;
        with_key.opened().await;
        run(app, &["keys", "revoke", &key]).await;
        assert_eq!(alone.next_error().await.0, "UNAUTHORIZED");
        assert_eq!(u16::from(alone.next_close().await.code), 1008);
        let refused = ask(app, &ada.access, Method::GET, "/users/me", Value::Null).await;
        assert_eq!(refused.error(), (401, "UNAUTHORIZED"));
        let hint = refused.body["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("key") && hint.contains("revoked"), "{hint}");
        // The session goes on with another key.
        assert_eq!(write(app, &ada.access, Some(PUBLISHABLE_KEY)).await.status, 201);
        assert_eq!(with_key.next_event().await.json()["event"], "created");
        assert_eq!(refresh(app, &ada.refresh).await.status, 200, "a refresh takes no key");
    }
}
