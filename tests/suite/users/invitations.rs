//! Invitations, and sign-ups that tell nobody whether an address is taken.

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, mails, post, sign_in, sign_up, token_of};
use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, on_both_databases};

fn accept(email: &str, token: &str) -> Value {
    json!({ "email": email, "password": PASSWORD, "profile": { "name": "Ada" }, "invitation": token })
}

/// An answer without what differs between any two answers.
fn shown(answer: &Answer) -> (u16, Value, Vec<String>) {
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    (answer.status.as_u16(), answer.body.clone(), names)
}

async fn set(app: &TestApp, signup: Value) {
    assert_eq!(app.patch("/settings", json!({ "signup": signup })).await.status, 200);
}

on_both_databases! {
    async fn an_invitation_makes_one_account_with_its_roles(app: &TestApp) {
        set(app, json!({ "mode": "invitation", "domains": ["example.org"] })).await;
        let invite = json!({ "email": "Ada@example.com", "roles": ["editor"], "profile": { "team": "red", "name": "A." } });
        let first = app.post("/users/invitations", invite.clone()).await;
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(first.data()["email"], "ada@example.com");
        let second = app.post("/users/invitations", invite).await;
        let sent = mails(app, 2).await;
        assert!(sent.iter().all(|mail| mail["kind"] == "invitation" && mail["to"] == "ada@example.com"));
        let listed = app.get("/users/invitations").await.data().clone();
        assert_eq!(listed, json!([second.data()]), "the second replaces the first");
        let token = token_of(&sent[1]);
        for (email, token) in [
            ("ada@example.com", token_of(&sent[0])),
            ("ada@example.com", "nonsense".to_owned()),
            ("eve@example.com", token.clone()),
        ] {
            let refused = post(app, "/users", accept(email, &token)).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"), "{email} {token}");
        }
        let race = (0..10).map(|_| post(app, "/users", accept("ada@example.com", &token)));
        let answers = futures_util::future::join_all(race).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!((made.len(), refused.len()), (1, 9), "{answers:?}");
        let data = json!({
            "email": "ada@example.com", "emailVerified": true, "roles": ["editor"],
            "profile": { "team": "red", "name": "Ada" },
        });
        assert_eq!(made[0].data()["user"]["data"], data);
        assert_eq!(sign_in(app, "ada@example.com").await.id, Signed::read(made[0]).id);
        assert_eq!(app.get("/users/invitations").await.data(), &json!([]));
        let taken = app.post("/users/invitations", json!({ "email": "ada@example.com" })).await;
        assert_eq!(taken.error(), (409, "CONFLICT"));
    }

    async fn an_invitation_is_withdrawn_and_only_servers_invite(app: &TestApp) {
        let made = app.post("/users/invitations", json!({ "email": "ada@example.com" })).await;
        let token = token_of(&mails(app, 1).await[0]);
        let path = format!("/users/invitations/{}", made.data()["id"].as_str().unwrap());
        for (method, path) in [
            (Method::POST, "/users/invitations"),
            (Method::GET, "/users/invitations"),
            (Method::DELETE, &path),
        ] {
            let body = if method == Method::POST { json!({ "email": "eve@example.com" }) } else { Value::Null };
            let refused = ask(app, PUBLISHABLE_KEY, method.clone(), path, body).await;
            assert_eq!(refused.error(), (403, "FORBIDDEN"), "{method} {path}");
        }
        assert_eq!(app.delete(&path).await.status, 200);
        assert_eq!(app.delete(&path).await.error(), (404, "NOT_FOUND"));
        assert_eq!(post(app, "/users", accept("ada@example.com", &token)).await.error(), (403, "FORBIDDEN"));
        for bad in [json!({ "email": "ada" }), json!({ "email": "a@b.c", "roles": "editor" }), json!({ "mail": "a@b.c" })] {
            assert_eq!(app.post("/users/invitations", bad.clone()).await.error(), (400, "INVALID_BODY"), "{bad}");
        }
        set(app, json!({ "mode": "closed" })).await;
        let closed = app.post("/users/invitations", json!({ "email": "ada@example.com" })).await;
        assert_eq!(closed.error(), (403, "FORBIDDEN"));
    }

    async fn a_concealed_sign_up_tells_nobody_whether_an_address_is_taken(app: &TestApp) {
        let owner = sign_up(app, "taken@example.com").await;
        set(app, json!({ "conceal": true })).await;
        let account = |email: &str| json!({ "email": email, "password": "another horse", "profile": { "n": 1 } });
        let free = post(app, "/users", account("free@example.com")).await;
        let taken = post(app, "/users", account("taken@example.com")).await;
        assert_eq!(shown(&free), shown(&taken));
        assert_eq!((free.status.as_u16(), free.data()), (201, &json!({ "confirm": "mail" })));
        let sent = mails(app, 2).await;
        let to = |email: &str| sent.iter().find(|mail| mail["to"] == email).unwrap();
        assert_eq!(to("taken@example.com")["kind"], "address-taken");
        assert_eq!(to("free@example.com")["kind"], "confirm-sign-up");
        // Neither can sign in with the new password, which would tell.
        for email in ["free@example.com", "taken@example.com"] {
            let body = json!({ "email": email, "password": "another horse" });
            assert_eq!(post(app, "/users/login", body).await.error(), (401, "UNAUTHORIZED"), "{email}");
        }
        let confirm = json!({ "invitation": token_of(to("free@example.com")), "password": PASSWORD });
        let signed = post(app, "/users", confirm.clone()).await;
        let data = json!({ "email": "free@example.com", "emailVerified": true, "roles": [], "profile": {} });
        assert_eq!(signed.data()["user"]["data"], data, "{signed:?}");
        assert_eq!(post(app, "/users", confirm).await.error(), (403, "FORBIDDEN"));
        // Another address of a user tells nothing, either.
        for email in ["taken@example.com", "other@example.com"] {
            let body = json!({ "email": email, "password": PASSWORD });
            let token = Signed::read(&signed).access;
            let answer = ask(app, &token, Method::POST, "/users/me/email", body).await;
            assert_eq!(answer.data(), &json!({}), "{email}");
        }
        // What would have to tell is refused.
        let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
        let library = app.http.post(format!("{}/auth-collections/signup", app.url));
        let library = library.header("x-api-key", PUBLISHABLE_KEY);
        for email in ["taken@example.com", "new@example.com"] {
            let upgrade = ask(app, &guest.access, Method::POST, "/users/me/upgrade", account(email)).await;
            assert_eq!(upgrade.status.as_u16() / 100, 4, "{upgrade:?}");
            let account = json!({ "email": email, "password": "another horse" });
            let upgrade = ask(app, &guest.access, Method::POST, "/users/me/upgrade", account.clone()).await;
            assert_eq!(upgrade.error(), (403, "FORBIDDEN"));
            assert_eq!(app.send(library.try_clone().unwrap().json(&account)).await.status, 403);
        }
        assert_eq!(sign_in(app, "taken@example.com").await.id, owner.id);
    }

    /// A stranger signs up with another one's address again and again, before its owner does.
    async fn nothing_that_a_stranger_chose_outlives_the_link_of_a_concealed_sign_up(app: &TestApp) {
        set(app, json!({ "conceal": true })).await;
        for n in 0..6 {
            let account = json!({ "email": "ada@example.com", "password": "another horse", "profile": { "n": n } });
            assert_eq!(post(app, "/users", account).await.status, 201);
        }
        // Ada, whose own sign-up is one too many in this hour.
        let own = post(app, "/users", json!({ "email": "ada@example.com", "password": PASSWORD })).await;
        assert_eq!((own.status.as_u16(), own.data()), (201, &json!({ "confirm": "mail" })));
        // Who has no password in mind needs none yet.
        assert_eq!(post(app, "/users", json!({ "email": "last@example.com" })).await.status, 201);
        let sent = mails(app, 6).await;
        let links: Vec<_> = sent.iter().filter(|mail| mail["to"] == "ada@example.com").map(token_of).collect();
        assert_eq!(links.len(), 5, "{sent:?}");
        // The link alone makes no account, and is not used up by such a request.
        let verify = post(app, "/users/email/verify", json!({ "token": links[2] })).await;
        assert_eq!(verify.error(), (403, "FORBIDDEN"));
        let short = json!({ "invitation": links[2], "password": "short" });
        assert_eq!(post(app, "/users", short).await.error(), (400, "INVALID_BODY"));
        let other = json!({ "invitation": links[2], "password": PASSWORD, "email": "eve@example.com" });
        assert_eq!(post(app, "/users", other).await.error(), (403, "FORBIDDEN"));
        let body = json!({ "invitation": links[2], "password": PASSWORD, "profile": { "name": "Ada" } });
        let signed = post(app, "/users", body).await;
        let data = json!({ "email": "ada@example.com", "emailVerified": true, "roles": [], "profile": { "name": "Ada" } });
        assert_eq!((signed.status.as_u16(), &signed.data()["user"]["data"]), (201, &data), "{signed:?}");
        assert_eq!(sign_in(app, "ada@example.com").await.id, Signed::read(&signed).id);
        let wrong = json!({ "email": "ada@example.com", "password": "another horse" });
        assert_eq!(post(app, "/users/login", wrong).await.error(), (401, "UNAUTHORIZED"));
        for link in links {
            let again = json!({ "invitation": link, "password": "another horse" });
            assert_eq!(post(app, "/users", again).await.error(), (403, "FORBIDDEN"), "the other links are spent");
        }
        assert_eq!(app.get("/users/invitations").await.data(), &json!([]), "a sign-up is no invitation");
    }

    async fn a_concealed_sign_up_obeys_the_settings_of_the_time_of_its_link(app: &TestApp) {
        set(app, json!({ "conceal": true })).await;
        post(app, "/users", json!({ "email": "ada@example.com" })).await;
        let body = json!({ "invitation": token_of(&mails(app, 1).await[0]), "password": PASSWORD });
        for settings in [json!({ "mode": "closed" }), json!({ "mode": "invitation" }), json!({ "mode": "open", "domains": ["example.org"] })] {
            set(app, settings.clone()).await;
            assert_eq!(post(app, "/users", body.clone()).await.error(), (403, "FORBIDDEN"), "{settings}");
        }
        set(app, json!({ "domains": [] })).await;
        assert_eq!(post(app, "/users", body).await.status, 201);
    }

    async fn nobody_gets_many_mails_about_sign_ups_that_are_not_theirs(app: &TestApp) {
        sign_up(app, "taken@example.com").await;
        set(app, json!({ "conceal": true })).await;
        for _ in 0..8 {
            let account = json!({ "email": "taken@example.com", "password": PASSWORD });
            assert_eq!(post(app, "/users", account).await.status, 201);
        }
        // It is the last one that is prepared.
        let last = json!({ "email": "last@example.com", "password": PASSWORD });
        assert_eq!(post(app, "/users", last).await.status, 201);
        let sent = mails(app, 6).await;
        assert_eq!(sent.iter().filter(|mail| mail["to"] == "taken@example.com").count(), 5);
    }
}
