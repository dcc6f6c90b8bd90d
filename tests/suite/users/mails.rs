//! What users do by mail: a new password, a verified and another address, and a sign-in by code.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Signed, ask, digits_of, mails, post, refresh, sign_in, sign_up, status_of, token_of};
use crate::harness::{TestApp, on_both_databases};

const NEW: &str = "battery staple";

async fn login(app: &TestApp, email: &str, password: &str) -> u16 {
    post(app, "/users/login", json!({ "email": email, "password": password })).await.status.as_u16()
}

async fn forgot(app: &TestApp, email: &str) {
    assert_eq!(post(app, "/users/password/forgot", json!({ "email": email })).await.status, 200);
}

async fn reset(app: &TestApp, token: &str, password: &str) -> u16 {
    let body = json!({ "token": token, "password": password });
    post(app, "/users/password/reset", body).await.status.as_u16()
}

async fn send_code(app: &TestApp, email: &str) {
    assert_eq!(post(app, "/users/login/code", json!({ "email": email })).await.status, 200);
}

async fn verify_code(app: &TestApp, email: &str, code: &str) -> crate::harness::Answer {
    post(app, "/users/login/code/verify", json!({ "email": email, "code": code })).await
}

async fn data_of(app: &TestApp, user: &Signed) -> Value {
    app.get(&format!("/users/{}", user.id)).await.data()["data"].clone()
}

