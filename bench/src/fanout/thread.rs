//! Many subscribers on a thread of their own, so that reading events doesn't delay the writers.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_local;

use super::plan::{Plan, Shared};
use super::received::Received;
use super::subscriber::Subscriber;
use crate::stream::{SCRATCH_BYTES, StreamError};

/// How many subscribers connect at once: fewer than fit a listener's backlog.
const OPENING_AT_ONCE: usize = 64;

/// The running thread.
pub struct Subscribers {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Received, StreamError>>,
}

impl Subscribers {
    /// Starts the thread and returns once every subscription is effective.
    ///
    /// # Errors
    /// The error of the first subscriber that could not begin.
    pub async fn start(plan: Plan) -> Result<Self, StreamError> {
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

    /// Ends all subscriptions and returns the counts.
    pub fn stop(self) -> Result<Received, StreamError> {
        // A thread that has failed doesn't listen any more; `join` has the reason.
        let _ = self.stop.send(());
        self.thread.join().expect("the subscribers' thread does not panic")
    }
}

async fn receive(
    plan: Plan,
    ready: oneshot::Sender<()>,
    stop: oneshot::Receiver<()>,
) -> Result<Received, StreamError> {
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
    // If the starter has given up, `stop` is closed as well and ends this.
    let _ = ready.send(());
    let _ = stop.await;
    Ok(shared.received.replace(Received::new(0)))
}

/// Runs one subscriber: reports on `opened` whether its subscription is effective, then counts events until the task is
/// dropped.
async fn subscribe(shared: Rc<Shared>, index: usize, opened: mpsc::UnboundedSender<Result<(), StreamError>>) {
    let permit = shared.opening.acquire().await.expect("the semaphore is never closed");
    let opening = Subscriber::open(Rc::clone(&shared), index).await;
    drop(permit);
    let outcome = match opening {
        Ok(mut subscriber) => {
            // The receiver leaves after the first failure, and the runtime ends then.
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
