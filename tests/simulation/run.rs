//! One run: a server over the model, writers, clients, and faults.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Poll, Waker},
    time::Duration,
};

use actix_web::web;
use serde_json::{Value, json};
use tokio::{sync::watch, task::LocalSet};

use coir::{
    api::{
        cocobase::rooms::registry::Rooms,
        realtime::{Admission, ConnectionCount, Realtime},
    },
    auth::{KeyRing, Tickets},
    domain::{Change, Control, KeyId, ProjectId},
    hub::{
        self, Shard,
        relay::{self, ControlObserver, RelayHandle},
    },
    live::reads::Streams,
    query::parse::{Typing, parse_value},
    store::{Db, Durability},
    wire::Form,
    writer::Activity,
};

use crate::{
    client::{Client, Watched},
    dice::Dice,
    log::{COLLECTIONS, Log},
    replica::Replica,
};

/// The phases of a simulation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All faults happen.
    Running,
    /// No fault happens, so that every client can catch up.
    Quiet,
    Over,
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    changes: u64,
    /// Commits that the relay heard of late, out of order (`swapped`), or not at all (`unheard`).
    late: u64,
    swapped: u64,
    unheard: u64,
    cuts: u64,
    stalls: u64,
    bursts: u64,
    restarts: u64,
    prunes: u64,
    rewinds: u64,
    events: u64,
    snapshots: u64,
    resyncs: u64,
    comparisons: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (total, more) in self.all_mut().into_iter().zip(other.clone().all_mut()) {
            *total += *more;
        }
    }

    pub fn check_that_all_happened(&self) {
        for count in self.clone().all_mut() {
            assert!(*count > 0, "something never happened: {self:?}");
        }
    }

    fn all_mut(&mut self) -> [&mut u64; 14] {
        let Self {
            changes,
            late,
            swapped,
            unheard,
            cuts,
            stalls,
            bursts,
            restarts,
            prunes,
            rewinds,
            events,
            snapshots,
            resyncs,
            comparisons,
        } = self;
        [
            changes,
            late,
            swapped,
            unheard,
            cuts,
            stalls,
            bursts,
            restarts,
            prunes,
            rewinds,
            events,
            snapshots,
            resyncs,
            comparisons,
        ]
    }
}

/// What the clients count.
#[derive(Default)]
pub struct Counter {
    pub cuts: Cell<u64>,
    pub stalls: Cell<u64>,
}

/// The parts of a server between the log and its clients, assembled as `app` does it.
pub struct Server {
    pub realtime: web::Data<Realtime>,
    pub shard: Rc<Shard>,
    relay: RelayHandle,
    gate: Rc<Gate>,
    _stop: watch::Sender<bool>,
}

/// Stops a worker thread for a while.
#[derive(Default)]
struct Gate {
    is_shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        self.is_shut.set(is_shut);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

struct Nobody;

impl ControlObserver for Nobody {
    fn observe(&self, _: &ProjectId, _: u64, _: &Control) {}
    fn observe_gap(&self, _: &ProjectId, _: u64, _: &[KeyId]) {}
}

/// Returns a key ring over an empty database. The simulation never uses it, but sessions need one. It is made outside the
/// simulated time.
fn key_ring() -> KeyRing {
    static KEYS: OnceLock<KeyRing> = OnceLock::new();
    let make = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", directory.path().join("coir.db").display());
            let db =
                runtime.block_on(Db::connect(&url, Durability::Normal, Duration::from_secs(10))).unwrap();
            sender.send(KeyRing::new(db)).unwrap();
        });
        receiver.recv().unwrap()
    };
    KEYS.get_or_init(make).clone()
}

