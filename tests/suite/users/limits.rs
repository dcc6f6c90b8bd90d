//! The limits of sign-in, sign-up, mail and refresh.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask,
    providers::{ada, begin, finish, local, provide, url_of},
    sign_up,
};
use crate::harness::{
    Answer, PUBLISHABLE_KEY, TestApp, on_both_databases,
    provider::{Returned, TestProvider},
};

/// A client whose connections come from another address of this machine.
pub fn client_at(last: u8) -> reqwest::Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    reqwest::Client::builder().local_address(address).build().unwrap()
}

/// Sends a request with the publishable key.
pub async fn post_by(app: &TestApp, client: &reqwest::Client, path: &str, body: Value) -> Answer {
    let request = client.post(format!("{}{path}", app.url)).header("x-api-key", PUBLISHABLE_KEY);
    app.send(request.json(&body)).await
}

/// Sends wrong passwords for an account from many addresses, until one that has sent few is refused.
async fn attack(app: &TestApp, email: &str) {
    let wrong = json!({ "email": email, "password": "wrong horse" });
    for address in 10..100 {
        let client = client_at(address);
        for _ in 0..5 {
            match post_by(app, &client, "/users/login", wrong.clone()).await.status.as_u16() {
                401 => {}
                status => return assert_eq!(status, 429),
            }
        }
    }
    panic!("the account has no bound");
}

