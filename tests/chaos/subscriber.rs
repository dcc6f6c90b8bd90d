//! Subscribers that are cut and go on at another node, and a follower that counts every event.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    harness::{
        Dice, SECRET_KEY, TestStream, View,
        peer::{Connected, Peer, is_busy},
    },
    world::{NODES, World},
};

/// How long a client waits until it has a connection, and for the next sign of life, before it tries another node.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long views may take to get everything when the chaos is over.
const LIMIT: Duration = Duration::from_secs(60);

/// Follows the subscriptions of a peer until it is told to stop. The connection stays open then.
pub async fn follow(mut peer: Peer, world: Arc<World>, mut stop: watch::Receiver<bool>) -> Peer {
    let mut cuts = world.cuts.subscribe();
    loop {
        let most = [10, 600][peer.dice.under(2)];
        let count = 1 + peer.dice.under(most);
        let messages = async {
            if !connect(&mut peer, &world).await {
                return;
            }
            for _ in 0..count {
                if timeout(PATIENCE, peer.take_next()).await != Ok(true) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return peer,
            _ = cuts.changed() => {}
            () = messages => {}
        }
        if peer.cut() {
            world.history.count("cut streams");
        }
    }
}

/// Follows the subscriptions of a peer until each has everything up to a sequence.
pub async fn settle(mut peer: Peer, world: Arc<World>, until: i64) -> Peer {
    let settle = async {
        while !peer.is_at(until) {
            if connect(&mut peer, &world).await && timeout(PATIENCE, peer.take_next()).await != Ok(true) {
                peer.cut();
            }
        }
    };
    let is_settled = timeout(LIMIT, settle).await.is_ok();
    let at: Vec<_> = peer.subscribers.iter().map(|subscriber| subscriber.replica.sequence()).collect();
    assert!(is_settled, "peer {} is at {at:?}, and not at {until}", peer.number);
    peer
}

/// Connects to some node. Returns false after a pause if that has failed.
async fn connect(peer: &mut Peer, world: &World) -> bool {
    let node = peer.dice.under(NODES);
    let connected = timeout(PATIENCE, peer.connect(&world.http, &world.nodes[node].url)).await;
    if connected == Ok(Connected::Open) {
        return true;
    }
    sleep(PAUSE).await;
    false
}

/// A stream without a snapshot that begins with the empty collection, so that it must have every event.
pub struct Follower {
    pub view: View,
    cursor: Option<String>,
    stream: Option<TestStream>,
    dice: Dice,
}

impl Follower {
    /// Begins before the first document is written.
    pub async fn start(world: &World, dice: Dice) -> Self {
        let mut follower = Self { view: View::default(), cursor: None, stream: None, dice };
        assert!(follower.connect(world).await, "nothing is disturbed yet");
        follower.cursor = Some(follower.stream.as_mut().unwrap().opened().await);
        follower
    }

    /// Follows until it is told to stop.
    pub async fn follow(mut self, world: Arc<World>, mut stop: watch::Receiver<bool>) -> Self {
        let mut cuts = world.cuts.subscribe();
        loop {
            let messages = async { while self.step(&world).await {} };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return self,
                _ = cuts.changed() => {}
                () = messages => {}
            }
            self.stream = None;
        }
    }

    /// Follows until it has everything up to a sequence.
    pub async fn settle(mut self, world: Arc<World>, until: i64) -> Self {
        let settle = async {
            while self.sequence() < until {
                if !self.step(&world).await {
                    self.stream = None;
                }
            }
        };
        let is_settled = timeout(LIMIT, settle).await.is_ok();
        assert!(is_settled, "the follower is at {}, and not at {until}", self.sequence());
        self
    }

    fn sequence(&self) -> i64 {
        self.cursor.as_deref().map_or(0, crate::harness::sequence_of)
    }

    /// Takes a block. Returns false if the stream has ended.
    async fn step(&mut self, world: &World) -> bool {
        if self.stream.is_none() && !timeout(PATIENCE, self.connect(world)).await.unwrap_or(false) {
            sleep(PAUSE).await;
            return true;
        }
        let Some(stream) = &mut self.stream else { return true };
        let Ok(Some(block)) = timeout(PATIENCE, stream.try_next_block()).await else { return false };
        if block.event.as_deref() == Some("error") {
            assert_eq!(block.json()["code"], "OVERLOADED", "{block:?}");
            return false;
        }
        self.view.take(&block);
        if let Some(id) = block.id {
            self.cursor = Some(id);
        }
        true
    }

    /// Connects to some node, and resumes at the cursor.
    async fn connect(&mut self, world: &World) -> bool {
        let url = &world.nodes[self.dice.under(NODES)].url;
        let mut request = world.http.get(format!("{url}/realtime/sse/posts")).bearer_auth(SECRET_KEY);
        if let Some(cursor) = &self.cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let Ok(answer) = request.send().await else { return false };
        if !is_busy(answer.status()) {
            self.stream = Some(TestStream::of(answer));
        }
        self.stream.is_some()
    }
}