impl Server {
    async fn start(log: &Log) -> Rc<Self> {
        let hub = hub::start();
        let (shard, shard_loop) = Shard::new(0, hub.clone());
        let gate = Rc::new(Gate::default());
        let held = gate.clone();
        let mut shard_loop: Pin<Box<dyn Future<Output = ()>>> = Box::pin(shard_loop);
        tokio::task::spawn_local(poll_fn(move |context| {
            if held.is_shut.get() {
                *held.waker.borrow_mut() = Some(context.waker().clone());
                return Poll::Pending;
            }
            shard_loop.as_mut().poll(context)
        }));
        let relay = loop {
            match relay::start(hub.clone(), Arc::new(log.clone()), Arc::new(Nobody)).await {
                Ok(relay) => break relay,
                // A real process would end here and be started again.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let (stop, stopped) = watch::channel(false);
        let realtime = Realtime {
            streams: Streams::new(Arc::new(log.clone()), Activity::default(), 100),
            admission: Admission {
                keys: key_ring(),
                tickets: Tickets::new(b"a secret"),
                connections: ConnectionCount::new(10_000),
                allowed_origins: None,
            },
            heartbeat: Duration::from_secs(15),
            bus: Arc::new(Rooms::default()),
            stop: stopped,
        };
        Rc::new(Self { realtime: web::Data::new(realtime), shard, relay, gate, _stop: stop })
    }
}

/// Runs a seed; panics if a view is wrong.
pub fn run(seed: u64) -> Counts {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, Run::new(seed).simulate())
}

struct Run {
    dice: Dice,
    log: Log,
    counts: Counts,
    /// How many bytes of padding documents get.
    padding: usize,
    /// A commit that the relay will hear of after the next one.
    held_back: Option<Vec<Arc<Change>>>,
    prunes: u64,
    rewinds: u64,
    restarts: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let log = Log::new(dice.next());
        Self {
            // With documents of 30 KB, eight events fill a queue.
            padding: dice.pick(&[0, 0, 0, 0, 2_000, 30_000]),
            prunes: dice.pick(&[0, 3, 10]),
            rewinds: dice.pick(&[0, 0, 0, 2]),
            restarts: dice.pick(&[0, 1, 3]),
            log,
            counts: Counts::default(),
            held_back: None,
            dice,
        }
    }

    async fn simulate(mut self) -> Counts {
        let (servers, server) = watch::channel(Server::start(&self.log).await);
        let (phases, phase) = watch::channel(Phase::Running);
        let counter = Rc::new(Counter::default());
        let clients: Vec<_> = (0..2 + self.dice.under(9))
            .map(|_| self.client(counter.clone()))
            .map(|client| tokio::task::spawn_local(client.follow(server.clone(), phase.clone())))
            .collect();

        for _ in 0..40 + self.dice.under(80) {
            let pause = if self.dice.percent(10) { 300 } else { 12 };
            let pause = self.dice.delay(pause);
            self.log.tick(pause.as_millis() as i64);
            tokio::time::sleep(pause).await;
            self.step(&servers).await;
        }
        self.log.calm();
        let _ = phases.send(Phase::Quiet);
        // Waits for the last heartbeat and for everything that is late.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let _ = phases.send(Phase::Over);
        for client in clients {
            let client = match client.await {
                Ok(client) => client,
                Err(err) => std::panic::resume_unwind(err.into_panic()),
            };
            for watched in client.watched.values() {
                let filter = parse_value(watched.filter.clone(), Typing::Typed).unwrap();
                watched.replica.compare(&self.log.documents(watched.collection, &filter), self.log.last());
                self.counts.comparisons += 1;
                let counts = watched.replica.view().counts();
                self.counts.events += counts.events;
                self.counts.snapshots += counts.snapshots;
                self.counts.resyncs += counts.resyncs;
            }
        }
        if self.counts.prunes + self.counts.rewinds == 0 {
            assert_eq!(self.counts.resyncs, 0, "nothing was lost, so that nothing can't be replayed");
        }
        self.counts.cuts = counter.cuts.get();
        self.counts.stalls = counter.stalls.get();
        self.counts
    }