on_both_databases! {
    async fn an_honest_user_signs_in_while_another_address_floods_the_sign_in(app: &TestApp, |config| {
        config.limits.unauthenticated = Some(4096);
    }) {
        sign_up(app, "ada@example.com").await;
        for path in ["/users/login", "/auth-collections/login"] {
            let (is_over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
            let flooder = client_at(2);
            let flood = join_all((0..60).map(|n| {
                let (is_over, refused, flooder) = (&is_over, &refused, &flooder);
                async move {
                    while !is_over.load(Ordering::Relaxed) {
                        let body = json!({ "email": format!("nobody{n}@example.com"), "password": "wrong horse" });
                        if post_by(app, flooder, path, body).await.status == 429 {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }));
            let honest = async {
                let client = client_at(3);
                while refused.load(Ordering::Relaxed) == 0 {
                    tokio::task::yield_now().await;
                }
                for _ in 0..20 {
                    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
                    let answer = post_by(app, &client, path, body).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
                is_over.store(true, Ordering::Relaxed);
            };
            futures_util::future::join(flood, honest).await;
        }
    }

    async fn wrong_passwords_are_bounded_and_a_stranger_locks_nobody_out(app: &TestApp) {
        sign_up(app, "ada@example.com").await;
        sign_up(app, "bob@example.com").await;
        let (stranger, owner) = (client_at(2), client_at(3));
        let wrong = json!({ "email": "ada@example.com", "password": "wrong horse" });
        for _ in 0..10 {
            let answer = post_by(app, &stranger, "/users/login", wrong.clone()).await;
            assert_eq!(answer.error(), (401, "UNAUTHORIZED"));
        }
        let right = json!({ "email": "ada@example.com", "password": PASSWORD });
        for path in ["/users/login", "/auth-collections/login"] {
            for body in [&wrong, &right] {
                let answer = post_by(app, &stranger, path, body.clone()).await;
                assert_eq!(answer.status, 429, "{answer:?}");
                let seconds = |name: &str| answer.header(name).parse::<u64>().unwrap();
                assert!((1..=30).contains(&seconds("retry-after")), "{answer:?}");
                assert_eq!((seconds("x-ratelimit-limit"), seconds("x-ratelimit-remaining")), (10, 0));
                assert!((270..=300).contains(&seconds("x-ratelimit-reset")), "{answer:?}");
            }
        }
        let answer = post_by(app, &stranger, "/users/login", right.clone()).await;
        assert_eq!(answer.error(), (429, "RATE_LIMITED"));
        // Another account from there, and the owner from elsewhere.
        let bob = json!({ "email": "bob@example.com", "password": PASSWORD });
        assert_eq!(post_by(app, &stranger, "/users/login", bob).await.status, 200);
        assert_eq!(post_by(app, &owner, "/users/login", right.clone()).await.status, 200);
        attack(app, "ada@example.com").await;
        assert_eq!(post_by(app, &owner, "/users/login", right).await.status, 200);
    }

    /// A restart forgets who was known, and sessions remember.
    async fn an_owner_with_a_session_gets_in_while_the_account_is_attacked(app: &TestApp) {
        let owner = client_at(3);
        let account = json!({ "email": "ada@example.com", "password": PASSWORD });
        assert_eq!(post_by(app, &owner, "/users", account.clone()).await.status, 201);
        attack(app, "ada@example.com").await;
        assert_eq!(post_by(app, &owner, "/users/login", account).await.status, 200);
    }

    async fn a_stolen_token_does_not_help_to_guess_the_password(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let wrong = json!({ "current": "wrong horse", "new": "another horse" });
        let guess = async || ask(app, &ada.access, Method::POST, "/users/me/password", wrong.clone()).await;
        for _ in 0..10 {
            assert_eq!(guess().await.error(), (403, "FORBIDDEN"));
        }
        assert_eq!(guess().await.error(), (429, "RATE_LIMITED"));
    }

    async fn mails_are_bounded_by_address(app: &TestApp) {
        let client = client_at(2);
        for n in 0..30 {
            let body = json!({ "email": format!("nobody{n}@example.com") });
            assert_eq!(post_by(app, &client, "/users/password/forgot", body).await.status, 200);
        }
        let body = json!({ "email": "nobody@example.com" });
        for path in ["/users/password/forgot", "/users/login/code", "/auth-collections/forgot-password"] {
            let answer = post_by(app, &client, path, body.clone()).await;
            assert_eq!(answer.status, 429, "{path}: {answer:?}");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 1, "{answer:?}");
        }
        assert_eq!(post_by(app, &client_at(3), "/users/password/forgot", body.clone()).await.status, 200);
        // A server's address is that of all its users.
        assert_eq!(app.post("/users/password/forgot", body).await.status, 200);
    }

    async fn only_a_trusted_proxy_says_who_the_client_is(app: &TestApp, |config| {
        config.trusted_proxies = vec!["127.0.0.2/32".parse().unwrap()];
    }) {
        for (proxy, expected) in [(client_at(2), "198.51.100.7"), (client_at(3), "127.0.0.3")] {
            let email = format!("{}@example.com", expected.replace('.', "-"));
            let request = proxy.post(format!("{}/users", app.url)).header("x-api-key", PUBLISHABLE_KEY);
            let request = request.header("x-forwarded-for", "6.6.6.6, 198.51.100.7");
            let answer = app.send(request.json(&json!({ "email": email, "password": PASSWORD }))).await;
            let signed = Signed::read(&answer);
            let sessions = ask(app, &signed.access, Method::GET, "/users/me/sessions", Value::Null).await;
            assert_eq!(sessions.data()[0]["address"], expected, "{sessions:?}");
        }
    }

    async fn a_flood_of_sign_ins_reaches_no_provider(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let returned = Returned { code: "of nobody".to_owned(), ..provider.approve(&url, &ada()) };
        let mut refused = 0;
        while refused == 0 {
            let answer = finish(app, PUBLISHABLE_KEY, "acme", &returned).await;
            match answer.status.as_u16() {
                401 => assert!(provider.asked("/token") < 1000, "nothing bounds the sign-ins"),
                _ => {
                    assert_eq!(answer.error(), (429, "RATE_LIMITED"), "{answer:?}");
                    refused = provider.asked("/token");
                }
            }
        }
        // A token comes back each second, and what is refused is not asked for.
        let answers = join_all(
            (0..20).map(|_| async { finish(app, PUBLISHABLE_KEY, "acme", &returned).await.status.as_u16() }),
        )
        .await;
        let asked = answers.iter().filter(|status| **status == 401).count();
        assert_eq!(provider.asked("/token"), refused + asked);
        assert!(asked < 20, "{answers:?}");
    }

    async fn limits_can_be_turned_off(app: &TestApp, |config| config.rate_limits = false) {
        sign_up(app, "ada@example.com").await;
        let wrong = json!({ "email": "ada@example.com", "password": "wrong horse" });
        for _ in 0..12 {
            assert_eq!(post_by(app, &client_at(2), "/users/login", wrong.clone()).await.status, 401);
        }
    }
}
