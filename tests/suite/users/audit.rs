//! The audit: security events, and who may read them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Signed, ask, foreign, linking, mails, post,
    providers::{ada, enter, local, provide},
    refresh,
    second_factor::Guarded,
    sign_in, sign_up, token_of,
};
use crate::harness::{
    PUBLISHABLE_KEY, TestApp, on_both_databases,
    provider::{TestKey, TestProvider},
};

/// Returns the events of a list, the oldest first.
async fn events(app: &TestApp, query: &str) -> Vec<String> {
    let answer = app.get(&format!("/audit{query}")).await;
    let entries = answer.data().as_array().unwrap();
    entries.iter().rev().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
}

/// Returns all events but those of the keys with which the server began.
async fn all_events(app: &TestApp) -> Vec<String> {
    let mut all = events(app, "").await;
    all.retain(|event| event != "keyCreated");
    all
}

/// Waits for the audit entry of a user's failed sign-in.
async fn failed_sign_in(app: &TestApp, user: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let entries = app.get(&format!("/audit?event=signInFailed&user={user}")).await.data().clone();
        match entries.get(0) {
            Some(entry) => return entry.clone(),
            None => assert!(begun.elapsed().as_secs() < 20),
        }
        tokio::task::yield_now().await;
    }
}

/// Returns the events of a user with their details, the oldest first.
async fn details(app: &TestApp, user: &str) -> Vec<(String, Value)> {
    let answer = app.get(&format!("/audit?user={user}")).await;
    let entries = answer.data().as_array().unwrap();
    let shown = |entry: &Value| (entry["event"].as_str().unwrap().to_owned(), entry["details"].clone());
    entries.iter().rev().map(shown).collect()
}

