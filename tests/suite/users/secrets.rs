//! Secrets that are replaced while servers run: what they signed stays good for its life, or ends at once.

use std::time::{Duration, Instant};

use coir::auth::TokenAlgorithm;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    Signed,
    providers::{ada, assert_refused, begin, finish, local, provide, url_of},
    refresh, sign_in, sign_up, status_of,
    streams::{socket, sse_by_ticket, ticket},
};
use crate::{
    harness::{Database, PUBLISHABLE_KEY, TestApp, on_each_database, provider::TestProvider},
    operations::keys::{coir, try_coir},
};

/// How long the nodes may take to notice, on a machine that is busy with other tests.
const NOTICED: Duration = Duration::from_secs(10);

/// Starts one node on SQLite, and two on PostgreSQL.
async fn start(database: Database, algorithm: TokenAlgorithm) -> Vec<TestApp> {
    let app = TestApp::start_with(database, |config| {
        local(config);
        config.jwt_algorithm = algorithm;
    })
    .await;
    let other = match database {
        Database::Sqlite => None,
        Database::Postgres => Some(app.start_second_node().await),
    };
    [Some(app), other].into_iter().flatten().collect()
}

async fn stop(mut nodes: Vec<TestApp>) {
    let app = nodes.remove(0);
    for other in nodes {
        other.stop_without_looking().await;
    }
    app.stop().await;
}

