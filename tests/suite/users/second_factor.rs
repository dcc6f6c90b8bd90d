//! Second factors: codes of an authenticator app, and recovery codes.

use coir::{auth::totp, domain::Timestamp};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, digits_of, mails, post, refresh, sign_in, sign_up, status_of, token_of};
use crate::harness::{Answer, PUBLISHABLE_KEY, TestApp, on_both_databases};

/// A user with an app and recovery codes.
pub struct Guarded {
    pub user: Signed,
    secret: String,
    pub recovery: Vec<String>,
    /// The step of the last code that was used.
    step: u64,
}

impl Guarded {
    /// Signs a user up, whose second factor is on.
    pub async fn new(app: &TestApp) -> Self {
        let user = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", user.id), json!({ "emailVerified": true })).await;
        let begun = ask(app, &user.access, Method::POST, "/users/me/totp", Value::Null).await;
        let secret = begun.data()["secret"].as_str().unwrap().to_owned();
        // The step before the one of now, so that two codes are left. It may end on the way.
        let (step, confirmed) = loop {
            let step = current_step() - 1;
            let code = json!({ "code": totp::code_of(&secret, step).unwrap() });
            let confirmed = ask(app, &user.access, Method::POST, "/users/me/totp/confirm", code).await;
            if confirmed.status == 200 || current_step() == step + 1 {
                break (step, confirmed);
            }
        };
        let codes = confirmed.data()["recoveryCodes"].as_array().unwrap();
        let recovery = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
        Self { user, secret, recovery, step }
    }

    /// Returns a code that was not used yet. There are two of them.
    pub fn code(&mut self) -> String {
        self.step += 1;
        totp::code_of(&self.secret, self.step).unwrap()
    }

    /// Returns a code that is none of those of now.
    pub fn wrong_code(&self) -> String {
        let near: Vec<_> = (current_step() - 2..=current_step() + 2)
            .filter_map(|step| totp::code_of(&self.secret, step))
            .collect();
        (0..10).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }
}

fn current_step() -> u64 {
    Timestamp::now().0.unsigned_abs() / 30_000
}

/// Signs in by the password, and returns the ticket.
async fn ticket(app: &TestApp) -> String {
    ticket_in(&post(app, "/users/login", json!({ "email": "ada@example.com", "password": PASSWORD })).await)
}

fn ticket_in(answer: &Answer) -> String {
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    assert_eq!(answer.data()["mfa"]["methods"], json!(["totp"]), "{answer:?}");
    assert_eq!(answer.data().get("accessToken"), None, "{answer:?}");
    answer.data()["mfa"]["ticket"].as_str().unwrap().to_owned()
}

async fn answer(app: &TestApp, ticket: &str, code: &str) -> Answer {
    post(app, "/users/login/mfa", json!({ "ticket": ticket, "code": code })).await
}