on_both_databases! {
    async fn a_server_that_disables_a_user_is_noted_on_every_door_with_its_address(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let update = |is_disabled| json!({ "disabled": is_disabled });
        let of_users = format!("/collections/_users/{}", ada.id);
        let operation = json!({ "op": "update", "collection": "_users", "id": ada.id, "data": update(true) });
        let steps = [
            (Method::PATCH, format!("/users/{}", ada.id), update(true)),
            (Method::PATCH, of_users.clone(), update(false)),
            (Method::POST, "/transactions".to_owned(), json!({ "operations": [operation] })),
            (Method::PATCH, "/collections/_users/batch".to_owned(), json!({ "updates": { &ada.id: update(false) } })),
            (Method::PUT, of_users, json!({ "email": "ada@example.com", "disabled": true, "roles": ["a"] })),
            (Method::DELETE, format!("/users/{}", ada.id), Value::Null),
        ];
        for (method, path, body) in steps {
            let request = app.request(method, &path).header("user-agent", "Lynx");
            let request = if body.is_null() { request } else { request.json(&body) };
            let answer = app.send(request).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        let expected = [
            "signUp", "userDisabled", "userEnabled", "userDisabled", "userEnabled", "rolesChanged", "userDisabled",
            "userDeleted",
        ];
        assert_eq!(events(app, &format!("?user={}", ada.id)).await, expected);
        let entries = app.get("/audit?limit=7").await.data().clone();
        for entry in entries.as_array().unwrap() {
            assert_eq!((&entry["device"], &entry["address"]), (&json!("Lynx"), &json!("127.0.0.1")), "{entry}");
            assert_eq!((&entry["byUser"], entry["byKey"].is_string()), (&Value::Null, true), "{entry}");
        }
    }

    async fn sign_ins_by_providers_and_by_tokens_of_other_issuers_are_noted(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let new = Signed::read(&enter(app, &provider, &ada()).await);
        Signed::read(&enter(app, &provider, &ada()).await);
        let oauth = json!({ "method": "oauth", "provider": "acme" });
        assert_eq!(details(app, &new.id).await, [("signUp".to_owned(), oauth.clone()), ("signIn".to_owned(), oauth.clone())]);
        let bob = sign_up(app, "bob@example.com").await;
        let person = |subject: &str| json!({ "sub": subject, "email": "bob@example.com", "email_verified": true });
        assert_eq!(linking::link(app, &provider, &bob, &person("1843")).await.status, 200);
        assert_eq!(linking::link(app, &provider, &bob, &person("1843")).await.status, 200, "nothing new");
        assert_eq!(linking::unlink(app, &bob, "acme").await.status, 200);
        Signed::read(&enter(app, &provider, &person("1843")).await);
        let acme = json!({ "provider": "acme" });
        let expected = [
            ("signUp", json!({ "method": "password" })), ("identityLinked", acme.clone()), ("emailVerified", Value::Null),
            ("identityUnlinked", acme.clone()), ("identityLinked", acme), ("signIn", oauth),
        ];
        assert_eq!(details(app, &bob.id).await, expected.map(|(event, details)| (event.to_owned(), details)));
        foreign::take(app, json!({ "issuer": provider.url })).await;
        let token = foreign::token(&provider.url, TestKey::Ec, &json!({ "sub": "1852" }));
        let holder = foreign::me(app, &token).await.data()["id"].as_str().unwrap().to_owned();
        foreign::me(app, &token).await;
        let by_token = json!({ "method": "token", "provider": provider.url });
        assert_eq!(details(app, &holder).await, [("signUp".to_owned(), by_token.clone())]);
        assert_eq!(app.post(&format!("/users/{holder}/logout"), json!({})).await.status, 200);
        assert_eq!(foreign::me(app, &token).await.status, 200);
        assert_eq!(details(app, &holder).await.last().unwrap(), &("signIn".to_owned(), by_token));
        let linked = app.get("/audit?event=identityLinked").await.data()[0].clone();
        assert_eq!((&linked["byUser"], &linked["address"]), (&json!(bob.id), &json!("127.0.0.1")));
    }

    async fn what_the_owner_of_an_address_takes_over_is_noted(app: &TestApp, local) {
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let trap = sign_up(app, "ada@example.com").await;
        let eve = json!({ "sub": "eve", "email": "eve@example.com", "email_verified": true });
        assert_eq!(linking::link(app, &provider, &trap, &eve).await.status, 200);
        Signed::read(&linking::by_code(app, "ada@example.com").await);
        let found = details(app, &trap.id).await;
        let expected = [
            ("identityUnlinked", json!({ "provider": "acme", "method": "takeover" })),
            ("emailVerified", Value::Null),
            ("signIn", json!({ "method": "code" })),
        ];
        assert_eq!(found[found.len() - 3..], expected.map(|(event, details)| (event.to_owned(), details)));
    }

    async fn every_event_of_an_account_has_an_entry(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let request = app.request_as(PUBLISHABLE_KEY, Method::POST, "/users/login").header("user-agent", "Lynx");
        let signed = app.send(request.json(&json!({ "email": "ada@example.com", "password": PASSWORD }))).await;
        let ada_again = Signed::read(&signed);
        let change = json!({ "current": PASSWORD, "new": "another horse" });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/password", change).await.status, 200);
        let path = format!("/users/{}", ada.id);
        assert_eq!(app.patch(&path, json!({ "roles": ["editor"] })).await.status, 200);
        assert_eq!(app.patch(&path, json!({ "email": "lovelace@example.com" })).await.status, 200);
        // Nothing that is of the app's own.
        assert_eq!(app.patch(&path, json!({ "profile": { "name": "Ada" } })).await.status, 200);
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/logout", Value::Null).await.status, 200);
        assert_eq!(app.post(&format!("{path}/logout"), json!({})).await.status, 200);
        assert_eq!(app.delete(&path).await.status, 200);
        let expected = [
            "signUp", "signIn", "passwordChanged", "rolesChanged", "emailChanged", "signOut", "sessionsRevoked",
            "userDeleted",
        ];
        assert_eq!(events(app, &format!("?user={}", ada.id)).await, expected);
        let entries = app.get(&format!("/audit?user={}&event=signIn", ada.id)).await.data().clone();
        assert_eq!(entries.as_array().unwrap().len(), 1);
        let entry = &entries[0];
        assert_eq!((&entry["device"], &entry["address"]), (&json!("Lynx"), &json!("127.0.0.1")), "{entry}");
        assert_eq!((&entry["user"], &entry["byUser"]), (&json!(ada.id), &json!(ada_again.id)), "{entry}");
        assert_eq!((&entry["details"], &entry["count"]), (&json!({ "method": "password" }), &json!(1)));
        let roles = app.get("/audit?event=rolesChanged").await.data()[0].clone();
        assert_eq!(roles["details"], json!({ "before": [], "after": ["editor"] }));
        assert_eq!((&roles["byUser"], roles["byKey"].is_string()), (&Value::Null, true), "{roles}");
        // Pages go on where the last one ended.
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let page = app.get(&format!("/audit?limit=3{after}")).await;
            seen.extend(page.data().as_array().unwrap().iter().map(|entry| entry["event"].clone()));
            let Some(cursor) = page.body["nextCursor"].as_str() else { break };
            after = format!("&after={cursor}");
        }
        let keys = ["keyCreated", "keyCreated"];
        let all = expected.iter().rev().chain(&keys).map(|event| json!(event)).collect::<Vec<_>>();
        assert_eq!(seen, all);
        assert_eq!(events(app, "?at__lt=2020-01-01").await, Vec::<String>::new());
        assert_eq!(events(app, "?at__gte=2020-01-01&limit=1").await, ["userDeleted"]);
        assert_eq!(events(app, "?address=198.51.100.1").await, Vec::<String>::new());
    }

    async fn failed_sign_ins_and_stolen_tokens_are_noted_and_no_secret_is(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        for password in ["wrong horse", "wronger horse", "wrongest horse"] {
            let body = json!({ "email": "ada@example.com", "password": password });
            assert_eq!(post(app, "/users/login", body).await.status, 401);
        }
        let second = Signed::read(&refresh(app, &ada.refresh).await);
        Signed::read(&refresh(app, &second.refresh).await);
        assert_eq!(refresh(app, &ada.refresh).await.status, 401);
        assert_eq!(app.patch("/settings", json!({ "signup": { "mode": "closed" } })).await.status, 200);
        let begun = std::time::Instant::now();
        let failed = loop {
            let entries = app.get("/audit?event=signInFailed").await.data().clone();
            if entries.as_array().unwrap().is_empty() {
                assert!(begun.elapsed().as_secs() < 20);
                tokio::task::yield_now().await;
                continue;
            }
            break entries;
        };
        assert_eq!(failed[0]["user"], json!(ada.id), "{failed}");
        assert!(failed[0]["count"].as_u64().unwrap() >= 1, "{failed}");
        let all = app.get("/audit").await.body.to_string();
        for event in ["refreshTokenReplayed", "settingsChanged"] {
            assert!(all.contains(event), "{event}: {all}");
        }
        for secret in ["horse", "rt_", "eyJ", "argon2", "ada@example.com"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }

    async fn keys_of_the_first_start_are_noted(app: &TestApp) {
        let entries = app.get("/audit?event=keyCreated").await.data().clone();
        let mut kinds: Vec<_> = entries.as_array().unwrap().iter().map(|entry| &entry["details"]["kind"]).collect();
        kinds.sort_by_key(|kind| kind.to_string());
        assert_eq!(kinds, ["publishable", "secret"]);
        let (mut config, directory) = (app.config.clone(), None);
        // A key that a setting adds later.
        config.api_key = Some("sk_0123456789abcdefANOTHER".to_owned());
        let second = TestApp::start_on(config, directory).await;
        assert_eq!(app.get("/audit?event=keyCreated").await.data().as_array().unwrap().len(), 3);
        second.stop_without_looking().await;
    }

    async fn verified_addresses_are_noted(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        let path = format!("/users/{}", ada.id);
        for change in [
            json!({ "emailVerified": true }), json!({ "emailVerified": true }), json!({ "emailVerified": false }),
            json!({ "email": "lovelace@example.com", "emailVerified": true }), json!({ "email": "ada@example.com" }),
        ] {
            assert_eq!(app.patch(&path, change).await.status, 200);
        }
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/email/verify/send", Value::Null).await.status, 200);
        let token = token_of(&mails(app, 1).await[0]);
        assert_eq!(post(app, "/users/email/verify", json!({ "token": token })).await.status, 200);
        let expected = [
            "signUp", "emailVerified", "emailUnverified", "emailChanged", "emailVerified", "emailChanged", "emailVerified",
        ];
        assert_eq!(events(app, &format!("?user={}", ada.id)).await, expected);
    }

    async fn recovery_codes_and_wrong_codes_of_a_second_factor_are_noted(app: &TestApp) {
        let ada = Guarded::new(app).await;
        let sign_in = async |code: &str| {
            let body = json!({ "email": "ada@example.com", "password": PASSWORD });
            let ticket = post(app, "/users/login", body).await.data()["mfa"]["ticket"].clone();
            post(app, "/users/login/mfa", json!({ "ticket": ticket, "code": code })).await.status.as_u16()
        };
        assert_eq!(sign_in(&ada.recovery[0]).await, 200);
        assert_eq!(sign_in(&ada.wrong_code()).await, 401);
        let failed = failed_sign_in(app, &ada.user.id).await;
        assert_eq!((&failed["address"], failed["byKey"].is_string()), (&json!("127.0.0.1"), true), "{failed}");
        let remove = json!({ "code": ada.recovery[1] });
        assert_eq!(ask(app, &ada.user.access, Method::DELETE, "/users/me/totp", remove).await.status, 200);
        let mut found = details(app, &ada.user.id).await;
        found.retain(|(event, _)| event != "signInFailed");
        let expected = [
            ("totpOn", json!({ "recoveryCodes": 10 })), ("recoveryCodeUsed", json!({ "left": 9 })),
            ("signIn", json!({ "method": "mfa" })), ("recoveryCodeUsed", json!({ "left": 8 })), ("totpOff", Value::Null),
        ];
        assert_eq!(found[2..], expected.map(|(event, details)| (event.to_owned(), details)));
    }

    /// A stolen token that is used to guess the password, and codes that are guessed.
    async fn wrong_passwords_and_codes_are_noted_for_the_user(app: &TestApp) {
        let [ada, bob] = [sign_up(app, "ada@example.com").await, sign_up(app, "bob@example.com").await];
        let wrong = json!({ "current": "wrong horse", "new": "another horse" });
        assert_eq!(ask(app, &ada.access, Method::POST, "/users/me/password", wrong).await.status, 403);
        failed_sign_in(app, &ada.id).await;
        let guess = json!({ "email": "bob@example.com", "code": "123456" });
        assert_eq!(post(app, "/users/login/code/verify", guess).await.status, 401);
        failed_sign_in(app, &bob.id).await;
    }

    async fn the_audit_is_a_servers_and_refuses_what_it_does_not_know(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        sign_in(app, "ada@example.com").await;
        for credential in [PUBLISHABLE_KEY, &ada.access] {
            assert_eq!(ask(app, credential, Method::GET, "/audit", Value::Null).await.error(), (403, "FORBIDDEN"));
        }
        for (query, expected) in [
            ("?events=signIn", (400, "INVALID_FILTER")),
            ("?event=signin", (400, "INVALID_FILTER")),
            ("?at__gte=yesterday", (400, "INVALID_FILTER")),
            ("?limit=0", (400, "INVALID_FILTER")),
            ("?after=nonsense", (400, "INVALID_CURSOR")),
        ] {
            assert_eq!(app.get(&format!("/audit{query}")).await.error(), expected, "{query}");
        }
        // A write that fails has no entry.
        assert_eq!(post(app, "/users", json!({ "email": "ada@example.com", "password": PASSWORD })).await.status, 409);
        assert_eq!(all_events(app).await, ["signUp", "signIn"]);
        assert_eq!(app.post("/users/invitations", json!({ "email": "bob@example.com" })).await.status, 201);
        let token = token_of(&mails(app, 1).await[0]);
        assert!(!app.get("/audit").await.body.to_string().contains(&token));
    }
}
