//! One PostgreSQL and three nodes, each with a network of its own to the database.

use std::{
    fs::{self, File},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use reqwest::Client;
use tokio::sync::watch;

use crate::{
    harness::{
        SilentProxy,
        postgres::{Cluster, find_free_port},
        process::{self, Process},
    },
    history::History,
};

pub const NODES: usize = 3;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Full,
    Normal,
}

pub struct World {
    pub durability: Durability,
    pub history: History,
    pub cluster: Cluster,
    pub nodes: Vec<Node>,
    pub http: Client,
    /// Changes when all streams are cut.
    pub cuts: watch::Sender<usize>,
    /// It has the nodes' logs.
    directory: tempfile::TempDir,
}

/// A node and what disturbs it.
pub struct Node {
    pub number: usize,
    pub url: String,
    /// The network between the node and the database.
    pub network: SilentProxy,
    /// `None` while it is killed.
    pub process: Mutex<Option<Process>>,
    /// Locked by the fault that kills the node or lets it sleep.
    pub is_taken: tokio::sync::Mutex<()>,
    listen: String,
    database_url: String,
    faults: AtomicUsize,
    /// When the last fault ended.
    left_alone: Mutex<Instant>,
}

impl World {
    pub async fn start(durability: Durability) -> Arc<Self> {
        let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
        let mut nodes = Vec::new();
        for number in 0..NODES {
            let (network, url) = SilentProxy::before(&cluster.url()).await;
            let listen = format!("127.0.0.1:{}", find_free_port());
            nodes.push(Node {
                number,
                url: format!("http://{listen}"),
                network,
                process: Mutex::new(None),
                is_taken: tokio::sync::Mutex::new(()),
                listen,
                database_url: format!("{url}?application_name=coir-{number}"),
                faults: AtomicUsize::new(0),
                left_alone: Mutex::new(Instant::now()),
            });
        }
        let world = Arc::new(Self {
            durability,
            history: History::new(),
            cluster,
            nodes,
            http: Client::new(),
            cuts: watch::Sender::new(0),
            directory: tempfile::tempdir().unwrap(),
        });
        for number in 0..NODES {
            world.start_node(number).await;
        }
        world
    }

    /// Starts a node, and waits until it serves.
    pub async fn start_node(self: &Arc<Self>, number: usize) {
        let world = self.clone();
        tokio::task::spawn_blocking(move || {
            let node = &world.nodes[number];
            let log = File::options().append(true).create(true).open(world.log_of(number)).unwrap();
            let mut command = process::command(&["serve"]);
            let durability = format!("{:?}", world.durability).to_lowercase();
            command.envs([
                ("COIR_HEARTBEAT_SECONDS", "1"),
                ("COIR_WORKERS", "2"),
                ("COIR_DURABILITY", &*durability),
            ]);
            command.stderr(log);
            *node.process.lock().unwrap() = Some(Process::spawn(command, &node.database_url, &node.listen));
        })
        .await
        .unwrap_or_else(|_| panic!("node {number} did not start"));
    }

    /// Lets PostgreSQL do something that blocks.
    pub async fn control(self: &Arc<Self>, command: fn(&Cluster)) {
        let world = self.clone();
        tokio::task::spawn_blocking(move || command(&world.cluster)).await.unwrap();
    }

    /// Fails if a node has ended by itself, or has logged a panic.
    pub fn check_processes(&self) {
        for node in &self.nodes {
            let ended = node.process.lock().unwrap().as_mut().and_then(Process::ended);
            assert_eq!(ended, None, "node {} has ended by itself", node.number);
            let log = self.read_log(node.number);
            assert!(!log.contains("panicked"), "node {} panicked", node.number);
        }
    }

    /// Returns the last lines of each node's log.
    pub fn ends_of_logs(&self) -> String {
        let ends = self.nodes.iter().map(|node| {
            let log = self.read_log(node.number);
            let lines: Vec<_> = log.lines().collect();
            format!("node {}:\n{}\n", node.number, lines[lines.len().saturating_sub(60)..].join("\n"))
        });
        ends.collect()
    }

    fn read_log(&self, number: usize) -> String {
        String::from_utf8_lossy(&fs::read(self.log_of(number)).unwrap_or_default()).into_owned()
    }

    fn log_of(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("node-{number}.log"))
    }
}

impl Node {
    /// Says that a fault disturbs the node until the guard is dropped.
    pub fn disturb(&self) -> Disturbance<'_> {
        self.faults.fetch_add(1, Ordering::SeqCst);
        Disturbance(self)
    }

    /// Since when nothing disturbs the node; `None` while something does.
    pub fn left_alone(&self) -> Option<Instant> {
        let left_alone = *self.left_alone.lock().unwrap();
        (self.faults.load(Ordering::SeqCst) == 0).then_some(left_alone)
    }
}

pub struct Disturbance<'a>(&'a Node);

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        *self.0.left_alone.lock().unwrap() = Instant::now();
        self.0.faults.fetch_sub(1, Ordering::SeqCst);
    }
}