on_both_databases! {
    async fn a_sign_in_takes_the_second_factor_once_it_is_confirmed(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", ada.id), json!({ "emailVerified": true })).await;
        let other = sign_in(app, "ada@example.com").await;
        let confirm = async |code: &str| {
            ask(app, &ada.access, Method::POST, "/users/me/totp/confirm", json!({ "code": code })).await
        };
        assert_eq!(confirm("123456").await.error(), (409, "CONFLICT"));
        let begun = ask(app, &ada.access, Method::POST, "/users/me/totp", json!({ "password": PASSWORD })).await;
        let (secret, url) = (begun.data()["secret"].as_str().unwrap(), begun.data()["url"].as_str().unwrap());
        assert_eq!((begun.header("cache-control"), secret.len()), ("no-store", 32));
        let expected = format!(
            "otpauth://totp/127%2E0%2E0%2E1:ada%40example%2Ecom?secret={secret}&issuer=127%2E0%2E0%2E1&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(url, expected);
        // It is not on yet.
        sign_in(app, "ada@example.com").await;
        let step = current_step();
        let code = totp::code_of(secret, step).unwrap();
        let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
        assert_eq!(confirm(&wrong).await.status, 403);
        let confirmed = confirm(&format!("{} {}", &code[..3], &code[3..])).await;
        assert_eq!(confirmed.data()["recoveryCodes"].as_array().unwrap().len(), 10, "{confirmed:?}");
        // Sessions that began without it have ended.
        assert_eq!((status_of(app, &ada.access).await, status_of(app, &other.access).await), (200, 401));
        assert_eq!(refresh(app, &other.refresh).await.status, 401);
        let again = ask(app, &ada.access, Method::POST, "/users/me/totp", Value::Null).await;
        assert_eq!(again.error(), (409, "CONFLICT"));
        let ticket = ticket(app).await;
        let code = totp::code_of(secret, step + 1).unwrap();
        let signed = Signed::read(&answer(app, &ticket, &code).await);
        assert_eq!((&signed.id, status_of(app, &signed.access).await), (&ada.id, 200));
        assert_eq!(refresh(app, &signed.refresh).await.status, 200);
        // What is secret is not in the document.
        let shown = app.get(&format!("/users/{}", ada.id)).await.body.to_string();
        assert!(!shown.contains(secret) && !shown.contains("totp"), "{shown}");
    }

    async fn an_authenticator_app_shows_the_name_of_the_product(app: &TestApp) {
        assert_eq!(app.patch("/settings", json!({ "mails": { "product": "Ada & Co" } })).await.status, 200);
        let ada = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", ada.id), json!({ "emailVerified": true })).await;
        let begun = ask(app, &ada.access, Method::POST, "/users/me/totp", json!({ "password": PASSWORD })).await;
        let url = begun.data()["url"].as_str().unwrap();
        assert!(url.starts_with("otpauth://totp/Ada%20%26%20Co:ada") && url.contains("&issuer=Ada%20%26%20Co&"), "{url}");
    }

    async fn a_code_and_a_ticket_are_good_once(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        let (first, second) = (ticket(app).await, ticket(app).await);
        let code = ada.code();
        let tries = join_all([&first, &second].map(|ticket| answer(app, ticket, &code))).await;
        let mut statuses: Vec<_> = tries.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "one code at two places at the same time");
        let used = if tries[0].status == 200 { &first } else { &second };
        let other = if tries[0].status == 200 { &second } else { &first };
        let next = ada.code();
        assert_eq!(answer(app, used, &next).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(answer(app, other, &next).await.status, 200);
        for bad in ["", "x", &ada.user.access, &ada.user.refresh] {
            assert_eq!(answer(app, bad, "123456").await.error(), (401, "UNAUTHORIZED"));
        }
    }

    async fn a_ticket_is_nothing_else_and_nothing_else_is_a_ticket(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        let ticket = ticket(app).await;
        let link = json!({ "token": ticket });
        for (path, body, error) in [
            ("/users/login/code/verify", link.clone(), (401, "UNAUTHORIZED")),
            ("/users/email/verify", link, (403, "FORBIDDEN")),
            ("/users/password/reset", json!({ "token": ticket, "password": "battery staple" }), (403, "FORBIDDEN")),
        ] {
            assert_eq!(post(app, path, body).await.error(), error, "{path}");
        }
        post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        let token = token_of(&mails(app, 1).await[0]);
        assert_eq!(answer(app, &token, &ada.code()).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(status_of(app, &ticket).await, 401);
    }

    async fn a_recovery_code_is_good_once(app: &TestApp) {
        let ada = Guarded::new(app).await;
        let code = ada.recovery[3].to_uppercase().replace('-', " ");
        assert_eq!(answer(app, &ticket(app).await, &code).await.status, 200);
        assert_eq!(answer(app, &ticket(app).await, &code).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(answer(app, &ticket(app).await, &ada.recovery[4]).await.status, 200);
    }

    async fn wrong_codes_are_counted_for_the_ticket_and_for_the_user(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        let wrong = ada.wrong_code();
        let first = ticket(app).await;
        for _ in 0..5 {
            assert_eq!(answer(app, &first, &wrong).await.error(), (401, "UNAUTHORIZED"));
        }
        assert_eq!(answer(app, &first, &ada.recovery[0]).await.error(), (401, "UNAUTHORIZED"), "the ticket is worn");
        let second = ticket(app).await;
        for _ in 0..4 {
            assert_eq!(answer(app, &second, &wrong).await.error(), (401, "UNAUTHORIZED"));
        }
        assert_eq!(answer(app, &ticket(app).await, &wrong).await.error(), (401, "UNAUTHORIZED"));
        // Ten of them: not even a good one is looked at.
        let code = ada.code();
        assert_eq!(answer(app, &ticket(app).await, &code).await.error(), (429, "RATE_LIMITED"));
        assert_eq!(answer(app, &ticket(app).await, &ada.recovery[0]).await.status, 200);
    }

    async fn a_sign_in_by_mail_takes_the_second_factor_too(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        post(app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        let digits = digits_of(&mails(app, 1).await[0]);
        let body = json!({ "email": "ada@example.com", "code": digits });
        let ticket = ticket_in(&post(app, "/users/login/code/verify", body).await);
        let code = ada.code();
        assert_eq!(Signed::read(&answer(app, &ticket, &code).await).id, ada.user.id);
        // A new password does not turn it off.
        post(app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        let token = token_of(&mails(app, 2).await[1]);
        let body = json!({ "token": token, "password": PASSWORD });
        assert_eq!(post(app, "/users/password/reset", body).await.status, 200);
        let sign_in = post(app, "/users/login", json!({ "email": "ada@example.com", "password": PASSWORD })).await;
        ticket_in(&sign_in);
    }

    async fn a_second_factor_is_turned_off_by_one_more_code(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        let (wrong, code) = (json!({ "code": ada.wrong_code() }), ada.code());
        let remove = async |body: Value| ask(app, &ada.user.access, Method::DELETE, "/users/me/totp", body).await;
        assert_eq!(remove(wrong).await.error(), (403, "FORBIDDEN"));
        assert_eq!(remove(json!({ "code": code })).await.status, 200);
        assert_eq!(remove(json!({ "code": "123456" })).await.error(), (409, "CONFLICT"));
        assert_eq!(sign_in(app, "ada@example.com").await.id, ada.user.id);
    }

    async fn a_server_turns_off_the_second_factor_of_a_user(app: &TestApp) {
        let ada = Guarded::new(app).await;
        let path = format!("/users/{}/totp", ada.user.id);
        for token in [PUBLISHABLE_KEY, &ada.user.access] {
            assert_eq!(ask(app, token, Method::DELETE, &path, Value::Null).await.error(), (403, "FORBIDDEN"));
        }
        assert_eq!(app.delete(&path).await.status, 200);
        assert_eq!(status_of(app, &ada.user.access).await, 200);
        sign_in(app, "ada@example.com").await;
        assert_eq!(app.delete(&path).await.error(), (409, "CONFLICT"));
        assert_eq!(app.delete("/users/nobody/totp").await.error(), (404, "DOCUMENT_NOT_FOUND"));
    }
}
