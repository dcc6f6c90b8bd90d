//! A probe asks one node whether it is ready, and writes. A node that nothing disturbs must do both within 15 seconds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::{
    harness::{SECRET_KEY, peer::is_busy},
    world::World,
};

/// How soon after the last fault a node must work again.
const BACK: Duration = Duration::from_secs(15);
/// How long a probe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Probes a node until it is told to stop, and the node works.
pub async fn watch(world: Arc<World>, number: usize, stop: watch::Receiver<bool>) {
    let node = &world.nodes[number];
    let (mut worked, mut count) = (Instant::now(), 0);
    loop {
        let begun = Instant::now();
        count += 1;
        let works = probe(&world, number, count).await;
        let left_alone = node.left_alone();
        if works {
            if let Some(since) = left_alone.filter(|since| worked < *since && *since <= begun) {
                world.history.took("back to work", since.elapsed());
            }
            worked = Instant::now();
            // What worked while the node was disturbed says nothing about the time after it.
            if *stop.borrow() && left_alone.is_some_and(|since| since <= begun) {
                return;
            }
        } else if let Some(since) = left_alone {
            let idle = since.max(worked).elapsed();
            assert!(idle < BACK, "node {number} has not worked for {idle:?}, and nothing disturbed it");
        }
        sleep(Duration::from_millis(150)).await;
    }
}

/// Whether the node says that it is ready, and writes.
async fn probe(world: &World, number: usize, count: usize) -> bool {
    let url = &world.nodes[number].url;
    let ready = world.http.get(format!("{url}/health/ready")).timeout(PATIENCE).send().await;
    if !ready.is_ok_and(|ready| accept(number, ready.status())) {
        return false;
    }
    let write = world.http.put(format!("{url}/collections/probes/node-{number}")).bearer_auth(SECRET_KEY);
    let write = write.json(&json!({ "count": count })).timeout(PATIENCE).send().await;
    write.is_ok_and(|write| accept(number, write.status()))
}

/// Whether it is a success. Fails on what a busy server does not answer.
fn accept(number: usize, status: StatusCode) -> bool {
    assert!(status.is_success() || is_busy(status), "node {number} answers {status}");
    status.is_success()
}
