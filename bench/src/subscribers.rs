//! Many subscribers on a thread of their own, so that reading events doesn't delay those who write.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_local;

use crate::event_stream::SubscribeError;
use crate::http::Site;
use crate::report::Latencies;
use crate::subscriber::{Subscriber, find_sent};

/// How many subscribers are on their way in at once: less than a listener's backlog.
const OPENING_AT_ONCE: usize = 64;
/// What all subscribers of the thread read into, one after the other.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// How subscribers are connected.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Transport {
    /// WebSocket
    Ws,
    /// Server-Sent Events
    Sse,
}

/// Who subscribes to what.
pub struct Plan {
    pub site: Site,
    pub subscribers: usize,
    /// Subscriber `i` asks for room `i % rooms`; `None`: for everything.
    pub rooms: Option<usize>,
    pub transport: Transport,
    /// The last so many of them read nothing for `stall`, once they are subscribed.
    pub stalled: usize,
    pub stall: Duration,
    /// What `sent` counts nanoseconds from.
    pub epoch: Instant,
}

impl Plan {
    /// Whether subscriber `index` reads nothing at first.
    pub fn is_stalled(&self, index: usize) -> bool {
        index + self.stalled >= self.subscribers
    }
}

/// What the subscribers counted.
pub struct Received {
    /// Events by subscriber.
    pub counts: Vec<u64>,
    /// From a document's `sent` to when its event was read.
    pub latencies: Latencies,
    /// When the last event was read, from the epoch.
    pub last_event: Duration,
    /// Messages that are no events of this run, with the first of them.
    pub others: (u64, String),
    /// Subscribers whose connection ended, by reason.
    pub ended: BTreeMap<String, u64>,
}

/// The running thread.
pub struct Subscribers {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Received, SubscribeError>>,
}

impl Subscribers {
    /// Starts the thread and returns once every subscription is effective.
    ///
    /// # Errors
    /// The first subscriber's that could not begin.
    pub async fn start(plan: Plan) -> Result<Self, SubscribeError> {
        let (ready, is_ready) = oneshot::channel();
        let (stop, is_stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(Default::default())?;
            runtime.block_on(receive(plan, ready, is_stopped))
        });
        match is_ready.await {
            Ok(()) => Ok(Self { stop, thread }),
            Err(_) => {
                let received = thread.join().expect("the subscribers' thread does not panic");
                Err(received.err().expect("the thread says that it is ready, or fails"))
            }
        }
    }

    /// Ends all subscriptions and returns what was counted.
    pub fn stop(self) -> Result<Received, SubscribeError> {
        // Nobody listens any more if the thread has failed; then `join` has the reason.
        let _ = self.stop.send(());
        self.thread.join().expect("the subscribers' thread does not panic")
    }
}

/// What the subscribers of the thread have in common.
pub struct Shared {
    pub plan: Plan,
    pub received: RefCell<Received>,
    pub scratch: RefCell<Vec<u8>>,
    opening: Semaphore,
}

async fn receive(
    plan: Plan,
    ready: oneshot::Sender<()>,
    stop: oneshot::Receiver<()>,
) -> Result<Received, SubscribeError> {
    let subscribers = plan.subscribers;
    let shared = Rc::new(Shared {
        received: RefCell::new(Received::new(subscribers)),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        opening: Semaphore::new(OPENING_AT_ONCE),
        plan,
    });
    let (opened, mut outcomes) = mpsc::unbounded_channel();
    for index in 0..subscribers {
        spawn_local(subscribe(Rc::clone(&shared), index, opened.clone()));
    }
    for _ in 0..subscribers {
        outcomes.recv().await.expect("a sender is kept here")?;
    }
    // The starter may have given up; then `stop` is closed too, and that ends this.
    let _ = ready.send(());
    let _ = stop.await;
    Ok(shared.received.replace(Received::new(0)))
}

/// One subscriber's life: reports on `opened` whether it is effective, then counts events until its task is dropped.
async fn subscribe(
    shared: Rc<Shared>,
    index: usize,
    opened: mpsc::UnboundedSender<Result<(), SubscribeError>>,
) {
    let permit = shared.opening.acquire().await.expect("the semaphore is never closed");
    let opening = Subscriber::open(Rc::clone(&shared), index).await;
    drop(permit);
    let outcome = match opening {
        Ok(mut subscriber) => {
            // Whoever counts the outcomes may have left after the first failure; the runtime ends then.
            let _ = opened.send(Ok(()));
            if shared.plan.is_stalled(index) {
                tokio::time::sleep(shared.plan.stall).await;
            }
            subscriber.follow().await
        }
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    *shared.received.borrow_mut().ended.entry(outcome.to_string()).or_default() += 1;
}

impl Received {
    fn new(subscribers: usize) -> Self {
        Self {
            counts: vec![0; subscribers],
            latencies: Latencies::default(),
            last_event: Duration::ZERO,
            others: (0, String::new()),
            ended: BTreeMap::new(),
        }
    }

    /// Counts `message`, read at `now`, for subscriber `index`; one that stalled says nothing of latency.
    pub fn record(&mut self, index: usize, is_stalled: bool, now: Duration, message: &[u8]) {
        let Some(sent) = find_sent(message) else {
            if self.others.0 == 0 {
                self.others.1 = String::from_utf8_lossy(message).into_owned();
            }
            self.others.0 += 1;
            return;
        };
        self.counts[index] += 1;
        if !is_stalled {
            self.latencies.record_nanos((now.as_nanos() as u64).saturating_sub(sent));
        }
        self.last_event = now;
    }
}
