//! Sessions: refresh tokens that rotate, and the ends of sessions.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, post, refresh, sign_in, sign_up, status_of};
use crate::harness::{PUBLISHABLE_KEY, TestApp, on_both_databases};

on_both_databases! {
    async fn a_refresh_token_gives_the_next_one_and_the_same_one_to_all_tabs(app: &TestApp) {
        let mut current = sign_up(app, "ada@example.com").await;
        for _ in 0..5 {
            let all = join_all((0..10).map(|_| refresh(app, &current.refresh))).await;
            let mut tokens: Vec<_> = all.iter().map(|answer| Signed::read(answer).refresh).collect();
            tokens.dedup();
            assert_eq!(tokens.len(), 1, "every tab has the same next token");
            assert_ne!(tokens[0], current.refresh);
            current = Signed::read(&all[0]);
            assert_eq!(status_of(app, &current.access).await, 200);
        }
        // A key may stand beside it, and an expired user token as well.
        let request = app.request_as(PUBLISHABLE_KEY, Method::POST, "/users/refresh");
        let answer = app.send(request.json(&json!({ "refreshToken": current.refresh }))).await;
        assert_eq!(answer.status, 200);
        let request = app.request_as("a.b.c", Method::POST, "/users/refresh");
        let next = Signed::read(&answer).refresh;
        assert_eq!(app.send(request.json(&json!({ "refreshToken": next }))).await.status, 200);
    }

    async fn a_session_that_was_ended_is_refused_from_the_answer_on(app: &TestApp) {
        for _ in 0..30 {
            let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
            assert_eq!(status_of(app, &guest.access).await, 200);
            let ended = ask(app, &guest.access, Method::POST, "/users/logout", Value::Null).await;
            assert_eq!(ended.status, 200);
            assert_eq!(status_of(app, &guest.access).await, 401);
        }
    }

    async fn an_older_refresh_token_ends_the_session(app: &TestApp) {
        let stolen = sign_up(app, "ada@example.com").await;
        let other = sign_in(app, "ada@example.com").await;
        let second = Signed::read(&refresh(app, &stolen.refresh).await);
        let third = Signed::read(&refresh(app, &second.refresh).await);
        let answer = refresh(app, &stolen.refresh).await;
        assert_eq!(answer.error(), (401, "UNAUTHORIZED"));
        for token in [&second.refresh, &third.refresh, &stolen.refresh] {
            assert_eq!(refresh(app, token).await.error(), (401, "UNAUTHORIZED"));
        }
        for token in [&stolen.access, &second.access, &third.access] {
            assert_eq!(status_of(app, token).await, 401);
        }
        assert_eq!(status_of(app, &other.access).await, 200, "the other session goes on");
    }

    async fn a_token_that_nobody_gave_out_ends_nothing(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let mut forged = ada.refresh.clone();
        forged.replace_range(60..61, if &forged[60..61] == "A" { "B" } else { "A" });
        for token in [forged.as_str(), "rt_", "", "rt_x", &ada.access] {
            let answer = refresh(app, token).await;
            assert_eq!(answer.error(), (401, "UNAUTHORIZED"), "{token}");
        }
        assert_eq!(refresh(app, &ada.refresh).await.status, 200);
    }

    async fn sessions_are_listed_and_ended_one_by_one(app: &TestApp) {
        let first = sign_up(app, "ada@example.com").await;
        let second = sign_in(app, "ada@example.com").await;
        let bob = sign_up(app, "bob@example.com").await;
        let list = async |token: &str| {
            ask(app, token, Method::GET, "/users/me/sessions", Value::Null).await.data().as_array().unwrap().clone()
        };
        let sessions = list(&second.access).await;
        assert_eq!(sessions.len(), 2);
        let id_of = |is_current: bool| {
            let found = sessions.iter().find(|session| session["current"] == is_current).unwrap();
            assert_eq!((&found["method"], &found["address"]), (&json!("password"), &json!("127.0.0.1")));
            found["id"].as_str().unwrap().to_owned()
        };
        let other = format!("/users/me/sessions/{}", id_of(false));
        let strangers = ask(app, &bob.access, Method::DELETE, &other, Value::Null).await;
        assert_eq!(strangers.error(), (404, "NOT_FOUND"));
        assert_eq!(status_of(app, &first.access).await, 200);
        assert_eq!(ask(app, &second.access, Method::DELETE, &other, Value::Null).await.status, 200);
        assert_eq!((status_of(app, &first.access).await, status_of(app, &second.access).await), (401, 200));
        assert_eq!(refresh(app, &first.refresh).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(ask(app, &second.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        assert_eq!(status_of(app, &second.access).await, 401);
        assert_eq!(refresh(app, &second.refresh).await.error(), (401, "UNAUTHORIZED"));
    }

    async fn a_new_password_ends_the_other_sessions(app: &TestApp) {
        let first = sign_up(app, "ada@example.com").await;
        let second = sign_in(app, "ada@example.com").await;
        let change = async |body| ask(app, &second.access, Method::POST, "/users/me/password", body).await;
        let wrong = json!({ "current": "wrong horse", "new": "battery staple" });
        assert_eq!(change(wrong).await.error(), (403, "FORBIDDEN"));
        let short = json!({ "current": PASSWORD, "new": "short" });
        assert_eq!(change(short).await.error(), (400, "INVALID_BODY"));
        assert_eq!(change(json!({ "new": "battery staple" })).await.error(), (403, "FORBIDDEN"));
        let good = json!({ "current": PASSWORD, "new": "battery staple" });
        assert_eq!(change(good).await.status, 200);
        assert_eq!((status_of(app, &first.access).await, status_of(app, &second.access).await), (401, 200));
        let old = json!({ "email": "ada@example.com", "password": PASSWORD });
        assert_eq!(post(app, "/users/login", old).await.error(), (401, "UNAUTHORIZED"));
        let new = json!({ "email": "ada@example.com", "password": "battery staple" });
        assert_eq!(post(app, "/users/login", new).await.status, 200);
    }

    async fn a_server_signs_a_user_out_everywhere(app: &TestApp) {
        let (first, second) = (sign_up(app, "ada@example.com").await, sign_in(app, "ada@example.com").await);
        assert_eq!(app.post(&format!("/users/{}/logout", first.id), Value::Null).await.status, 200);
        assert_eq!((status_of(app, &first.access).await, status_of(app, &second.access).await), (401, 401));
        assert_eq!(app.post("/users/nobody/logout", Value::Null).await.error(), (404, "DOCUMENT_NOT_FOUND"));
    }

    async fn a_user_has_at_most_a_hundred_sessions(app: &TestApp) {
        let mut signed = vec![sign_up(app, "ada@example.com").await];
        for _ in 0..101 {
            signed.push(sign_in(app, "ada@example.com").await);
        }
        let last = signed.last().unwrap();
        let sessions = ask(app, &last.access, Method::GET, "/users/me/sessions", Value::Null).await;
        assert_eq!(sessions.data().as_array().unwrap().len(), 100);
        assert_eq!(status_of(app, &signed[0].access).await, 401, "the oldest one has ended");
        assert_eq!(status_of(app, &signed[50].access).await, 200);
    }
}

/// Two nodes on one database.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_on_one_node_has_ended_on_the_other() {
    let app = TestApp::start(crate::harness::Database::Postgres).await;
    let other = app.start_second_node().await;
    let ada = sign_up(&app, "ada@example.com").await;
    assert_eq!(status_of(&other, &ada.access).await, 200);
    assert_eq!(ask(&app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
    let begun = std::time::Instant::now();
    while status_of(&other, &ada.access).await == 200 {
        assert!(begun.elapsed().as_secs() < 5, "the other node takes the token for good");
    }
    other.stop_without_looking().await;
    app.stop().await;
}