    async fn step(&mut self, servers: &watch::Sender<Rc<Server>>) {
        let server = servers.borrow().clone();
        if self.dice.percent(self.prunes) {
            let last = self.log.last();
            self.counts.prunes += u64::from(self.log.prune(last.saturating_sub(self.dice.under(15))));
        } else if self.dice.percent(self.restarts) {
            self.counts.restarts += 1;
            self.held_back = None;
            let server = Server::start(&self.log).await;
            servers.send_replace(server);
        } else if self.dice.percent(self.rewinds) {
            self.counts.rewinds += 1;
            self.log.rewind(1 + self.dice.under(10));
            self.held_back = None;
            // The server notices a rewind by the end of the log, so it must have time to look, even if the relay is far
            // behind.
            tokio::time::sleep(Duration::from_secs(20)).await;
        } else if self.dice.under(1000) < 1 {
            self.burst(&server).await;
        } else {
            let changes = self.write(1 + self.dice.under(4));
            self.publish(&server, changes);
        }
    }

    /// Writes more than the hub's recent changes hold. At times the worker thread stands still meanwhile, so that its channel
    /// overflows too.
    async fn burst(&mut self, server: &Server) {
        self.counts.bursts += 1;
        let padding = std::mem::take(&mut self.padding);
        let is_held = self.dice.percent(60);
        server.gate.set(is_held);
        let count = if is_held { 8000 } else { 300 };
        for _ in 0..count {
            let changes = self.write(1);
            if !changes.is_empty() {
                server.relay.publish(changes).await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.gate.set(false);
        self.padding = padding;
    }

    /// Commits some changes of one or several documents.
    fn write(&mut self, count: u64) -> Vec<Arc<Change>> {
        let mut changes = Vec::new();
        for _ in 0..count {
            let collection = if self.dice.percent(80) { COLLECTIONS[0] } else { COLLECTIONS[1] };
            let id = format!("d{:02}", self.dice.under(16));
            if self.dice.percent(5) {
                changes.push(self.log.write_control());
            } else if self.dice.percent(25) {
                changes.extend(self.log.write(collection, &id, None));
            } else {
                let data = json!({
                    "group": self.dice.pick(&["a", "b", "c"]), "n": self.dice.under(6),
                    "padding": "x".repeat(self.padding),
                });
                changes.extend(self.log.write(collection, &id, Some(data)));
            }
        }
        self.counts.changes += changes.len() as u64;
        changes
    }

    /// Tells the relay about a commit, or doesn't, as if another node had written it.
    fn publish(&mut self, server: &Rc<Server>, changes: Vec<Arc<Change>>) {
        if changes.is_empty() {
            return;
        }
        let mut delay = Duration::ZERO;
        match self.dice.under(100) {
            0..8 => {
                self.counts.unheard += 1;
                return;
            }
            8..16 => {
                self.counts.late += 1;
                delay = self.dice.delay(700);
            }
            16..24 if self.held_back.is_none() => {
                self.counts.swapped += 1;
                self.held_back = Some(changes);
                return;
            }
            _ => {}
        }
        let held_back = self.held_back.take();
        let (relay, log) = (server.relay.clone(), self.log.clone());
        tokio::task::spawn_local(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            for changes in [Some(changes), held_back].into_iter().flatten() {
                // A server is never so late with a change that was lost meanwhile.
                if log.holds(&changes) {
                    relay.publish(changes).await;
                }
            }
        });
    }

    fn client(&self, counter: Rc<Counter>) -> Client {
        let dice = self.dice.split();
        let form = if dice.percent(50) { Form::Sse } else { Form::WebSocket };
        let count = if form == Form::Sse { 1 } else { 1 + dice.under(2) };
        let watched: BTreeMap<_, _> = (0..count)
            .map(|n| {
                let collection = if dice.percent(85) { COLLECTIONS[0] } else { COLLECTIONS[1] };
                (format!("s{n}"), Watched { collection, filter: filter(&dice), replica: Replica::default() })
            })
            .collect();
        Client { stalls: dice.pick(&[0, 0, 20, 100]), dice, form, watched, counter }
    }
}

fn filter(dice: &Dice) -> Value {
    match dice.under(5) {
        0 => json!({}),
        1 => json!({ "group": dice.pick(&["a", "b", "c"]) }),
        2 => json!({ "n__gte": dice.under(6) }),
        3 => json!({ "$or": [{ "group": "a" }, { "n": dice.under(6) }] }),
        _ => json!({ "group": "nothing has this" }),
    }
}
