//! How mails leave the server: into the outbox, or by SMTP.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use coir::mail::Smtp;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, ask, digits_of, mails, post, sign_up, token_of};
use crate::harness::{
    Database, MailServer, Manners, PUBLISHABLE_KEY, SECRET_KEY, TestApp, fresh_database, on_both_databases,
    process::{Process, command},
};

const FROM: &str = "Coir <noreply@example.com>";

async fn start_with(server: &MailServer) -> TestApp {
    let smtp = Smtp::parse(&server.url, FROM).unwrap();
    TestApp::start_with(Database::Sqlite, |config| {
        config.smtp = Some(smtp);
        config.public_url = Some("https://app.example.com/".to_owned());
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_has_the_path_of_the_page_as_it_is() {
    for (public_url, beginning) in [
        ("https://app.example.com", "https://app.example.com/#coir="),
        ("https://app.example.com/", "https://app.example.com/#coir="),
        ("https://app.example.com/account.html", "https://app.example.com/account.html#coir="),
        ("https://app.example.com/app/", "https://app.example.com/app/#coir="),
    ] {
        let change = |config: &mut coir::config::Config| config.public_url = Some(public_url.to_owned());
        let app = TestApp::start_with(Database::Sqlite, change).await;
        let ada = sign_up(&app, "ada@example.com").await;
        post(&app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await;
        post(&app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        ask(&app, &ada.access, Method::POST, "/users/email/verify/send", Value::Null).await;
        app.post("/users/invitations", json!({ "email": "bob@example.com" })).await;
        for mail in mails(&app, 4).await {
            let text = mail["text"].as_str().unwrap();
            assert!(text.contains(&format!("\n{beginning}")), "{public_url}: {text}");
        }
        app.stop().await;
    }
}

on_both_databases! {
    async fn only_a_server_reads_the_outbox_which_has_the_last_hundred_mails(app: &TestApp) {
        let ada = sign_up(app, "ada@example.com").await;
        assert_eq!(app.get("/outbox").await.data(), &json!([]));
        for token in [PUBLISHABLE_KEY, &ada.access] {
            let answer = ask(app, token, Method::GET, "/outbox", Value::Null).await;
            assert_eq!(answer.error(), (403, "FORBIDDEN"));
        }
        let fill = "INSERT INTO mails (id, project_id, kind, recipient, subject, body, created_at) \
                    SELECT 'mail ' || documents.id, collections.project_id, 'old', 'a@b.c', '', '', 1 FROM documents \
                    JOIN collections ON collections.id = collection_id AND collections.name = 'fill'";
        let documents: Vec<_> = (0..120).map(|n| json!({ "n": n })).collect();
        app.create("fill", json!({})).await;
        app.post("/collections/fill/batch", json!({ "documents": documents })).await;
        app.sql().await.execute(fill).await;
        post(app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
        let begun = Instant::now();
        loop {
            let mails = app.get("/outbox").await;
            let list = mails.data().as_array().unwrap();
            assert_eq!((list.len(), mails.header("cache-control")), (100, "no-store"));
            if list[0]["to"] == "ada@example.com" {
                break;
            }
            assert!(begun.elapsed().as_secs() < 20);
            tokio::task::yield_now().await;
        }
        let left = app.sql().await.integers("SELECT COUNT(*) FROM mails").await[0];
        assert!((100..=101).contains(&left), "{left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_go_to_the_mail_server_with_links_to_the_app() {
    let mut server = MailServer::start(Manners::Polite).await;
    let app = start_with(&server).await;
    sign_up(&app, "ada@example.com").await;
    assert_eq!(post(&app, "/users/password/forgot", json!({ "email": "ada@example.com" })).await.status, 200);
    let mail = server.next_mail().await;
    assert_eq!(mail.recipients, ["<ada@example.com>"]);
    for part in ["From: Coir <noreply@example.com>", "Subject: Reset your password", "To: ada@example.com"] {
        assert!(mail.data.contains(part), "{part}: {mail:?}");
    }
    // Long lines are broken (quoted-printable, RFC 2045).
    let text = mail.data.replace("=\n", "").replace("=3D", "=");
    let link = text.split_once("https://app.example.com/#coir=reset-password&token=");
    let token = link.unwrap_or_else(|| panic!("{mail:?}")).1.split_whitespace().next().unwrap();
    let body = json!({ "token": token, "password": "battery staple" });
    assert_eq!(post(&app, "/users/password/reset", body).await.status, 200);
    assert_eq!(app.get("/outbox").await.data(), &json!([]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_the_mail_server_cannot_take_yet_is_sent_again() {
    let mut server = MailServer::start(Manners::Hesitant).await;
    let app = start_with(&server).await;
    sign_up(&app, "ada@example.com").await;
    post(&app, "/users/login/code", json!({ "email": "ada@example.com" })).await;
    assert!(server.next_mail().await.data.contains("Your code is "));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_waits_for_a_mail_server_and_the_queue_has_an_end() {
    let server = MailServer::start(Manners::Silent).await;
    let app = start_with(&server).await;
    let names: Vec<_> = (0..60).map(|n| format!("user{n}@example.com")).collect();
    for name in &names {
        app.post("/collections/_users", json!({ "email": name })).await;
    }
    let begun = Instant::now();
    let mut refused = 0;
    for _ in 0..5 {
        let asked = names.iter().map(|name| post(&app, "/users/login/code", json!({ "email": name })));
        for answer in join_all(asked).await {
            match answer.status.as_u16() {
                200 => {}
                _ => {
                    assert_eq!(answer.error(), (429, "RATE_LIMITED"));
                    refused += 1;
                }
            }
        }
        // Each of these mails holds a place.
        let made = app.sql().await.integers("SELECT COUNT(*) FROM codes").await[0];
        assert!(made <= 300);
    }
    assert!(refused > 0, "the queue takes any number of mails");
    assert!(begun.elapsed() < Duration::from_secs(14), "requests waited for the mail server");
    assert_eq!(app.get("/health/ready").await.status, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_token_or_code_is_in_the_log() {
    let (url, _directory) = fresh_database(Database::Sqlite).await;
    let mut log = tempfile::NamedTempFile::new().unwrap();
    let mut server = command(&["serve"]);
    server.env("COIR_LOG", "trace").stderr(log.reopen().unwrap());
    let start = move || Process::spawn(server, &url, "127.0.0.1:0");
    let mut process = tokio::task::spawn_blocking(start).await.unwrap();
    let http = reqwest::Client::new();
    let send = async |method: Method, key: &str, path: &str, body: Value| -> Value {
        let request = http.request(method, format!("{}{path}", process.url)).bearer_auth(key).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let user = json!({ "email": "ada@example.com", "password": PASSWORD });
    send(Method::POST, PUBLISHABLE_KEY, "/users", user).await;
    for path in ["/users/login/code", "/users/password/forgot"] {
        send(Method::POST, PUBLISHABLE_KEY, path, json!({ "email": "ada@example.com" })).await;
    }
    let begun = Instant::now();
    let mails = loop {
        let mails = send(Method::GET, SECRET_KEY, "/outbox", Value::Null).await["data"].clone();
        if mails.as_array().unwrap().len() == 2 {
            break mails;
        }
        assert!(begun.elapsed().as_secs() < 20, "{mails}");
        tokio::task::yield_now().await;
    };
    let mut secrets = vec!["ada@example.com".to_owned()];
    for mail in mails.as_array().unwrap() {
        secrets.push(token_of(mail));
        if mail["kind"] == "sign-in" {
            secrets.push(digits_of(mail));
        }
    }
    assert_eq!(secrets.len(), 4);
    tokio::task::spawn_blocking(move || process.terminate()).await.unwrap();
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("waits in the outbox").count(), 2, "{text}");
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret}: {text}");
    }
}