async fn published(app: &TestApp) -> Vec<Value> {
    let answer = app.send(app.http.get(format!("{}/.well-known/jwks.json", app.url))).await;
    answer.body["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

fn key_of(access: &str) -> Value {
    super::tokens::parts(access).0["kid"].clone()
}

/// Returns what every node says about a token.
async fn statuses(nodes: &[TestApp], access: &str) -> Vec<u16> {
    join_all(nodes.iter().map(|node| status_of(node, access))).await
}

/// Waits until every node refuses a token.
async fn must_be_refused(nodes: &[TestApp], access: &str) {
    let begun = Instant::now();
    while statuses(nodes, access).await.iter().any(|status| *status != 401) {
        assert!(begun.elapsed() < NOTICED, "the token is still good");
    }
}

/// Opens a stream with a ticket, and returns the status.
async fn opens(app: &TestApp, ticket: &str) -> u16 {
    sse_by_ticket(app, ticket, "posts").send().await.unwrap().status().as_u16()
}

/// Signs in until every node signs its tokens with another key than this one. Every token on the way must be good on every node.
async fn sign_in_with_new_key(nodes: &[TestApp], old: &Value) -> Signed {
    let begun = Instant::now();
    loop {
        let mut all = Vec::new();
        for node in nodes {
            let signed = sign_in(node, "ada@example.com").await;
            assert!(statuses(nodes, &signed.access).await.iter().all(|status| *status == 200));
            all.push(signed);
        }
        if all.iter().all(|signed| key_of(&signed.access) != *old) {
            return all.remove(0);
        }
        assert!(begun.elapsed() < NOTICED, "the old secret still signs");
    }
}

/// Replaces the secret of sign-ins with providers, and waits until every node knows the new one.
async fn rotate_oauth(nodes: &[TestApp], more: &[&str]) {
    let ticket = ticket(&nodes[0], PUBLISHABLE_KEY).await;
    coir(&nodes[0], &[&["secrets", "rotate", "oauth"], more].concat()).await;
    // Tickets are refused once the nodes have noticed what was replaced before.
    coir(&nodes[0], &["secrets", "rotate", "tickets", "--revoke-previous"]).await;
    let begun = Instant::now();
    for node in nodes {
        while opens(node, &ticket).await != 401 {
            assert!(begun.elapsed() < NOTICED, "the ticket is still good");
        }
    }
}

on_each_database! {
    async fn what_the_secret_before_signed_stays_good_and_what_the_one_before_that_signed_does_not(database) {
        let nodes = start(database, TokenAlgorithm::EdDsa).await;
        let app = &nodes[0];
        app.create("posts", json!({})).await;
        let first = sign_up(app, "ada@example.com").await;
        let (first_ticket, first_key) = (ticket(app, &first.access).await, key_of(&first.access));
        let only = published(app).await;
        assert_eq!((only.len(), &only[0]), (1, &first_key));

        let printed = coir(app, &["secrets", "rotate"]).await;
        for name in ["access", "access-eddsa", "refresh", "tickets", "oauth"] {
            assert!(printed.contains(&format!("The secret `{name}` is replaced.")), "{printed}");
        }
        let begun = Instant::now();
        for node in &nodes {
            while published(node).await.len() < 2 {
                assert!(begun.elapsed() < NOTICED, "a node does not notice");
            }
        }
        let second = sign_in_with_new_key(&nodes, &first_key).await;
        for node in &nodes {
            assert_eq!(published(node).await, [key_of(&second.access), first_key.clone()]);
            assert_eq!(opens(node, &first_ticket).await, 200);
        }
        assert!(statuses(&nodes, &first.access).await.iter().all(|status| *status == 200));
        let refreshed = Signed::read(&refresh(&nodes[nodes.len() - 1], &first.refresh).await);
        assert!(statuses(&nodes, &refreshed.access).await.iter().all(|status| *status == 200));
        // A tab that lost the answer gets the same token again, though another secret signed the one before it.
        assert_eq!(Signed::read(&refresh(app, &first.refresh).await).refresh, refreshed.refresh);
        let second_ticket = ticket(app, &second.access).await;

        coir(app, &["secrets", "rotate"]).await;
        must_be_refused(&nodes, &first.access).await;
        for node in &nodes {
            assert_eq!(opens(node, &first_ticket).await, 401);
            assert_eq!(opens(node, &second_ticket).await, 200);
            assert_eq!(status_of(node, &second.access).await, 200);
            assert_eq!(refresh(node, &first.refresh).await.error(), (401, "UNAUTHORIZED"));
        }
        Signed::read(&refresh(app, &refreshed.refresh).await);
        let audit = app.get("/audit?event=secretRotated").await;
        assert_eq!(audit.data().as_array().unwrap().len(), 10, "{audit:?}");
        stop(nodes).await;
    }

    async fn a_secret_that_leaked_is_dropped_at_once(database) {
        let nodes = start(database, TokenAlgorithm::Hs256).await;
        let app = &nodes[0];
        app.create("posts", json!({})).await;
        let ada = sign_up(app, "ada@example.com").await;
        let mut sockets = Vec::new();
        for node in &nodes {
            let mut socket = socket(node, &ada.access).await;
            socket.subscribe("posts", json!({})).await;
            sockets.push(socket);
        }
        let printed = coir(app, &["secrets", "rotate", "access", "--revoke-previous"]).await;
        assert!(printed.contains("`access`") && !printed.contains("`refresh`"), "{printed}");
        must_be_refused(&nodes, &ada.access).await;
        for socket in &mut sockets {
            let close = socket.next_close().await;
            assert_eq!(u16::from(close.code), 1013, "{close:?}");
        }
        // The refresh token has another secret.
        let next = Signed::read(&refresh(app, &ada.refresh).await);
        assert!(statuses(&nodes, &next.access).await.iter().all(|status| *status == 200));
        let listed = coir(app, &["secrets", "list"]).await;
        let line = listed.lines().find(|line| line.starts_with("access ")).unwrap();
        assert!(line.ends_with('–'), "{listed}");

        let key_ticket = ticket(app, PUBLISHABLE_KEY).await;
        coir(app, &["secrets", "rotate", "tickets", "--revoke-previous"]).await;
        let begun = Instant::now();
        for node in &nodes {
            while opens(node, &key_ticket).await != 401 {
                assert!(begun.elapsed() < NOTICED, "the ticket is still good");
            }
        }
        assert_eq!(status_of(app, &next.access).await, 200);
        let (is_done, _, told) = try_coir(app, &["secrets", "rotate", "mails"]).await;
        assert!(!is_done && told.contains("possible values: access, access-eddsa"), "{told}");
        stop(nodes).await;
    }

    async fn a_sign_in_with_a_provider_goes_on_over_a_rotation(database) {
        let nodes = start(database, TokenAlgorithm::Hs256).await;
        let app = &nodes[0];
        let provider = TestProvider::start().await;
        provide(app, &provider).await;
        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let returned = provider.approve(&url, &ada());
        rotate_oauth(&nodes, &[]).await;
        Signed::read(&finish(&nodes[nodes.len() - 1], PUBLISHABLE_KEY, "acme", &returned).await);

        let url = url_of(&begin(app, PUBLISHABLE_KEY, "acme", &[]).await);
        let returned = provider.approve(&url, &ada());
        rotate_oauth(&nodes, &["--revoke-previous"]).await;
        for node in &nodes {
            let answer = finish(node, PUBLISHABLE_KEY, "acme", &returned).await;
            assert_refused(&answer, (401, "UNAUTHORIZED"), "none of this server");
        }
        stop(nodes).await;
    }
}
