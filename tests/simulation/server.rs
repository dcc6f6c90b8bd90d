//! A server without HTTP and without a database: everything between the log and its clients, put together as `app` does.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Poll, Waker},
    time::Duration,
};

use actix_web::web;
use tokio::sync::watch;

use coir::{
    api::{
        cocobase::rooms::registry::Rooms,
        realtime::{Admission, ConnectionCount, Realtime, local_shard::Parts},
        sockets::{SocketHandle, SocketLimits, Sockets},
    },
    auth::{
        AccessKeys, Authenticator, KeyRing, Rates, Sessions, Tickets, TokenAlgorithm, Tokens, TrafficLimits,
    },
    domain::{Control, KeyStates, Position, ProjectId, secrets::Secrets},
    hub::{
        self, Bounds, Shard,
        relay::{self, ControlObserver, LogReader, RelayHandle},
    },
    live::reads::{StreamReader, Streams},
    store::{Db, Durability},
    supervision::Supervisor,
    writer::Activity,
};

use crate::log::Log;

/// The parts of a server between the log and its clients, as `app` puts them together.
pub struct Server {
    /// How many servers there were before it.
    pub number: u64,
    pub realtime: web::Data<Realtime>,
    shard: Rc<Shard>,
    sockets: Arc<Sockets>,
    pub relay: RelayHandle,
    pub gate: Rc<Gate>,
    _stop: watch::Sender<bool>,
}

/// Stops a worker thread for a while.
#[derive(Default)]
pub struct Gate {
    is_shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    pub fn set(&self, is_shut: bool) {
        self.is_shut.set(is_shut);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

struct Nobody;

impl ControlObserver for Nobody {
    fn confirm(&self, _: std::time::Instant) {}

    fn observe(&self, _: &ProjectId, _: Position, _: &Control) {}
    fn observe_gap(&self, _: &ProjectId, _: u64, _: &KeyStates) {}
}

/// Makes an authenticator, which the simulation never asks. It needs a database, so it has an empty one outside of the simulated
/// time.
fn authenticator() -> Authenticator {
    static KEYS: OnceLock<Authenticator> = OnceLock::new();
    let make = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let directory = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", directory.path().join("coir.db").display());
            let db =
                runtime.block_on(Db::connect(&url, Durability::Normal, Duration::from_secs(10))).unwrap();
            let secrets = Secrets::new(vec![1; 32], None);
            let authenticator = Authenticator {
                keys: KeyRing::new(db.clone()),
                sessions: Sessions::new(db),
                tokens: Tokens::new(
                    AccessKeys::new(TokenAlgorithm::Hs256, &secrets, &secrets).unwrap(),
                    secrets,
                ),
                foreign: std::sync::Arc::default(),
            };
            sender.send(authenticator).unwrap();
        });
        receiver.recv().unwrap()
    };
    KEYS.get_or_init(make).clone()
}

impl Server {
    pub async fn start(log: &Log, number: u64, bounds: Bounds) -> Rc<Self> {
        let log = Arc::new(log.clone());
        Self::start_over((log.clone(), log), Arc::new(Nobody), number, bounds).await
    }

    /// Starts one over other models.
    pub async fn start_over(
        (log, reader): (Arc<dyn LogReader>, Arc<dyn StreamReader>),
        observer: Arc<dyn ControlObserver>,
        number: u64,
        bounds: Bounds,
    ) -> Rc<Self> {
        let supervisor = Supervisor::default();
        let hub = hub::start(bounds, &supervisor);
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
            match relay::start(hub.clone(), log.clone(), observer.clone(), &supervisor).await {
                Ok(relay) => break relay,
                // A real process would end, and be started again.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let (stop, stopped) = watch::channel(false);
        let realtime = Realtime {
            streams: Streams::new(reader, relay.clone(), Activity::default(), 100),
            admission: Admission {
                authenticator: authenticator(),
                tickets: Tickets::new(Secrets::new(b"a secret".to_vec(), None)),
                connections: ConnectionCount::new(10_000),
                allowed_origins: None,
            },
            rates: Rates::new(TrafficLimits::default()),
            heartbeat: Duration::from_secs(15),
            bus: Arc::new(Rooms::default()),
            stop: stopped,
        };
        let all = 1_000_000;
        let limits = SocketLimits { open: all, unauthenticated: all, unauthenticated_per_address: all };
        let (realtime, sockets) = (web::Data::new(realtime), Sockets::new(limits, None));
        Rc::new(Self { number, realtime, shard, sockets, relay, gate, _stop: stop })
    }

    /// Returns the parts that a stream needs, with a TCP connection that nobody reads.
    pub fn parts(&self) -> Parts {
        let socket = SocketHandle::admit(&self.sockets, None).unwrap();
        Parts {
            realtime: self.realtime.clone(),
            shard: self.shard.clone(),
            socket,
            origin: None,
            address: None,
        }
    }
}
