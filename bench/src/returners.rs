//! Many clients that come back at once, on a thread of their own, so that reading doesn't delay those who write.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::account::{Account, Rooms};
use crate::event_stream::SubscribeError;
use crate::http::Site;
use crate::report::Latencies;
use crate::returner::Returner;
use crate::subscribers::{SCRATCH_BYTES, Transport};

/// How long what was written last may take to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at whether it has come.
const POLL: Duration = Duration::from_millis(20);

/// Who comes back, and what each asks for.
pub struct Plan {
    pub site: Site,
    pub clients: usize,
    pub rooms: Rooms,
    pub asks: Return,
    /// What each is to get.
    pub account: Account,
}

/// What a client comes back with.
pub enum Return {
    /// With the place that it was at; it has caught up when it has the first writer's documents up to `until`.
    Cursor { cursor: String, until: u64 },
    /// With nothing: it takes a snapshot.
    Snapshot,
}

impl Plan {
    /// Every second client is a WebSocket.
    pub fn transport_of(&self, index: usize) -> Transport {
        if index.is_multiple_of(2) { Transport::Ws } else { Transport::Sse }
    }

    /// What each asks for, if not for everything.
    pub fn filters(&self) -> Option<Value> {
        self.rooms.chosen.map(|room| json!({ "room": format!("r{room}") }))
    }
}

/// What the clients got.
pub struct Received {
    /// By client.
    pub accounts: Vec<Account>,
    /// From the start of all to when one had caught up.
    pub caught_up: Latencies,
    /// From the end of all writes to when the last client had all of them.
    pub rest: Duration,
    /// Read from all connections.
    pub bytes: u64,
    /// Clients whose connection ended, or could not be made, by reason.
    pub ended: BTreeMap<String, u64>,
}

/// The running thread.
pub struct Returners {
    settled: oneshot::Receiver<()>,
    stop: oneshot::Sender<Vec<u64>>,
    thread: JoinHandle<Result<Received, SubscribeError>>,
}

impl Returners {
    /// Starts the thread, which connects all clients at once.
    pub fn start(plan: Plan) -> Self {
        let (settle, settled) = oneshot::channel();
        let (stop, is_stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(Default::default())?;
            Ok(runtime.block_on(receive(plan, settle, is_stopped)))
        });
        Self { settled, stop, thread }
    }

    /// Returns once every client has caught up, or has ended.
    pub async fn settled(&mut self) {
        // It is dropped if the thread has failed; then `stop` has the reason.
        let _ = (&mut self.settled).await;
    }

    /// Waits until each client has every writer's documents up to these numbers, ends all connections and returns what was
    /// received; what has not come by then is lost.
    ///
    /// # Errors
    /// If the thread could not begin.
    pub fn stop(self, written: Vec<u64>) -> Result<Received, SubscribeError> {
        // Nobody listens any more if the thread has failed; then `join` has the reason.
        let _ = self.stop.send(written);
        self.thread.join().expect("the clients' thread does not panic")
    }
}

/// What the clients of the thread have in common.
pub struct Shared {
    pub plan: Plan,
    pub received: RefCell<Received>,
    pub scratch: RefCell<Vec<u8>>,
    start: Instant,
}

async fn receive(plan: Plan, settle: oneshot::Sender<()>, mut stop: oneshot::Receiver<Vec<u64>>) -> Received {
    let clients = plan.clients;
    let shared = Rc::new(Shared {
        received: RefCell::new(Received::new(vec![plan.account.clone(); clients])),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        start: Instant::now(),
        plan,
    });
    let (settled, mut outcomes) = mpsc::unbounded_channel();
    for index in 0..clients {
        spawn_local(come_back(Rc::clone(&shared), index, settled.clone()));
    }
    let all = async {
        for _ in 0..clients {
            outcomes.recv().await.expect("a sender is kept here");
        }
        // The starter may have given up; then `stop` is closed too, and that ends this.
        let _ = settle.send(());
        std::future::pending().await
    };
    let written = tokio::select! {
        written = all => written,
        written = &mut stop => written.unwrap_or_default(),
    };
    let (end, rooms) = (Instant::now(), shared.plan.rooms);
    let rest = async {
        while !shared.received.borrow().accounts.iter().all(|account| account.reaches(&rooms, &written)) {
            sleep(POLL).await;
        }
    };
    // Whether it has come shows in the accounts.
    let _ = timeout(PATIENCE, rest).await;
    let mut received = shared.received.replace(Received::new(Vec::new()));
    received.rest = end.elapsed();
    for account in &mut received.accounts {
        account.close(&rooms, &written);
    }
    received
}

/// One client's life: says on `settled` that it has caught up or ended, then reads on until its task is dropped.
async fn come_back(shared: Rc<Shared>, index: usize, settled: mpsc::UnboundedSender<()>) {
    let error = match live(&shared, index, &settled).await {
        Ok(error) => error,
        Err(error) => {
            // Whoever counts the outcomes may have left; then the runtime ends.
            let _ = settled.send(());
            error
        }
    };
    *shared.received.borrow_mut().ended.entry(error.to_string()).or_default() += 1;
}

/// Why the client ended after it had caught up.
///
/// # Errors
/// Why it ended before.
async fn live(
    shared: &Rc<Shared>,
    index: usize,
    settled: &mpsc::UnboundedSender<()>,
) -> Result<SubscribeError, SubscribeError> {
    let mut returner = Returner::open(Rc::clone(shared), index).await?;
    returner.catch_up().await?;
    shared.received.borrow_mut().caught_up.record_nanos(shared.start.elapsed().as_nanos() as u64);
    let _ = settled.send(());
    Ok(returner.follow().await)
}

impl Received {
    fn new(accounts: Vec<Account>) -> Self {
        Self {
            accounts,
            caught_up: Latencies::default(),
            rest: Duration::ZERO,
            bytes: 0,
            ended: BTreeMap::new(),
        }
    }
}
