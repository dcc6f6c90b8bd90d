//! A run: rounds of chaos, each followed by a quiet moment in which everything is compared.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::join_all};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    faults::FAULTS,
    harness::{
        Dice, SECRET_KEY, Sql, dice, list_all,
        peer::{self, Peer},
        process::Process,
    },
    probe,
    subscriber::{self, Follower},
    world::{Durability, NODES, World},
    writer::Writer,
};

const WRITERS: usize = 6;
const SUBSCRIBERS: usize = 16;
/// The milliseconds of a round.
const ROUND: std::ops::Range<usize> = 8_000..16_000;

/// Runs for `COIR_TEST_CHAOS_SECONDS`, or for so many seconds.
pub async fn run(durability: Durability, seconds: usize) {
    let time = Duration::from_secs(dice::setting("COIR_TEST_CHAOS_SECONDS", seconds) as u64);
    let seed = dice::seed("chaos");
    let world = World::start(durability).await;
    let stillness = tokio::spawn(note_stillness(world.clone()));
    let outcome = AssertUnwindSafe(rounds(world.clone(), time, Dice::new(seed))).catch_unwind().await;
    stillness.abort();
    if let Err(panic) = outcome {
        eprintln!(
            "the history of this run:\n{}\n\nthe nodes' logs:\n{}\n{}\nCOIR_TEST_SEED={seed} COIR_TEST_CHAOS_SECONDS={} \
             cargo test --test chaos at_{} repeats the faults",
            world.history.lines(),
            world.ends_of_logs(),
            world.history.sums(),
            time.as_secs(),
            format!("{durability:?}").to_lowercase(),
        );
        std::panic::resume_unwind(panic);
    }
    eprintln!("chaos at {durability:?} durability, seed {seed}: {}", world.history.sums());
}

/// Notes when this process, or the machine, stood still: what is late then is no fault of the nodes.
async fn note_stillness(world: Arc<World>) {
    loop {
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if begun.elapsed() > Duration::from_secs(1) {
            world.history.note(format_args!("the test itself stood still for {:?}", begun.elapsed()));
        }
    }
}

/// Those who use the nodes. They are here between two rounds.
struct Users {
    writers: Vec<Writer>,
    peers: Vec<Peer>,
    /// `None` if writes may be lost, since it can't go on without a snapshot.
    follower: Option<Follower>,
}

async fn rounds(world: Arc<World>, time: Duration, mut dice: Dice) {
    for name in ["posts", "notes", "probes"] {
        let made = world.http.post(format!("{}/collections", world.nodes[0].url)).bearer_auth(SECRET_KEY);
        let made = made.json(&json!({ "name": name, "indexes": [{ "fields": ["group"] }] }));
        assert_eq!(made.send().await.unwrap().status(), 201);
    }
    let mut users = Users {
        writers: (0..WRITERS).map(|number| Writer::new(number, dice.split())).collect(),
        peers: peer::peers(SUBSCRIBERS, &mut dice),
        follower: match world.durability {
            Durability::Full => Some(Follower::start(&world, dice.split()).await),
            Durability::Normal => None,
        },
    };
    let mut faults: Vec<_> = FAULTS.iter().map(|fault| (*fault, dice.split())).collect();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let until = Instant::now() + dice.milliseconds(ROUND);
        let (stop, stopped) = watch::channel(false);
        let causing = join_all(faults.into_iter().map(|(fault, dice)| {
            let causing = fault.repeat(world.clone(), dice, until);
            let world = world.clone();
            async move { (fault, watched(&world, format!("{fault:?}"), causing).await) }
        }));
        let probes = join_all((0..NODES).map(|node| {
            watched(&world, format!("probe {node}"), probe::watch(world.clone(), node, stopped.clone()))
        }));
        let writers = join_all(users.writers.into_iter().map(|writer| {
            let name = format!("writer {}", writer.number);
            watched(&world, name, writer.work(world.clone(), stopped.clone()))
        }));
        let peers = join_all(users.peers.into_iter().map(|peer| {
            let name = format!("peer {}", peer.number);
            watched(&world, name, subscriber::follow(peer, world.clone(), stopped.clone()))
        }));
        let follower = async {
            match users.follower {
                Some(follower) => {
                    let follow = follower.follow(world.clone(), stopped.clone());
                    Some(watched(&world, "the follower".to_owned(), follow).await)
                }
                None => None,
            }
        };
        let causing = async {
            let faults = causing.await;
            world.history.note("all faults are over");
            stop.send_replace(true);
            faults
        };
        let ends = tokio::join!(causing, probes, writers, peers, follower);
        faults = ends.0;
        users = Users { writers: ends.2, peers: ends.3, follower: ends.4 };
        world.history.note("every node works, and every write is acknowledged");
        world.check_processes();
        users = compare(&world, users).await;
        world.history.count("rounds");
    }
    check_log(&world, users.follower.as_ref()).await;
    for subscriber in users.peers.iter().flat_map(|peer| &peer.subscribers) {
        (0..subscriber.replica.counts().resyncs).for_each(|_| world.history.count("resyncs"));
    }
    drop(users.peers);
    for node in &world.nodes {
        let process = node.process.lock().unwrap().take();
        let mut process = process.unwrap();
        let ended = tokio::task::spawn_blocking(move || Process::terminate(&mut process)).await.unwrap();
        assert!(ended, "node {} does not stop as it should", node.number);
    }
}

