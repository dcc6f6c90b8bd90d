//! What strangers may use up of the limits that others need: nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, digits_of,
    keys::run,
    limits::{client_at, post_by},
    mails, post,
    second_factor::Guarded,
    sign_up, token_of,
};
use crate::harness::{Answer, TestApp, on_both_databases};

const ADA: &str = "ada@example.com";

async fn send_code(app: &TestApp, client: &reqwest::Client) {
    assert_eq!(post_by(app, client, "/users/login/code", json!({ "email": ADA })).await.status, 200);
}

async fn try_code(app: &TestApp, client: &reqwest::Client, code: &str) -> Answer {
    post_by(app, client, "/users/login/code/verify", json!({ "email": ADA, "code": code })).await
}

/// Returns six digits that are in none of the mails.
fn wrong_digits(mails: &[Value]) -> String {
    let sent: Vec<_> = mails.iter().map(digits_of).collect();
    (0..).map(|n| format!("{n:06}")).find(|digits| !sent.contains(digits)).unwrap()
}

on_both_databases! {
    /// Each of the networks has one password in the queue at any time.
    async fn many_networks_that_flood_the_sign_in_keep_nobody_out(app: &TestApp, |config| {
        config.limits.unauthenticated = Some(4096);
    }) {
        sign_up(app, ADA).await;
        sign_up(app, "bob@example.com").await;
        let owner = client_at(3);
        let right = json!({ "email": ADA, "password": PASSWORD });
        assert_eq!(post_by(app, &owner, "/users/login", right.clone()).await.status, 200);
        let (is_over, is_full) = (AtomicBool::new(false), tokio::sync::Notify::new());
        let flood = join_all((100..190).map(|address| {
            let (is_over, is_full) = (&is_over, &is_full);
            async move {
                let client = client_at(address);
                let mut n = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let body = json!({ "email": format!("nobody{n}@{address}.example.com"), "password": "wrong horse" });
                    post_by(app, &client, "/users/login", body).await;
                    is_full.notify_one();
                    n += 1;
                }
            }
        }));
        let honest = async {
            for _ in 0..120 {
                is_full.notified().await;
            }
            // Who was there before does not wait for all of them.
            for _ in 0..5 {
                let answer = post_by(app, &owner, "/users/login", right.clone()).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            // Who comes for the first time waits for a turn.
            let bob = json!({ "email": "bob@example.com", "password": PASSWORD });
            let answer = post_by(app, &client_at(4), "/users/login", bob).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            is_over.store(true, Ordering::Relaxed);
        };
        join(flood, honest).await;
    }

    async fn wrong_passwords_at_the_same_time_are_counted_before_they_are_compared(app: &TestApp) {
        sign_up(app, ADA).await;
        let (stranger, owner) = (client_at(2), client_at(3));
        let wrong = json!({ "email": ADA, "password": "wrong horse" });
        let tries = (0..40).map(|_| post_by(app, &stranger, "/users/login", wrong.clone()));
        let answers = join_all(tries).await;
        let compared = answers.iter().filter(|answer| answer.status == 401).count();
        assert_eq!(compared, 10, "the others are refused");
        assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 401 | 429)), "{answers:?}");
        // Many right ones at the same time only wait for each other.
        let right = json!({ "email": ADA, "password": PASSWORD });
        for answer in join_all((0..15).map(|_| post_by(app, &owner, "/users/login", right.clone()))).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    async fn a_stranger_who_asks_for_codes_keeps_nobody_from_getting_one(app: &TestApp) {
        sign_up(app, ADA).await;
        let (stranger, owner) = (client_at(2), client_at(3));
        for _ in 0..6 {
            send_code(app, &stranger).await;
        }
        mails(app, 5).await;
        send_code(app, &owner).await;
        let sent = mails(app, 6).await;
        let signed = try_code(app, &owner, &digits_of(&sent[5])).await;
        assert_eq!(signed.status, 200, "{signed:?}");
        // Many networks together have a bound, which does not hold where the user has a session.
        for address in 10..16 {
            for _ in 0..5 {
                send_code(app, &client_at(address)).await;
            }
        }
        send_code(app, &owner).await;
        let begun = std::time::Instant::now();
        let count = loop {
            let count = app.get("/outbox").await.data().as_array().unwrap().len();
            if count >= 6 + 21 || begun.elapsed().as_secs() > 20 {
                break count;
            }
        };
        assert_eq!(count, 6 + 21);
    }

    async fn wrong_codes_of_a_stranger_wear_nobody_elses_code_out(app: &TestApp) {
        sign_up(app, ADA).await;
        let (stranger, owner) = (client_at(2), client_at(3));
        send_code(app, &owner).await;
        let sent = mails(app, 1).await;
        let wrong = wrong_digits(&sent);
        for _ in 0..6 {
            assert_eq!(try_code(app, &stranger, &wrong).await.error(), (401, "UNAUTHORIZED"));
        }
        for _ in 0..4 {
            assert_eq!(try_code(app, &owner, &wrong).await.error(), (401, "UNAUTHORIZED"));
        }
        // Those elsewhere have tried it five times, so it is good only where it was asked for.
        let code = digits_of(&sent[0]);
        assert_eq!(try_code(app, &client_at(4), &code).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(try_code(app, &owner, &code).await.status, 200);
        // A newer one is good elsewhere, too.
        send_code(app, &owner).await;
        let code = digits_of(&mails(app, 2).await[1]);
        assert_eq!(try_code(app, &client_at(4), &code).await.status, 200);
    }

    /// The sum of all guesses is bounded, however many networks ask and guess. A link is good all the same.
    async fn many_networks_guess_few_codes(app: &TestApp) {
        sign_up(app, ADA).await;
        let mut count = 0;
        for address in 10..16 {
            let stranger = client_at(address);
            for _ in 0..3 {
                send_code(app, &stranger).await;
                count += 1;
                mails(app, count).await;
            }
            let wrong = wrong_digits(&mails(app, count).await);
            for _ in 0..7 {
                assert_eq!(try_code(app, &stranger, &wrong).await.error(), (401, "UNAUTHORIZED"));
            }
        }
        let tries = "SELECT CAST(SUM(tries + other_tries) AS BIGINT) FROM codes";
        let tried = app.sql().await.integers(tries).await[0];
        assert!((25..=35).contains(&tried), "{tried}");
        let late = client_at(20);
        send_code(app, &late).await;
        let mail = mails(app, count + 1).await.remove(count);
        assert_eq!(try_code(app, &late, &digits_of(&mail)).await.error(), (401, "UNAUTHORIZED"));
        let link = json!({ "token": token_of(&mail) });
        Signed::read(&post_by(app, &late, "/users/login/code/verify", link).await);
        // From here on there is a session at this address.
        send_code(app, &late).await;
        let mail = mails(app, count + 2).await.remove(count + 1);
        assert_eq!(try_code(app, &late, &digits_of(&mail)).await.status, 200);
    }

    async fn tickets_of_a_second_factor_do_not_drive_those_of_others_out(app: &TestApp) {
        let mut ada = Guarded::new(app).await;
        let body = json!({ "email": ADA, "password": PASSWORD });
        let ticket = async |client: &reqwest::Client| {
            let answer = post_by(app, client, "/users/login", body.clone()).await;
            answer.data()["mfa"]["ticket"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
        };
        let (thief, owner) = (client_at(2), client_at(3));
        let own = ticket(&owner).await;
        let first = ticket(&thief).await;
        for address in [2, 2, 2, 2, 2, 2, 10, 11, 12, 13, 14, 15] {
            ticket(&client_at(address)).await;
        }
        let answer = async |client: &reqwest::Client, ticket: &str, code: String| {
            post_by(app, client, "/users/login/mfa", json!({ "ticket": ticket, "code": code })).await
        };
        assert_eq!(answer(&thief, &first, ada.code()).await.error(), (401, "UNAUTHORIZED"));
        Signed::read(&answer(&owner, &own, ada.code()).await);
    }

    async fn the_first_code_of_an_app_is_guessed_a_few_times_only(app: &TestApp) {
        let ada = sign_up(app, ADA).await;
        app.patch(&format!("/users/{}", ada.id), json!({ "emailVerified": true })).await;
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/totp", Value::Null).await.status, 200);
        let guess = async || {
            ask(app, &ada.access, Method::POST, "/users/me/totp/confirm", json!({ "code": "000000" })).await
        };
        for _ in 0..10 {
            assert_eq!(guess().await.error(), (403, "FORBIDDEN"));
        }
        assert_eq!(guess().await.error(), (429, "RATE_LIMITED"));
        // Another secret is no way around.
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/totp", Value::Null).await.status, 200);
        assert_eq!(guess().await.error(), (429, "RATE_LIMITED"));
    }

    /// Each of these doors says whether an address is taken.
    async fn no_door_says_without_limit_whether_an_address_is_taken(app: &TestApp) {
        sign_up(app, ADA).await;
        let asker = client_at(2);
        let bob = json!({ "email": "bob@example.com", "password": PASSWORD });
        let bob = Signed::read(&post_by(app, &asker, "/users", bob).await);
        let guest = Signed::read(&post_by(app, &asker, "/users/anonymous", json!({})).await);
        join_all((0..110).map(|_| post_by(app, &asker, "/users/anonymous", json!({})))).await;
        for (token, method, path, body) in [
            (&bob, Method::PATCH, "/auth-collections/user", json!({ "email": ADA })),
            (&guest, Method::POST, "/users/me/upgrade", json!({ "email": ADA, "password": PASSWORD })),
        ] {
            let by = async |client: &reqwest::Client| {
                let request = client.request(method.clone(), format!("{}{path}", app.url));
                app.send(request.bearer_auth(&token.access).json(&body)).await
            };
            let answer = by(&asker).await;
            assert_eq!(answer.status, 429, "{path}: {answer:?}");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            let answer = by(&client_at(3)).await;
            assert!(matches!(answer.status.as_u16(), 400 | 409), "{path}: {answer:?}");
        }
        // What has no address is one's own profile.
        let request = asker.patch(format!("{}/auth-collections/user", app.url)).bearer_auth(&bob.access);
        assert_eq!(app.send(request.json(&json!({ "data": { "name": "Bob" } }))).await.status, 200);
    }

    async fn a_key_without_the_scope_of_users_shows_nothing_of_an_account(app: &TestApp) {
        let ada = sign_up(app, ADA).await;
        let narrow = run(app, &["keys", "create", "publishable", "--scope", "documents:read"]).await;
        for path in ["/users/me", "/users/me/sessions", "/users/me/identities", "/auth-collections/user"] {
            let request = app.request_as(&ada.access, Method::GET, path);
            assert_eq!(app.send(request).await.status, 200, "{path}");
            let request = app.request_as(&ada.access, Method::GET, path).header("x-api-key", &narrow);
            assert_eq!(app.send(request).await.status, 403, "{path}");
        }
        // No door says whether a password is right.
        for (method, path, body) in [
            (Method::DELETE, "/users/me", json!({ "password": "wrong horse" })),
            (Method::POST, "/users/me/totp", json!({ "password": "wrong horse" })),
            (Method::POST, "/users/me/password", json!({ "current": "wrong horse", "new": "another horse" })),
            (Method::POST, "/users/me/email", json!({ "email": "bob@example.com", "password": "wrong horse" })),
        ] {
            let request = app.request_as(&ada.access, method, path).header("x-api-key", &narrow);
            let answer = app.send(request.json(&body)).await;
            let message = answer.body.to_string();
            assert!(answer.status == 403 && message.contains("scope `users`"), "{path}: {answer:?}");
        }
        assert_eq!(post(app, "/users/login", json!({ "email": ADA, "password": PASSWORD })).await.status, 200);
    }
}