/// Returns digits that are not these.
fn other_than(digits: &str) -> String {
    format!("{:06}", (digits.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// Makes everything that was made so far older.
async fn age(app: &TestApp, milliseconds: i64) {
    let sql = format!(
        "UPDATE codes SET created_at = created_at - {milliseconds}, expires_at = expires_at - {milliseconds}"
    );
    app.sql().await.execute(&sql).await;
}

on_both_databases! {
    async fn a_forgotten_password_is_replaced_by_a_link_that_is_good_once(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        forgot(app, "bob@example.com").await;
        forgot(app, " Ada@Example.com").await;
        let mail = mails(app, 1).await.remove(0);
        assert_eq!((&mail["kind"], &mail["to"]), (&json!("reset-password"), &json!("ada@example.com")));
        let token = token_of(&mail);
        let link = format!("{}/#coir=reset-password&token={token}", app.url);
        assert!(mail["text"].as_str().unwrap().contains(&link), "{mail}");
        assert_eq!(reset(app, &token, "short").await, 400);
        assert_eq!(reset(app, &token[1..], NEW).await, 403);
        assert_eq!(reset(app, &token, NEW).await, 200);
        let again = post(app, "/users/password/reset", json!({ "token": token, "password": PASSWORD })).await;
        assert_eq!(again.error(), (403, "FORBIDDEN"));
        assert_eq!((status_of(app, &ada.access).await, refresh(app, &ada.refresh).await.status.as_u16()), (401, 401));
        assert_eq!((login(app, "ada@example.com", PASSWORD).await, login(app, "ada@example.com", NEW).await), (401, 200));
        assert_eq!(data_of(app, &ada).await["emailVerified"], true);
        // An answer about nobody's address came as soon, and no mail follows it.
        assert_eq!(mails(app, 1).await.len(), 1);
    }

    async fn a_link_for_a_new_password_is_good_for_an_hour_and_not_for_anything_else(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        forgot(app, "ada@example.com").await;
        let token = token_of(&mails(app, 1).await[0]);
        assert_eq!(post(app, "/users/email/verify", json!({ "token": token })).await.error(), (403, "FORBIDDEN"));
        let link = json!({ "token": token });
        assert_eq!(post(app, "/users/login/code/verify", link).await.error(), (401, "UNAUTHORIZED"));
        age(app, 59 * 60_000).await;
        forgot(app, "ada@example.com").await;
        let second = token_of(&mails(app, 2).await[1]);
        age(app, 61_000).await;
        assert_eq!(reset(app, &token, NEW).await, 403);
        assert_eq!(reset(app, &second, NEW).await, 200);
    }

    async fn a_new_password_makes_older_links_worthless(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        forgot(app, "ada@example.com").await;
        forgot(app, "ada@example.com").await;
        let sent = mails(app, 2).await;
        let change = json!({ "current": PASSWORD, "new": NEW });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/password", change).await.status, 200);
        for mail in &sent {
            assert_eq!(reset(app, &token_of(mail), PASSWORD).await, 403);
        }
    }

    async fn an_address_gets_a_few_mails_an_hour_and_a_used_code_does_not_count(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        for count in 1..=5 {
            forgot(app, "ada@example.com").await;
            mails(app, count).await;
        }
        forgot(app, "ada@example.com").await;
        // The next mail of another kind comes after where that one would have been.
        send_code(app, "ada@example.com").await;
        let sent = mails(app, 6).await;
        assert_eq!(sent[5]["kind"], "sign-in");
        age(app, 61 * 60_000).await;
        forgot(app, "ada@example.com").await;
        assert_eq!(reset(app, &token_of(&mails(app, 7).await[6]), NEW).await, 200);
    }

    async fn an_address_is_verified_by_its_link(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let send = async || ask(app, &ada.access, Method::POST, "/users/email/verify/send", Value::Null).await;
        assert_eq!(send().await.status, 200);
        let token = token_of(&mails(app, 1).await[0]);
        assert_eq!(data_of(app, &ada).await["emailVerified"], false);
        let verify = async || ask(app, &ada.access, Method::POST, "/users/email/verify", json!({ "token": token })).await;
        assert_eq!(verify().await.status, 200);
        assert_eq!(data_of(app, &ada).await["emailVerified"], true);
        assert_eq!(verify().await.error(), (403, "FORBIDDEN"));
        // Who signed up with the password keeps it.
        assert_eq!(login(app, "ada@example.com", PASSWORD).await, 200);
        assert_eq!((status_of(app, &ada.access).await, send().await.status.as_u16()), (200, 200));
        let guest = Signed::read(&post(app, "/users/anonymous", json!({})).await);
        let answer = ask(app, &guest.access, Method::POST, "/users/email/verify/send", Value::Null).await;
        assert_eq!(answer.error(), (409, "CONFLICT"));
        assert_eq!(mails(app, 1).await.len(), 1);
    }

    async fn a_link_that_went_to_an_older_address_verifies_nothing(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        ask(app, &ada.access, Method::POST, "/users/email/verify/send", Value::Null).await;
        let token = token_of(&mails(app, 1).await[0]);
        app.patch(&format!("/users/{}", ada.id), json!({ "email": "lovelace@example.com" })).await;
        assert_eq!(post(app, "/users/email/verify", json!({ "token": token })).await.error(), (403, "FORBIDDEN"));
        assert_eq!(data_of(app, &ada).await["emailVerified"], false);
    }

    async fn an_address_changes_when_the_new_one_is_confirmed_and_the_old_one_is_told(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        sign_up(app, "bob@example.com").await;
        let change = async |email: &str, password: &str| {
            let body = json!({ "email": email, "password": password });
            ask(app, &ada.access, Method::POST, "/users/me/email", body).await
        };
        assert_eq!(change("lovelace@example.com", "wrong horse").await.error(), (403, "FORBIDDEN"));
        assert_eq!(change("bob@example.com", PASSWORD).await.error(), (409, "CONFLICT"));
        assert_eq!(change("Lovelace@example.com", PASSWORD).await.status, 200);
        let mail = mails(app, 1).await.remove(0);
        assert_eq!(mail["to"], "lovelace@example.com");
        assert_eq!(data_of(app, &ada).await["email"], "ada@example.com");
        forgot(app, "ada@example.com").await;
        let old_link = token_of(&mails(app, 2).await[1]);
        let link = json!({ "token": token_of(&mail) });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/email/verify", link).await.status, 200);
        let data = data_of(app, &ada).await;
        assert_eq!((&data["email"], &data["emailVerified"]), (&json!("lovelace@example.com"), &json!(true)));
        let told = mails(app, 3).await.remove(2);
        assert_eq!((&told["to"], &told["kind"]), (&json!("ada@example.com"), &json!("email-changed")));
        assert_eq!(reset(app, &old_link, NEW).await, 403, "the old address has no say any more");
        assert_eq!(login(app, "lovelace@example.com", PASSWORD).await, 200);
        assert_eq!(login(app, "ada@example.com", PASSWORD).await, 401);
    }

    async fn an_address_that_somebody_took_meanwhile_is_a_conflict(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let body = json!({ "email": "new@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/email", body).await.status, 200);
        let token = token_of(&mails(app, 1).await[0]);
        sign_up(app, "new@example.com").await;
        assert_eq!(post(app, "/users/email/verify", json!({ "token": token })).await.error(), (409, "CONFLICT"));
        assert_eq!(data_of(app, &ada).await["email"], "ada@example.com");
    }

    async fn a_code_and_a_link_sign_a_user_in_once(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        app.patch(&format!("/users/{}", ada.id), json!({ "emailVerified": true })).await;
        send_code(app, "bob@example.com").await;
        send_code(app, "ada@example.com").await;
        let mail = mails(app, 1).await.remove(0);
        let digits = digits_of(&mail);
        let spaced = format!(" {} {}", &digits[..3], &digits[3..]);
        let answer = verify_code(app, "ADA@example.com", &spaced).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(Signed::read(&answer).id, ada.id);
        assert_eq!(status_of(app, &Signed::read(&answer).access).await, 200);
        assert_eq!(verify_code(app, "ada@example.com", &digits).await.error(), (401, "UNAUTHORIZED"));
        let link = json!({ "token": token_of(&mail) });
        assert_eq!(post(app, "/users/login/code/verify", link).await.error(), (401, "UNAUTHORIZED"));
        send_code(app, "ada@example.com").await;
        let link = json!({ "token": token_of(&mails(app, 2).await[1]) });
        let answer = post(app, "/users/login/code/verify", link.clone()).await;
        assert_eq!(Signed::read(&answer).id, ada.id);
        assert_eq!(post(app, "/users/login/code/verify", link).await.error(), (401, "UNAUTHORIZED"));
        for body in [json!({}), json!({ "code": "123456" }), json!({ "token": "a", "code": "123456" })] {
            assert_eq!(post(app, "/users/login/code/verify", body).await.error(), (400, "INVALID_BODY"));
        }
        // The address was verified before, so password and sessions stay.
        assert_eq!((login(app, "ada@example.com", PASSWORD).await, status_of(app, &ada.access).await), (200, 200));
    }

    async fn a_code_can_be_guessed_five_times_and_its_link_is_good_all_the_same(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        send_code(app, "ada@example.com").await;
        let mail = mails(app, 1).await.remove(0);
        let digits = digits_of(&mail);
        for _ in 0..5 {
            let begun = Instant::now();
            let answer = verify_code(app, "ada@example.com", &other_than(&digits)).await;
            assert_eq!(answer.error(), (401, "UNAUTHORIZED"));
            assert!(begun.elapsed() >= Duration::from_millis(250));
        }
        assert_eq!(verify_code(app, "ada@example.com", &digits).await.error(), (401, "UNAUTHORIZED"));
        let begun = Instant::now();
        let nobodys = verify_code(app, "bob@example.com", &digits).await;
        assert_eq!((nobodys.error(), begun.elapsed() >= Duration::from_millis(250)), ((401, "UNAUTHORIZED"), true));
        let link = json!({ "token": token_of(&mail) });
        assert_eq!(Signed::read(&post(app, "/users/login/code/verify", link).await).id, ada.id);
    }

    async fn guesses_at_the_same_time_are_counted_too(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        send_code(app, "ada@example.com").await;
        let digits = digits_of(&mails(app, 1).await[0]);
        let wrong = other_than(&digits);
        let guesses = (0..40).map(|_| verify_code(app, "ada@example.com", &wrong));
        for answer in futures_util::future::join_all(guesses).await {
            assert_eq!(answer.error(), (401, "UNAUTHORIZED"));
        }
        assert_eq!(app.sql().await.integers("SELECT tries FROM codes").await, [5]);
        assert_eq!(verify_code(app, "ada@example.com", &digits).await.status, 401);
    }

    async fn a_code_is_good_for_ten_minutes(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        send_code(app, "ada@example.com").await;
        let mail = mails(app, 1).await.remove(0);
        age(app, 601_000).await;
        assert_eq!(verify_code(app, "ada@example.com", &digits_of(&mail)).await.error(), (401, "UNAUTHORIZED"));
        let link = json!({ "token": token_of(&mail) });
        assert_eq!(post(app, "/users/login/code/verify", link).await.error(), (401, "UNAUTHORIZED"));
    }

    /// Somebody signs up with another one's address, and waits.
    async fn the_owner_of_an_address_that_was_never_verified_takes_the_account_over(app: &TestApp) {
        let thief = sign_up(app, "ada@example.com").await;
        let second = sign_in(app, "ada@example.com").await;
        let body = json!({ "email": "thief@example.com", "password": PASSWORD });
        assert_eq!(ask(app, &thief.access, Method::POST, "/users/me/email", body).await.status, 200);
        let trap = token_of(&mails(app, 1).await[0]);
        send_code(app, "ada@example.com").await;
        let digits = digits_of(&mails(app, 2).await[1]);
        let ada = Signed::read(&verify_code(app, "ada@example.com", &digits).await);
        assert_eq!(ada.id, thief.id);
        assert_eq!((status_of(app, &thief.access).await, status_of(app, &second.access).await), (401, 401));
        assert_eq!(refresh(app, &second.refresh).await.status, 401);
        assert_eq!(login(app, "ada@example.com", PASSWORD).await, 401);
        assert_eq!(post(app, "/users/email/verify", json!({ "token": trap })).await.error(), (403, "FORBIDDEN"));
        assert_eq!(status_of(app, &ada.access).await, 200);
        let data = data_of(app, &ada).await;
        assert_eq!((&data["email"], &data["emailVerified"]), (&json!("ada@example.com"), &json!(true)));
        // She has no password, and signed in a moment ago.
        let set = ask(app, &ada.access, Method::POST, "/users/me/password", json!({ "new": NEW })).await;
        assert_eq!((set.status.as_u16(), login(app, "ada@example.com", NEW).await), (200, 200));
    }

    async fn what_a_user_asked_for_by_mail_goes_with_the_user(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        forgot(app, "ada@example.com").await;
        send_code(app, "ada@example.com").await;
        let sent = mails(app, 2).await;
        assert_eq!(app.delete(&format!("/users/{}", ada.id)).await.status, 200);
        assert_eq!(app.sql().await.integers("SELECT COUNT(*) FROM codes").await, [0]);
        let reset_mail = sent.iter().find(|mail| mail["kind"] == "reset-password").unwrap();
        assert_eq!(reset(app, &token_of(reset_mail), NEW).await, 403);
    }
}
