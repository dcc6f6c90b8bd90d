//! Users whom a server has shut out.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, digits_of, foreign, mails, post,
    providers::{ada, assert_refused, enter, local, provide},
    refresh, sign_in, sign_up, status_of,
    streams::{Streams, ticket},
};
use crate::harness::{
    Database, PUBLISHABLE_KEY, TestApp, on_both_databases,
    provider::{TestKey, TestProvider, merged},
};

on_both_databases! {
    async fn a_user_whom_a_server_disables_gets_in_nowhere_until_it_enables_them(app: &TestApp) {
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        let path = format!("/users/{}", ada.id);
        let login = json!({ "email": "ada@example.com", "password": PASSWORD });
        post(app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        let digits = digits_of(&mails(app, 1).await[0]);
        type Body = fn(bool) -> Value;
        let ways: [(&str, Body); 2] = [
            ("PATCH", |is_disabled| json!({ "disabled": is_disabled })),
            ("PUT", |is_disabled| json!({ "email": "ada@example.com", "disabled": is_disabled })),
        ];
        for (method, body) in ways {
            let set = async |is_disabled| {
                let path = format!("/collections/_users/{}", ada.id);
                app.send(app.request(method.parse().unwrap(), &path).json(&body(is_disabled))).await
            };
            let ada = sign_in(app, "ada@example.com").await;
            let streams = Streams::open(app, &ada).await;
            let stream_ticket = ticket(app, &ada.access).await;
            let disabled = set(true).await;
            assert_eq!(disabled.data()["data"]["disabled"], true, "{disabled:?}");
            app.create("posts", json!({ "late": true })).await;
            streams.must_end().await;
            assert_eq!(status_of(app, &ada.access).await, 401);
            assert_eq!(refresh(app, &ada.refresh).await.status, 401);
            let stream = app.http.get(format!("{}/realtime/sse/posts?ticket={stream_ticket}", app.url));
            assert_eq!(app.send(stream).await.status, 401);
            let refused = post(app, "/users/login", login.clone()).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"));
            assert!(refused.body["error"]["message"].as_str().unwrap().contains("disabled"));
            let wrong = json!({ "email": "ada@example.com", "password": "wrong horse" });
            assert_eq!(post(app, "/users/login", wrong).await.error(), (401, "UNAUTHORIZED"), "nobody else is told");
            let code = json!({ "email": "ada@example.com", "code": digits });
            assert_eq!(post(app, "/users/login/code/verify", code).await.error(), (401, "UNAUTHORIZED"));
            let library = app.request_as(PUBLISHABLE_KEY, Method::POST, "/auth-collections/login").json(&login);
            assert_eq!(app.send(library).await.status, 403);
            // What follows needs nothing of the user.
            assert_eq!(post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await.status, 200);
            let found = app.get("/users?disabled=true").await;
            assert_eq!(found.data().as_array().unwrap().len(), 1);
            let enabled = set(false).await;
            assert_eq!(enabled.data()["data"].get("disabled"), None);
            assert_eq!(status_of(app, &ada.access).await, 401, "the session stays ended");
            sign_in(app, "ada@example.com").await;
        }
        assert_eq!(mails(app, 1).await.len(), 1, "a disabled user gets no mails");
        for body in [json!({ "disabled": "yes" }), json!({ "disabled": null })] {
            assert_eq!(app.patch(&path, body).await.error(), (400, "INVALID_BODY"));
        }
        let bob = sign_up(app, "bob@example.com").await;
        for (path, body) in [
            (format!("/users/{}", bob.id), json!({ "disabled": true })),
            ("/users/me".to_owned(), json!({ "disabled": true })),
            (path, json!({ "disabled": true })),
        ] {
            let status = ask(app, &bob.access, Method::PATCH, &path, body).await.status.as_u16();
            assert!([400, 403, 404].contains(&status), "{path}: {status}");
        }
    }

    async fn a_disabled_user_gets_in_neither_by_a_provider_nor_by_a_token_of_another_issuer(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        foreign::take(app, json!({ "issuer": provider.url })).await;
        // One is known to the provider, and another one has a verified address that is a user's.
        let known = Signed::read(&enter(app, &provider, &ada()).await);
        let joining = sign_up(app, "bob@example.com").await;
        let bob = merged(&ada(), &json!({ "sub": "1843", "email": "bob@example.com" }));
        let by_token = |subject: &str, roles: &[&str]| {
            let change = json!({ "sub": subject, "realm": { "roles": roles } });
            foreign::token(&provider.url, TestKey::Ec, &change)
        };
        let held = by_token("1852", &["editor"]);
        let holder = foreign::me(app, &held).await.data()["id"].as_str().unwrap().to_owned();
        for id in [&known.id, &joining.id, &holder] {
            assert_eq!(app.patch(&format!("/users/{id}"), json!({ "disabled": true })).await.status, 200);
        }
        for person in [ada(), bob.clone()] {
            assert_refused(&enter(app, &provider, &person).await, (403, "FORBIDDEN"), "disabled");
        }
        assert_eq!(app.sql().await.integers("SELECT COUNT(*) FROM identities").await, [2], "nothing is linked");
        // The one who was seen before, with a token that says something new, and of who came by the provider.
        for token in [&held, &by_token("1852", &["admin"]), &by_token("1815", &["editor"])] {
            foreign::assert_hint(&foreign::me(app, token).await, "this user is disabled");
        }
        let roles = app.get(&format!("/users/{holder}")).await.data()["data"]["roles"].clone();
        assert_eq!(roles, json!(["editor"]), "a refused token changes nothing");
        for id in [&known.id, &joining.id, &holder] {
            assert_eq!(app.patch(&format!("/users/{id}"), json!({ "disabled": false })).await.status, 200);
        }
        assert_eq!(Signed::read(&enter(app, &provider, &ada()).await).id, known.id);
        assert_eq!(Signed::read(&enter(app, &provider, &bob).await).id, joining.id);
        assert_eq!(foreign::me(app, &held).await.data()["id"], holder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_disabled_on_one_node_is_shut_out_on_the_other() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    app.create("posts", json!({})).await;
    for round in 0..5 {
        let ada = sign_up(&app, &format!("ada{round}@example.com")).await;
        let streams = Streams::open(&other, &ada).await;
        let path = format!("/users/{}", ada.id);
        assert_eq!(app.patch(&path, json!({ "disabled": true })).await.status, 200);
        join_all((0..20).map(|n| app.create("posts", json!({ "late": n })))).await;
        streams.must_end().await;
        assert_eq!(status_of(&other, &ada.access).await, 401);
    }
    other.stop_without_looking().await;
    app.stop().await;
}
