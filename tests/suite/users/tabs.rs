//! Refresh tokens that many tabs use at once, and those that somebody stole.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Signed, refresh, sign_in, sign_up, status_of, streams::Streams};
use crate::harness::{Database, TestApp, on_both_databases};

const TABS: usize = 10;
const ROUNDS: usize = 100;
const BURST: usize = 20;

/// Refreshes from many tabs, which have the same token and take turns at the nodes. Returns what all of them have then.
async fn refresh_at_once(nodes: &[&TestApp], token: &str, tabs: usize) -> Signed {
    let answers = join_all((0..tabs).map(|tab| refresh(nodes[tab % nodes.len()], token))).await;
    let next: Vec<_> = answers.iter().map(Signed::read).collect();
    for tab in &next {
        assert_eq!(tab.refresh, next[0].refresh, "every tab has the same next token");
        assert_ne!(tab.refresh, token);
    }
    next.into_iter().next_back().unwrap()
}

/// Nobody is signed out, however many tabs refresh at the same time.
async fn check_tabs(nodes: &[&TestApp]) {
    let first = sign_up(nodes[0], "ada@example.com").await;
    let mut current = first.clone();
    for round in 0..ROUNDS {
        current = refresh_at_once(nodes, &current.refresh, TABS).await;
        let node = nodes[round % nodes.len()];
        assert_eq!(status_of(node, &current.access).await, 200, "round {round}");
    }
    let burst = refresh_at_once(nodes, &current.refresh, BURST).await;
    // A tab whose answer was lost on the way asks again.
    let late = refresh_at_once(nodes, &current.refresh, BURST).await;
    assert_eq!((&burst.refresh, &burst.id), (&late.refresh, &first.id));
    for access in [&first.access, &current.access, &burst.access, &late.access] {
        assert_eq!(status_of(nodes[0], access).await, 200);
    }
    assert_eq!(nodes[0].get("/audit?event=refreshTokenReplayed").await.data(), &json!([]));
}

/// Every tab has its own copy of the token, and goes on with what it gets, without a pause and without the others.
async fn check_independent_tabs(nodes: &[&TestApp]) {
    for round in 0..2 {
        let first = sign_up(nodes[0], &format!("ada{round}@example.com")).await;
        let tabs = join_all((0..TABS).map(|tab| {
            let (node, mut token) = (nodes[tab % nodes.len()], first.refresh.clone());
            async move {
                for turn in 0..ROUNDS {
                    let answer = refresh(node, &token).await;
                    assert_eq!(answer.status, 200, "round {round}, tab {tab}, turn {turn}: {answer:?}");
                    token = Signed::read(&answer).refresh;
                }
                token
            }
        }))
        .await;
        for token in &tabs {
            assert_eq!(
                refresh(nodes[0], token).await.status,
                200,
                "round {round}: a tab that slept a moment"
            );
        }
    }
    assert_eq!(nodes[0].get("/audit?event=refreshTokenReplayed").await.data(), &json!([]));
}

/// The grandparent of the current token ends the session with its streams, and nothing else. Returns how long that took
/// from the answer on until the last stream had ended.
async fn check_theft(app: &TestApp, watched: &TestApp, email: &str) -> Duration {
    let stolen = sign_up(app, email).await;
    let other = sign_in(app, email).await;
    let second = Signed::read(&refresh(app, &stolen.refresh).await);
    let third = Signed::read(&refresh(app, &second.refresh).await);
    let streams = Streams::open(watched, &third).await;
    assert_eq!(refresh(app, &stolen.refresh).await.error(), (401, "UNAUTHORIZED"));
    let begun = Instant::now();
    app.create("posts", json!({ "after": "the theft" })).await;
    streams.must_end().await;
    let took = begun.elapsed();
    for token in [&stolen.refresh, &second.refresh, &third.refresh] {
        assert_eq!(refresh(app, token).await.error(), (401, "UNAUTHORIZED"));
    }
    for token in [&stolen.access, &second.access, &third.access] {
        assert_eq!(status_of(watched, token).await, 401);
    }
    assert_eq!(status_of(watched, &other.access).await, 200, "the other session goes on");
    let entries =
        app.get(&format!("/audit?event=refreshTokenReplayed&user={}", stolen.id)).await.data().clone();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    let entry = &entries[0];
    assert_eq!((&entry["address"], &entry["count"]), (&json!("127.0.0.1"), &json!(1)), "{entry}");
    assert_eq!(entry["byUser"], Value::Null, "nobody knows who has the copy: {entry}");
    took
}

/// The bound is of an idle machine, so it holds for the quickest of some trials.
async fn check_thefts(app: &TestApp, watched: &TestApp) {
    app.create("posts", json!({})).await;
    let mut took = Vec::new();
    for trial in 0..4 {
        took.push(check_theft(app, watched, &format!("ada{trial}@example.com")).await);
    }
    eprintln!("streams end after a theft: {took:?}");
    assert!(took.iter().min().unwrap() < &Duration::from_millis(250), "{took:?}");
}

on_both_databases! {
    async fn nobody_is_signed_out_by_tabs_that_refresh_at_the_same_time(app: &TestApp) {
        check_tabs(&[app]).await;
    }

    async fn nobody_is_signed_out_by_tabs_that_refresh_without_a_pause(app: &TestApp) {
        check_independent_tabs(&[app]).await;
    }

    /// Tabs share the session, and one of them has slept. Its token is not younger than what somebody might have copied.
    async fn a_token_that_was_replaced_long_ago_is_stolen_also_where_tabs_share_the_session(app: &TestApp) {
        let first = sign_up(app, "ada@example.com").await;
        let second = refresh_at_once(&[app], &first.refresh, TABS).await;
        let third = refresh_at_once(&[app], &second.refresh, TABS).await;
        assert_eq!(refresh(app, &first.refresh).await.status, 200, "a tab that slept a moment");
        // Everything of before is half a minute older.
        let mut sessions = app.sql().await;
        let recent = sessions.texts("SELECT recent FROM sessions").await.remove(0);
        let mut aged: Value = serde_json::from_str(&recent).unwrap();
        let older = |time: &mut Value| *time = json!(time.as_i64().unwrap() - 31_000);
        aged["made"].as_array_mut().unwrap().iter_mut().for_each(|made| older(&mut made[1]));
        older(&mut aged["shared"]);
        sessions.execute(&format!("UPDATE sessions SET used_at = used_at - 31000, recent = '{aged}'")).await;
        let fourth = Signed::read(&refresh(app, &third.refresh).await);
        assert_eq!(refresh(app, &second.refresh).await.error(), (401, "UNAUTHORIZED"));
        assert_eq!(refresh(app, &fourth.refresh).await.error(), (401, "UNAUTHORIZED"), "the session has ended");
    }

    async fn a_stolen_refresh_token_ends_the_streams_of_its_session_at_once(app: &TestApp) {
        check_thefts(app, app).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_refresh_at_two_nodes_at_the_same_time() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    check_tabs(&[&app, &other]).await;
    check_independent_tabs(&[&app, &other]).await;
    other.stop_without_looking().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_refresh_token_ends_the_streams_on_another_node() {
    let app = TestApp::start(Database::Postgres).await;
    let other = app.start_second_node().await;
    check_thefts(&app, &other).await;
    other.stop_without_looking().await;
    app.stop().await;
}
