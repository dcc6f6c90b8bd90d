//! `kill -9` while clients sign up, sign in and delete their accounts. A user is whole afterwards, or not there: the document, the
//! credentials, the session and the audit entry are written as one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{
    PUBLISHABLE_KEY, SECRET_KEY, Sql, fresh_database, on_each_database, postgres::find_free_port,
    process::Process,
};

const CLIENTS: usize = 8;
const KILLS: usize = 5;

/// A user as the last answer showed them.
struct Known {
    id: String,
    email: String,
    access: String,
    refresh: String,
}

#[derive(Default)]
struct Person {
    number: usize,
    steps: usize,
    known: Vec<Known>,
    /// The ids of accounts whose end was answered.
    deleted: Vec<String>,
    /// The address of a sign-up without an answer. An anonymous user has it in the profile only.
    in_doubt: Option<String>,
    /// A user whose deletion had no answer.
    leaving: Option<Known>,
}

async fn start(database_url: &str, port: u16) -> Process {
    let (database_url, listen) = (database_url.to_owned(), format!("127.0.0.1:{port}"));
    let start = move || Process::start_with(&database_url, &listen, &[("COIR_RATE_LIMITS", "off")]);
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Returns the status and the answer; `None` if the server is down.
async fn ask(
    http: &Client,
    url: &str,
    key: &str,
    method: Method,
    path: &str,
    body: &Value,
) -> Option<(u16, Value)> {
    let request = http.request(method, format!("{url}{path}")).bearer_auth(key);
    let sent = if body.is_null() { request } else { request.json(body) }.send().await.ok()?;
    let status = sent.status().as_u16();
    Some((status, serde_json::from_str(&sent.text().await.ok()?).unwrap()))
}

fn account(email: &str) -> Value {
    json!({ "email": email, "password": "correct horse", "profile": { "of": email } })
}

impl Known {
    fn read(email: &str, answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let data = &answer["data"];
        Self {
            id: text(&data["user"]["id"]),
            email: email.to_owned(),
            access: text(&data["accessToken"]),
            refresh: text(&data["refreshToken"]),
        }
    }
}

impl Person {
    /// Most are anonymous: a password takes the server much longer than the write, in which it is to be killed.
    fn is_anonymous(&self) -> bool {
        self.number > 1
    }

    /// Signs up, and now and then deletes the oldest account, until the server is down.
    async fn act(&mut self, http: &Client, url: &str, acknowledged: &impl Fn()) {
        loop {
            self.steps += 1;
            if self.steps.is_multiple_of(4) && !self.known.is_empty() {
                let oldest = self.known.remove(0);
                let answer = ask(http, url, &oldest.access, Method::DELETE, "/users/me", &Value::Null).await;
                let Some((status, answer)) = answer else {
                    self.leaving = Some(oldest);
                    return;
                };
                assert_eq!(status, 200, "{answer}");
                self.deleted.push(oldest.id);
            } else {
                let email = format!("u{}-{}@example.com", self.number, self.steps);
                let (path, body) = if self.is_anonymous() {
                    ("/users/anonymous", json!({ "profile": { "of": email } }))
                } else {
                    ("/users", account(&email))
                };
                let answer = ask(http, url, PUBLISHABLE_KEY, Method::POST, path, &body).await;
                let Some((status, answer)) = answer else {
                    self.in_doubt = Some(email);
                    return;
                };
                assert_eq!(status, 201, "{answer}");
                self.known.push(Known::read(&email, &answer));
            }
            acknowledged();
        }
    }

    /// Checks what it knows against a server that has started again. Returns whether a sign-up without an answer was done.
    async fn check(&mut self, http: &Client, url: &str) -> bool {
        let ask = async |key: &str, method, path: &str, body: &Value| {
            ask(http, url, key, method, path, body).await.unwrap()
        };
        for user in &mut self.known {
            let (status, answer) = ask(&user.access, Method::GET, "/users/me", &Value::Null).await;
            assert_eq!((status, &answer["data"]["id"]), (200, &json!(user.id)), "{answer}");
            assert_eq!(answer["data"]["data"]["profile"]["of"], user.email, "{answer}");
            let body = json!({ "refreshToken": user.refresh });
            let (status, answer) = ask(PUBLISHABLE_KEY, Method::POST, "/users/refresh", &body).await;
            assert_eq!(status, 200, "{answer}");
            *user = Known::read(&user.email, &answer);
        }
        if let Some(user) = self.leaving.take() {
            let (mine, answer) = ask(&user.access, Method::GET, "/users/me", &Value::Null).await;
            let (all, _) = ask(SECRET_KEY, Method::GET, &format!("/users/{}", user.id), &Value::Null).await;
            assert!(matches!((mine, all), (200, 200) | (401, 404)), "{mine} {all} {answer}");
        }
        let Some(email) = self.in_doubt.take() else { return false };
        if self.is_anonymous() {
            let path = format!("/users?profile.of={email}");
            let (status, answer) = ask(SECRET_KEY, Method::GET, &path, &Value::Null).await;
            assert_eq!(status, 200, "{answer}");
            let found = answer["data"].as_array().unwrap();
            assert!(found.len() < 2, "{answer}");
            let Some(user) = found.first() else { return false };
            let path = format!("/users/{}", user["id"].as_str().unwrap());
            let (status, answer) = ask(SECRET_KEY, Method::DELETE, &path, &Value::Null).await;
            assert_eq!(status, 200, "{answer}");
            return true;
        }
        let body = json!({ "email": email, "password": "correct horse" });
        let (status, answer) = ask(PUBLISHABLE_KEY, Method::POST, "/users/login", &body).await;
        if status == 200 {
            assert_eq!(answer["data"]["user"]["data"]["profile"]["of"], email, "{answer}");
            self.known.push(Known::read(&email, &answer));
            return true;
        }
        // The address is free.
        assert_eq!(status, 401, "{answer}");
        let (status, answer) = ask(PUBLISHABLE_KEY, Method::POST, "/users", &account(&email)).await;
        assert_eq!(status, 201, "{answer}");
        self.known.push(Known::read(&email, &answer));
        false
    }
}

/// Nothing of a user is there without the rest. Nobody has ended a session alone, so that every user has one.
async fn check_whole(database_url: &str) {
    let users = "SELECT documents.id FROM documents JOIN collections ON collections.id = collection_id AND name = '_users'";
    let mut sql = Sql::connect(database_url).await;
    for (what, query) in [
        (
            "documents without credentials",
            format!(
                "SELECT COUNT(*) FROM ({users}) AS users WHERE id NOT IN (SELECT user_id FROM credentials)"
            ),
        ),
        (
            "credentials without a document",
            format!("SELECT COUNT(*) FROM credentials WHERE user_id NOT IN ({users})"),
        ),
        (
            "users without a session",
            format!("SELECT COUNT(*) FROM ({users}) AS users WHERE id NOT IN (SELECT user_id FROM sessions)"),
        ),
        (
            "sessions without a document",
            format!("SELECT COUNT(*) FROM sessions WHERE user_id NOT IN ({users})"),
        ),
        (
            "users without an audit entry",
            format!(
                "SELECT COUNT(*) FROM ({users}) AS users WHERE id NOT IN (SELECT user_id FROM audit WHERE event = 'signUp')"
            ),
        ),
        (
            "users of whom the log has no creation",
            format!(
                "SELECT COUNT(*) FROM ({users}) AS users WHERE id NOT IN (SELECT document_id FROM changes WHERE document_id IS NOT NULL)"
            ),
        ),
    ] {
        assert_eq!(sql.integers(&query).await, [0], "{what}");
    }
}

on_each_database! {
    async fn a_user_of_a_killed_server_is_whole_or_not_there(database) {
        let (database_url, _directory) = fresh_database(database).await;
        let port = find_free_port();
        let mut server = start(&database_url, port).await;
        let (url, http) = (server.url.clone(), Client::new());
        let mut people: Vec<_> = (0..CLIENTS).map(|number| Person { number, ..Person::default() }).collect();
        let (mut unanswered, mut done_anyway) = (0, 0);
        for kill in 0..KILLS {
            let (count, target) = (AtomicUsize::new(0), 60 + kill * 37);
            let (is_time, mut time_to_kill) = tokio::sync::mpsc::channel(1);
            let acknowledged = || {
                if count.fetch_add(1, Ordering::Relaxed) + 1 == target {
                    is_time.try_send(()).unwrap();
                }
            };
            let acting = future::join_all(people.iter_mut().map(|person| person.act(&http, &url, &acknowledged)));
            let killing = async {
                time_to_kill.recv().await.unwrap();
                // A batch begins with the answers of the one before. Each kill comes at another moment of it.
                tokio::time::sleep(Duration::from_micros(800 * kill as u64)).await;
                server.kill();
            };
            tokio::join!(acting, killing);
            unanswered += people.iter().filter(|person| person.in_doubt.is_some()).count();
            server = start(&database_url, port).await;
            check_whole(&database_url).await;
            for person in &mut people {
                done_anyway += usize::from(person.check(&http, &url).await);
            }
            check_whole(&database_url).await;
        }
        let (known, deleted) = (people.iter().map(|person| person.known.len()).sum::<usize>(),
            people.iter().map(|person| person.deleted.len()).sum::<usize>());
        let mut sql = Sql::connect(&database_url).await;
        for id in people.iter().flat_map(|person| &person.deleted) {
            let left = format!("SELECT COUNT(*) FROM credentials WHERE user_id = '{id}'");
            assert_eq!(sql.integers(&left).await, [0], "a deleted account is back");
        }
        assert!(known > 0 && deleted > 0 && unanswered > 0);
        eprintln!("{database:?}: {KILLS} kills, {known} users whole, {deleted} deleted, {unanswered} sign-ups without an answer, \
                   of which {done_anyway} were done");
        assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
    }
}
