//! Convergence under everything at once. Writers change random documents, subscribers use random filters on either
//! transport, connections are cut at random moments, and the server is killed with `kill -9` again and again. After each
//! restart, every view must equal the list at its cursor. No event may be missing, repeated or out of order.
//!
//! `COIR_TEST_CONVERGENCE_RESTARTS` sets how often the server is killed. If it is unset, the server is killed 3 times, with
//! a quarter of the full test's 32 writers and 64 subscribers.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use coir_client::Counts;
use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{
    Dice, SECRET_KEY, dice,
    peer::{Connected, GROUPS, Peer, compare, is_busy, list, peers},
    postgres::{self, find_free_port},
    process::Process,
    socket::PATIENCE,
};

const DOCUMENTS: usize = 300;

/// The size of one run.
#[derive(Clone, Copy)]
struct Size {
    restarts: usize,
    writers: usize,
    subscribers: usize,
    /// The least number of acknowledged writes between two restarts.
    writes: usize,
}

/// Follows its subscriptions until the server is down, and cuts the connection at random moments.
async fn follow(mut peer: Peer, http: Client, url: String, cuts: Arc<AtomicUsize>) -> Peer {
    loop {
        match peer.connect(&http, &url).await {
            Connected::Open => {}
            Connected::Busy => continue,
            Connected::Down => return peer,
        }
        // A small limit cuts some connections in the middle of a snapshot.
        let most = [10, 600][peer.dice.under(2)];
        for _ in 0..1 + peer.dice.under(most) {
            if !peer.take_next().await {
                break;
            }
        }
        if peer.cut() {
            cuts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Follows its subscriptions until each is at `until` or later. It reconnects when the connection ends, because a busy
/// machine may be silent for too long.
async fn settle(mut peer: Peer, http: Client, url: String, until: i64) -> Peer {
    let settle = async {
        while !peer.is_at(until) {
            if peer.connect(&http, &url).await == Connected::Open {
                peer.take_next().await;
            }
        }
    };
    tokio::time::timeout(5 * PATIENCE, settle)
        .await
        .expect("the subscriptions did not reach the last sequence in time");
    peer
}

/// Creates, updates and deletes random documents until the server is down.
async fn write(http: Client, url: String, mut dice: Dice, acknowledged: impl Fn()) {
    loop {
        let id = format!("{:03}", dice.under(DOCUMENTS));
        let mut body = json!({ "group": dice.under(GROUPS), "n": dice.under(1000) });
        match dice.under(4) {
            0 => body["flag"] = json!(dice.under(2) == 0),
            1 => body["flag"] = Value::Null,
            _ => {}
        }
        let (method, path) = match dice.under(10) {
            0 | 1 => (Method::DELETE, format!("/{id}")),
            2 | 3 => (Method::PUT, format!("/{id}")),
            4 => (Method::POST, String::new()),
            _ => (Method::PATCH, format!("/{id}")),
        };
        let request = http.request(method, format!("{url}/collections/posts{path}")).bearer_auth(SECRET_KEY);
        let Ok(answer) = request.json(&body).send().await else { return };
        let status = answer.status();
        assert!(status.is_success() || status == 404 || is_busy(status), "{status}");
        if answer.bytes().await.is_err() {
            return;
        }
        if status.is_success() {
            acknowledged();
        }
    }
}

/// Runs `act` on every peer, each in its own task, so that no peer waits for another.
fn each<F: Future<Output = Peer> + Send + 'static>(
    peers: Vec<Peer>,
    act: impl FnMut(Peer) -> F,
) -> impl Future<Output = Vec<Peer>> {
    let tasks: Vec<_> = peers.into_iter().map(act).map(tokio::spawn).collect();
    async { join_all(tasks).await.into_iter().map(Result::unwrap).collect() }
}

async fn start(database_url: &str, port: u16) -> Process {
    let (database_url, listen) = (database_url.to_owned(), format!("127.0.0.1:{port}"));
    let settings = [("COIR_HEARTBEAT_SECONDS", "1")];
    tokio::task::spawn_blocking(move || Process::start_with(&database_url, &listen, &settings)).await.unwrap()
}

async fn claim(database_url: String) {
    let restarts = dice::setting("COIR_TEST_CONVERGENCE_RESTARTS", 3);
    let size = match env::var("COIR_TEST_CONVERGENCE_RESTARTS") {
        Ok(_) => Size { restarts, writers: 32, subscribers: 64, writes: 1500 },
        Err(_) => Size { restarts, writers: 8, subscribers: 16, writes: 400 },
    };
    let mut dice = Dice::new(dice::seed("convergence"));
    let port = find_free_port();
    let mut server = start(&database_url, port).await;
    let (url, http) = (server.url.clone(), Client::new());
    let made = http.post(format!("{url}/collections")).bearer_auth(SECRET_KEY);
    // Snapshots filtered by `group` use this index; the others scan the collection.
    let made = made.json(&json!({ "name": "posts", "indexes": [{ "fields": ["group"] }] }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let (mut peers, cuts) = (peers(size.subscribers, &mut dice), Arc::new(AtomicUsize::new(0)));
    let (writes, mut comparisons, mut changes) = (Arc::new(AtomicUsize::new(0)), 0, 0);
    for _ in 0..size.restarts {
        // The kill comes after a random number of writes.
        let target = writes.load(Ordering::Relaxed) + size.writes + dice.under(size.writes);
        let (is_time, mut time_to_kill) = tokio::sync::mpsc::channel(1);
        let count = writes.clone();
        let acknowledged = move || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == target {
                is_time.try_send(()).unwrap();
            }
        };
        let write = |_| tokio::spawn(write(http.clone(), url.clone(), dice.split(), acknowledged.clone()));
        let writers: Vec<_> = (0..size.writers).map(write).collect();
        let followers = each(peers, |peer| follow(peer, http.clone(), url.clone(), cuts.clone()));
        time_to_kill.recv().await.unwrap();
        server.kill();
        join_all(writers).await.into_iter().for_each(Result::unwrap);
        peers = followers.await;

        server = start(&database_url, port).await;
        comparisons += loop {
            (_, changes) = list(&http, &url, &json!({})).await;
            peers = each(peers, |peer| settle(peer, http.clone(), url.clone(), changes)).await;
            if let Some(compared) = compare(&http, &url, &peers, changes).await {
                break compared;
            }
        };
    }
    let all = || peers.iter().flat_map(|peer| &peer.subscribers);
    let sum =
        |count: fn(&Counts) -> u64| all().map(|subscriber| count(&subscriber.replica.counts())).sum::<u64>();
    eprintln!(
        "{} restarts with kill -9, {} writers, {} subscribers on {} connections: {changes} changes, {} cuts, {} events, \
         {} snapshots, {} resyncs, {comparisons} views compared with the list",
        size.restarts,
        size.writers,
        all().count(),
        peers.len(),
        cuts.load(Ordering::Relaxed),
        sum(|counts| counts.events),
        sum(|counts| counts.snapshots),
        sum(|counts| counts.resyncs),
    );
    assert_eq!(sum(|counts| counts.resyncs), 0, "nothing was pruned, so every cursor can be resumed");
    drop(peers);
    assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
}

mod every_view_is_the_list_at_its_cursor_whatever_was_cut_or_killed {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn on_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        claim(format!("sqlite://{}", directory.path().join("coir.db").display())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgres() {
        claim(tokio::task::spawn_blocking(postgres::database_url).await.unwrap()).await;
    }
}
