//! One run: a server over a model, writers, clients, and what goes wrong.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::{JoinHandle, LocalSet, spawn_local},
};

use coir::{
    domain::Control,
    hub::Bounds,
    hub::relay::Commit,
    query::parse::{Typing, parse_value},
    wire::Form,
};

use crate::{
    client::{Client, Watched},
    counts::{Counter, Counts},
    dice::Dice,
    hall::Hall,
    link::Link,
    log::{COLLECTIONS, LATE, Log, project},
    replica::Replica,
    server::Server,
    visitor::Visitor,
    watcher::Watcher,
};

/// A hub that gives up after a few changes.
pub const TIGHT: Bounds = Bounds {
    changes: 3,
    bytes: 20_000,
    all_bytes: 30_000,
    share: 10_000,
    delay: Duration::from_secs(1),
    unread: 5,
};

/// How far the simulation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everything that can go wrong does at times.
    Running,
    /// Nothing goes wrong any more, so that everything comes to an end.
    Quiet,
    Over,
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
    /// Bytes that documents are made larger by.
    padding: usize,
    /// A commit that the relay hears of after the next one.
    held_back: Option<Commit>,
    prunes: u64,
    rewinds: u64,
    restarts: u64,
    /// How far the hub may be behind.
    bounds: Bounds,
}