/// Runs a part as a task of its own. If it fails, the history says when.
fn watched<T: Send + 'static>(
    world: &Arc<World>,
    name: String,
    part: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    let world = world.clone();
    let part = tokio::spawn(async move {
        match AssertUnwindSafe(part).catch_unwind().await {
            Ok(value) => value,
            Err(panic) => {
                world.history.note(format_args!("FAILED: {name}"));
                std::panic::resume_unwind(panic)
            }
        }
    });
    async { part.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) }
}

/// Compares every document with what its writer knows, and every view with the list at its cursor, on every node.
async fn compare(world: &Arc<World>, mut users: Users) -> Users {
    for node in &world.nodes {
        if world.durability == Durability::Full {
            for collection in ["posts", "notes"] {
                let listed = list_all(&world.http, &node.url, collection).await;
                for writer in &users.writers {
                    let compared = writer.account.compare(collection, writer.number, &listed);
                    compared.unwrap_or_else(|why| panic!("in the list of node {}: {why}", node.number));
                }
                world.history.count("lists compared with what was acknowledged");
            }
        }
        let compared = loop {
            let (_, until) = peer::list(&world.http, &node.url, &json!({})).await;
            users.peers = join_all(users.peers.into_iter().map(|peer| {
                let name = format!("peer {}", peer.number);
                watched(world, name, subscriber::settle(peer, world.clone(), until))
            }))
            .await;
            if let Some(follower) = users.follower {
                let settle = follower.settle(world.clone(), until);
                users.follower = Some(watched(world, "the follower".to_owned(), settle).await);
            }
            if let Some(compared) = peer::compare(&world.http, &node.url, &users.peers, until).await {
                break compared;
            }
        };
        (0..compared).for_each(|_| world.history.count("views compared with the list"));
    }
    let resyncs = users.peers.iter().flat_map(|peer| &peer.subscribers);
    let resyncs: u64 = resyncs.map(|subscriber| subscriber.replica.counts().resyncs).sum();
    world.history.note(format_args!("every view is the list, after {resyncs} resyncs"));
    if world.durability == Durability::Full {
        assert_eq!(resyncs, 0, "nothing was pruned or lost, so every cursor can be resumed");
    }
    users
}

/// Looks into the database: the log has no gap, the follower had every event of its collection, and no document is without a
/// collection.
async fn check_log(world: &World, follower: Option<&Follower>) {
    let mut sql = Sql::connect(&world.cluster.url()).await;
    let sequences = sql.integers("SELECT sequence FROM changes ORDER BY sequence").await;
    assert!(sequences.iter().copied().eq(1..=sequences.len() as i64), "the log has a gap");
    let orphans = "SELECT COUNT(*) FROM documents WHERE collection_id NOT IN (SELECT id FROM collections)";
    assert_eq!(sql.integers(orphans).await, [0], "documents that belong to no collection are left");
    if let Some(follower) = follower {
        let posts = "SELECT sequence FROM changes JOIN collections ON collections.id = collection_id \
                     WHERE name = 'posts' ORDER BY sequence";
        assert_eq!(follower.view.sequences, sql.integers(posts).await, "the follower's events");
    }
}
