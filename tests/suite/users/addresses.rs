//! The addresses that a user may take: who gets a first one, how one is spelled, and how many mails go to it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, digits_of,
    linking::{link, mail_to},
    mails, post,
    providers::{data_of, local, provide},
    sign_up, token_of,
};
use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, on_both_databases, provider::TestProvider};

async fn guest(app: &TestApp) -> Signed {
    Signed::read(&post(app, "/users/anonymous", json!({})).await)
}

async fn set(app: &TestApp, signup: Value) {
    assert_eq!(app.patch("/settings", json!({ "signup": signup })).await.status, 200);
}

async fn ask_for(app: &TestApp, user: &Signed, email: &str, password: Option<&str>) -> Answer {
    let body = json!({ "email": email, "password": password });
    ask(app, &user.access, Method::POST, "/users/me/email", body).await
}

async fn by_library(app: &TestApp, user: &Signed, email: &str) -> u16 {
    let request = app.http.patch(format!("{}/auth-collections/user", app.url));
    let request = request.header("x-api-key", PUBLISHABLE_KEY).bearer_auth(&user.access);
    app.send(request.json(&json!({ "email": email }))).await.status.as_u16()
}

on_both_databases! {
    /// Guests of before the settings said so.
    async fn a_guest_gets_an_address_only_where_somebody_with_it_may_sign_up(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let (waiting, user) = (guest(app).await, sign_up(app, "ada@example.com").await);
        assert_eq!(ask_for(app, &waiting, "waiting@example.com", None).await.status, 200);
        let link_of_before = json!({ "token": token_of(&mail_to(app, "waiting@example.com", "change-email").await) });
        for (n, signup) in [
            json!({ "mode": "closed" }),
            json!({ "mode": "invitation" }),
            json!({ "mode": "open", "domains": ["example.org"] }),
        ].into_iter().enumerate() {
            set(app, json!({ "mode": "open", "domains": null })).await;
            let guest = guest(app).await;
            set(app, signup.clone()).await;
            let body = json!({ "email": "guest@example.com", "password": PASSWORD });
            let upgrade = ask(app, &guest.access, Method::POST, "/users/me/upgrade", body).await;
            assert_eq!(upgrade.error(), (403, "FORBIDDEN"), "{signup}");
            assert_eq!(ask_for(app, &guest, "guest@example.com", None).await.error(), (403, "FORBIDDEN"), "{signup}");
            assert_eq!(by_library(app, &guest, "guest@example.com").await, 403, "{signup}");
            let late = ask(app, &waiting.access, Method::POST, "/users/email/verify", link_of_before.clone()).await;
            assert_eq!(late.error(), (403, "FORBIDDEN"), "{signup}");
            let person = json!({ "sub": format!("{n}"), "email": format!("linked{n}@example.com"), "email_verified": true });
            assert_eq!(link(app, &provider, &guest, &person).await.status, 200);
            for one in [&guest, &waiting] {
                assert_eq!(data_of(app, &one.id).await["email"], Value::Null, "{signup}");
            }
        }
        // Who has an address takes another one, since they may be here already.
        set(app, json!({ "mode": "closed", "domains": null })).await;
        assert_eq!(ask_for(app, &user, "lovelace@example.com", Some(PASSWORD)).await.status, 200);
        assert_eq!(by_library(app, &user, "lovelace@example.com").await, 200);
        set(app, json!({ "mode": "open" })).await;
        let late = ask(app, &waiting.access, Method::POST, "/users/email/verify", link_of_before).await;
        assert_eq!(late.status, 200, "{late:?}");
    }

    async fn an_address_is_one_in_every_spelling(app: &TestApp) {
        for (spellings, stored) in [
            (["jose\u{301}@example.com", "jos\u{e9}@example.com", "JOS\u{c9}@example.com"], "jos\u{e9}@example.com"),
            (["ada@xn--exmple-cua.com", "ada@ex\u{e4}mple.com", "ada@exa\u{308}mple.com"], "ada@ex\u{e4}mple.com"),
        ] {
            let first = sign_up(app, spellings[0]).await;
            for email in spellings {
                let body = json!({ "email": email, "password": PASSWORD });
                assert_eq!(post(app, "/users", body.clone()).await.error(), (409, "CONFLICT"), "{email}");
                assert_eq!(Signed::read(&post(app, "/users/login", body).await).id, first.id, "{email}");
                let other = app.post("/collections/_users", json!({ "email": email })).await;
                assert_eq!(other.error(), (409, "CONFLICT"), "{email}");
                let path = crate::harness::path_with("/users", &[("email", email)]);
                assert_eq!(app.get(&path).await.data()[0]["data"]["email"], json!(stored), "{email}");
            }
        }
    }

    async fn an_address_that_cannot_be_mailed_is_taken_on_no_door(app: &TestApp) {
        let user = sign_up(app, "ada@example.com").await;
        let waiting = guest(app).await;
        for email in ["a..b@example.com", ".a@example.com", "ada@-example.com", "ada@example-.com", "ad\u{200b}a@example.com"] {
            let body = json!({ "email": email, "password": PASSWORD });
            let library = app.http.post(format!("{}/auth-collections/signup", app.url));
            let library = app.send(library.header("x-api-key", PUBLISHABLE_KEY).json(&body)).await;
            assert_eq!((library.status.as_u16(), by_library(app, &user, email).await), (400, 400), "{email}");
            for refused in [
                post(app, "/users", body.clone()).await,
                ask(app, &waiting.access, Method::POST, "/users/me/upgrade", body.clone()).await,
                ask_for(app, &user, email, Some(PASSWORD)).await,
                app.post("/users/invitations", json!({ "email": email })).await,
                app.post("/collections/_users", json!({ "email": email })).await,
                app.patch(&format!("/users/{}", user.id), json!({ "email": email })).await,
                post(app, "/users/password/forgot", json!({ "email": email })).await,
            ] {
                assert_eq!(refused.error(), (400, "INVALID_BODY"), "{email}");
            }
            assert_eq!(post(app, "/users/login", body).await.error(), (401, "UNAUTHORIZED"), "{email}");
        }
    }

    /// Rows that an older version wrote.
    async fn an_address_of_before_goes_on_in_its_spelling(app: &TestApp) {
        for (old, asked) in [
            ("jose\u{301}@example.com", "jos\u{e9}@example.com"),
            ("ada@xn--exmple-cua.com", "ada@ex\u{e4}mple.com"),
            ("a..b@example.com", "a..b@example.com"),
        ] {
            let user = sign_up(app, "new@example.com").await;
            let replaced = match app.config.database_url.starts_with("sqlite") {
                true => format!("jsonb(REPLACE(json(data), 'new@example.com', '{old}'))"),
                false => format!("REPLACE(CAST(data AS TEXT), 'new@example.com', '{old}')::json"),
            };
            let mut sql = app.sql().await;
            sql.execute(&format!("UPDATE credentials SET email = '{old}' WHERE user_id = '{}'", user.id)).await;
            sql.execute(&format!("UPDATE documents SET data = {replaced} WHERE id = '{}'", user.id)).await;
            let me = ask(app, &user.access, Method::PATCH, "/users/me", json!({ "profile": { "name": "Ada" } })).await;
            assert_eq!((me.status.as_u16(), &me.data()["data"]["email"]), (200, &json!(old)), "{me:?}");
            let changed = app.patch(&format!("/users/{}", user.id), json!({ "roles": ["editor"] })).await;
            assert_eq!((changed.status.as_u16(), &changed.data()["data"]["email"]), (200, &json!(old)), "{changed:?}");
            if asked != old {
                for email in [old, asked] {
                    let body = json!({ "email": email, "password": PASSWORD });
                    assert_eq!(Signed::read(&post(app, "/users/login", body.clone()).await).id, user.id, "{email}");
                    assert_eq!(post(app, "/users", body).await.error(), (409, "CONFLICT"), "{email}");
                }
                assert_eq!(Signed::read(&by_code_to(app, asked, old).await).id, user.id);
            }
            assert_eq!(app.delete(&format!("/users/{}", user.id)).await.status, 200);
        }
    }

    async fn asking_for_an_address_tells_nobody_whether_it_is_taken_and_mails_few(app: &TestApp) {
        sign_up(app, "taken@example.com").await;
        let eve = sign_up(app, "eve@example.com").await;
        let mallory = sign_up(app, "mallory@example.com").await;
        set(app, json!({ "conceal": true })).await;
        let mut statuses = Vec::new();
        for (user, email) in [(&eve, "taken@example.com"), (&mallory, "free@example.com")] {
            let mut own = Vec::new();
            for _ in 0..7 {
                own.push(ask_for(app, user, email, Some(PASSWORD)).await.status.as_u16());
            }
            statuses.push(own);
        }
        assert_eq!(statuses[0], statuses[1], "a taken address and a free one have the same answers");
        assert_eq!(statuses[0], [200, 200, 200, 200, 200, 429, 429]);
        let sent = mails(app, 10).await;
        assert_eq!(sent.iter().filter(|mail| mail["kind"] == "address-taken").count(), 5);
        // What they did keeps nobody else from the address.
        let ada = sign_up_open(app).await;
        assert_eq!(ask_for(app, &ada, "free@example.com", Some(PASSWORD)).await.status, 200);
        assert_eq!(mails(app, 11).await[10]["to"], "free@example.com");
    }

    async fn an_address_gets_a_bounded_number_of_mails_from_all_who_ask_for_it(app: &TestApp) {
        let mut sent = 0;
        for n in 0..7 {
            let user = sign_up(app, &format!("user{n}@example.com")).await;
            for _ in 0..5 {
                sent += usize::from(ask_for(app, &user, "ada@example.com", Some(PASSWORD)).await.status == 200);
            }
        }
        assert_eq!(sent, 30);
    }
}

/// Signs in by the code of a mail to `stored`.
async fn by_code_to(app: &TestApp, asked: &str, stored: &str) -> Answer {
    assert_eq!(post(app, "/users/login/code", json!({ "email": asked })).await.status, 200);
    let code = digits_of(&mail_to(app, stored, "sign-in").await);
    post(app, "/users/login/code/verify", json!({ "email": asked, "code": code })).await
}

async fn sign_up_open(app: &TestApp) -> Signed {
    set(app, json!({ "conceal": false })).await;
    let user = sign_up(app, "ada@example.com").await;
    set(app, json!({ "conceal": true })).await;
    user
}