impl Run {
    fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let log = Log::new(dice.next());
        Self {
            // 30 KB documents fill a queue with eight events.
            padding: dice.pick(&[0, 0, 0, 0, 2_000, 30_000]),
            prunes: dice.pick(&[0, 3, 10]),
            rewinds: dice.pick(&[0, 0, 0, 2]),
            restarts: dice.pick(&[0, 1, 3]),
            bounds: dice.pick(&[Bounds::default(), Bounds::default(), TIGHT]),
            log,
            counts: Counts::default(),
            held_back: None,
            dice,
        }
    }

    async fn simulate(mut self) -> Counts {
        let (servers, server) = watch::channel(Server::start(&self.log, 0, self.bounds).await);
        let (phases, phase) = watch::channel(Phase::Running);
        let counter = Rc::new(Counter::default());
        let hall = Rc::new(RefCell::new(Hall::default()));
        let link = |dice: &Dice| Link {
            stalls: dice.pick(&[0, 0, 20, 100]),
            dice: dice.clone(),
            counter: counter.clone(),
            server: server.clone(),
            phase: phase.clone(),
        };
        let clients: Vec<_> =
            (0..2 + self.dice.under(9)).map(|_| spawn_local(self.client(link).follow())).collect();
        let watchers: Vec<_> =
            (0..self.dice.under(4)).map(|_| spawn_local(self.watcher(link).follow())).collect();
        let floods = self.dice.percent(50);
        let visitors: Vec<_> = (0..self.dice.under(6))
            .map(|n| Visitor::new(link(&self.dice.split()), format!("v{n}"), hall.clone(), floods))
            .map(|visitor| spawn_local(visitor.follow()))
            .collect();

        let steps = 40 + self.dice.under(80);
        for step in 0..steps {
            let pause = if self.dice.percent(10) { 300 } else { 12 };
            let pause = self.dice.delay(pause);
            self.log.tick(pause.as_millis() as i64);
            tokio::time::sleep(pause).await;
            if step == steps / 4 {
                self.log.create_late();
            }
            self.step(&servers).await;
        }
        self.log.calm();
        let _ = phases.send(Phase::Quiet);
        // The last word of a heartbeat and of the visitors, and all that was late.
        tokio::time::sleep(Duration::from_secs(60)).await;
        let server = servers.borrow().clone();
        hall.borrow().compare(server.number, &server.realtime.bus.rooms(&project()));
        let _ = phases.send(Phase::Over);
        for client in clients {
            self.check_client(finished(client).await);
        }
        for watcher in watchers {
            let view = finished(watcher).await.view;
            view.compare();
            self.counts.watched += 1;
            self.counts.watch_events += view.events;
            self.counts.found += view.found;
        }
        for visitor in visitors {
            let visitor = finished(visitor).await;
            visitor.check();
            self.counts.visits += visitor.visits;
            self.counts.heard += visitor.heard;
            self.counts.cut_off += visitor.cut_off;
            self.counts.refused += visitor.refused;
        }
        if self.counts.prunes + self.counts.rewinds == 0 {
            assert_eq!(self.counts.resyncs, 0, "nothing was lost, so that nothing can't be replayed");
        }
        self.counts.cuts = counter.cuts.get();
        self.counts.stalls = counter.stalls.get();
        self.counts
    }

    fn check_client(&mut self, client: Client) {
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

    async fn step(&mut self, servers: &watch::Sender<Rc<Server>>) {
        let server = servers.borrow().clone();
        if self.dice.percent(self.prunes) {
            let last = self.log.last();
            self.counts.prunes += u64::from(self.log.prune(last.saturating_sub(self.dice.under(15))));
        } else if self.dice.percent(self.restarts) {
            self.counts.restarts += 1;
            self.held_back = None;
            let number = server.number + 1;
            let server = Server::start(&self.log, number, self.bounds).await;
            servers.send_replace(server);
        } else if self.dice.percent(self.rewinds) {
            self.counts.rewinds += 1;
            self.log.rewind(1 + self.dice.under(10));
            self.held_back = None;
            // Every other time the next changes use the lost sequences again before anyone has looked.
            if self.dice.percent(50) {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        } else if self.dice.under(1000) < 1 {
            self.burst(&server).await;
        } else {
            let commit = self.write(1 + self.dice.under(4));
            self.publish(&server, commit);
        }
    }

    /// Writes more than the recent changes hold. At times it stops the worker thread meanwhile, and writes more than its channel
    /// holds; that takes many writes, because not every one is an event for somebody.
    async fn burst(&mut self, server: &Server) {
        self.counts.bursts += 1;
        let padding = std::mem::take(&mut self.padding);
        let is_held = self.dice.percent(60);
        server.gate.set(is_held);
        let count = if is_held { 8000 } else { 300 };
        for _ in 0..count {
            let commit = self.write(1);
            if !commit.changes.is_empty() {
                server.relay.publish(commit);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.gate.set(false);
        self.padding = padding;
    }

    /// A commit: some changes, of one or several documents.
    fn write(&mut self, count: u64) -> Commit {
        let (after, mut changes) = (self.log.end(), Vec::new());
        for _ in 0..count {
            let collection = match self.dice.under(100) {
                0..10 if self.log.has_collection(LATE) => LATE,
                0..80 => COLLECTIONS[0],
                _ => COLLECTIONS[1],
            };
            let id = format!("d{:02}", self.dice.under(16));
            if self.dice.percent(5) {
                changes.push(self.log.append_control(Control::KeyRevoked { key: "another".to_owned() }));
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
        Commit { after, changes }
    }

    /// Tells the relay of a commit, or doesn't, as if another node had made it.
    fn publish(&mut self, server: &Rc<Server>, commit: Commit) {
        if commit.changes.is_empty() {
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
                self.held_back = Some(commit);
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
            for commit in [Some(commit), held_back].into_iter().flatten() {
                // In a real server a change that was lost is never announced this late.
                if log.holds(&commit.changes) {
                    relay.publish(commit);
                }
            }
        });
    }

    fn client(&self, link: impl Fn(&Dice) -> Link) -> Client {
        let dice = self.dice.split();
        let form = if dice.percent(50) { Form::Sse } else { Form::WebSocket };
        let count = if form == Form::Sse { 1 } else { 1 + dice.under(2) };
        let watched: BTreeMap<_, _> = (0..count)
            .map(|n| {
                let collection = if dice.percent(85) { COLLECTIONS[0] } else { COLLECTIONS[1] };
                (format!("s{n}"), Watched { collection, filter: filter(&dice), replica: Replica::default() })
            })
            .collect();
        Client { link: link(&dice), form, watched }
    }

    fn watcher(&self, link: impl Fn(&Dice) -> Link) -> Watcher {
        let dice = self.dice.split();
        let collection = dice.pick(&[COLLECTIONS[0], COLLECTIONS[1], LATE, LATE]);
        let filter = filter(&dice);
        Watcher::new(link(&dice), self.log.clone(), collection, filter)
    }
}

pub async fn finished<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(err) => std::panic::resume_unwind(err.into_panic()),
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
