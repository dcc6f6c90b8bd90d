//! Many clients that return at once, on a thread of their own, so that reading doesn't delay the writers.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::client::ReturningClient;
use super::plan::{Plan, Received, Shared};
use crate::stream::{SCRATCH_BYTES, StreamError};

/// How long the last writes may take to arrive.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is checked whether they have arrived.
const POLL: Duration = Duration::from_millis(20);

/// The running thread.
pub struct ReturningClients {
    settled: oneshot::Receiver<()>,
    stop: oneshot::Sender<Vec<u64>>,
    thread: JoinHandle<Result<Received, StreamError>>,
}

impl ReturningClients {
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
        // A thread that has failed drops its sender; `stop` has the reason.
        let _ = (&mut self.settled).await;
    }

    /// Waits until each client has every writer's documents up to these numbers, ends all connections and returns what was
    /// received. Documents that have not arrived by then are lost.
    ///
    /// # Errors
    /// If the thread could not begin.
    pub fn stop(self, written: Vec<u64>) -> Result<Received, StreamError> {
        // A thread that has failed doesn't listen any more; `join` has the reason.
        let _ = self.stop.send(written);
        self.thread.join().expect("the clients' thread does not panic")
    }
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
        spawn_local(run_client(Rc::clone(&shared), index, settled.clone()));
    }
    let all = async {
        for _ in 0..clients {
            outcomes.recv().await.expect("a sender is kept here");
        }
        // If the starter has given up, `stop` is closed as well and ends this.
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
    // The accounts show whether everything has arrived.
    let _ = timeout(PATIENCE, rest).await;
    let mut received = shared.received.replace(Received::new(Vec::new()));
    received.rest = end.elapsed();
    for account in &mut received.accounts {
        account.close(&rooms, &written);
    }
    received
}

/// Runs one client: says on `settled` that it has caught up or ended, then reads on until its task is dropped.
async fn run_client(shared: Rc<Shared>, index: usize, settled: mpsc::UnboundedSender<()>) {
    let error = match follow(&shared, index, &settled).await {
        Ok(error) => error,
        Err(error) => {
            // The receiver may have left; the runtime ends then.
            let _ = settled.send(());
            error
        }
    };
    *shared.received.borrow_mut().ended.entry(error.to_string()).or_default() += 1;
}

/// Returns why the client ended after it had caught up.
///
/// # Errors
/// Why it ended before.
async fn follow(
    shared: &Rc<Shared>,
    index: usize,
    settled: &mpsc::UnboundedSender<()>,
) -> Result<StreamError, StreamError> {
    let mut client = ReturningClient::open(Rc::clone(shared), index).await?;
    client.catch_up().await?;
    shared.received.borrow_mut().caught_up.record_nanos(shared.start.elapsed().as_nanos() as u64);
    let _ = settled.send(());
    Ok(client.follow().await)
}
