//! Many clients at once, each in a closed loop.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::http::{Client, HttpError, Server};
use crate::report::Tally;

/// How long an answer may take after the time is up.
const GRACE: Duration = Duration::from_secs(10);
/// The pause before a broken connection is replaced, so that a dead server isn't hammered.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// The requests of one client.
pub trait Workload {
    /// The bytes of the next request; `None` ends this client.
    fn next_request(&mut self) -> Option<&[u8]>;

    /// Takes notice that the last request had the expected answer.
    fn succeed(&mut self) {}
}

/// How many clients send requests, and for how long.
pub struct Load {
    pub clients: usize,
    pub duration: Duration,
    /// An answer with any other status is a failure.
    pub expected_status: u16,
    /// The least time from one request of a client to its next. With zero, it sends the next one once it has its answer.
    pub interval: Duration,
}

/// Connects all clients, starts them together, and returns what they counted.
///
/// The time runs from the first request to the last answer. A client whose connection breaks opens a new one.
///
/// # Errors
/// If a client can't connect before the start.
pub async fn run<W: Workload + 'static>(
    server: &Server,
    load: &Load,
    mut workload: impl FnMut(usize) -> W,
) -> Result<Tally, HttpError> {
    let mut clients = Vec::with_capacity(load.clients);
    for _ in 0..load.clients {
        clients.push(Client::connect(server).await?);
    }
    let tally = Rc::new(RefCell::new(Tally::default()));
    let start = Instant::now();
    let deadline = start + load.duration;
    let mut tasks = Vec::with_capacity(load.clients);
    for (index, client) in clients.into_iter().enumerate() {
        let mut run = Run {
            server: server.clone(),
            client,
            workload: workload(index),
            tally: Rc::clone(&tally),
            expected_status: load.expected_status,
            interval: load.interval,
            // Spread over the interval, or all clients would send their requests at the same instant.
            next_start: start + load.interval.mul_f64(index as f64 / load.clients as f64),
            start,
            deadline,
        };
        tasks.push(spawn_local(async move {
            if timeout_at(deadline + GRACE, run.repeat()).await.is_err() {
                run.tally.borrow_mut().record_broken(format!("no answer within {GRACE:?} of the end"));
            }
        }));
    }
    for task in tasks {
        task.await.expect("a client's task neither panics nor is aborted");
    }
    Ok(tally.take())
}

/// One client of a load.
struct Run<W> {
    server: Server,
    client: Client,
    workload: W,
    tally: Rc<RefCell<Tally>>,
    expected_status: u16,
    interval: Duration,
    next_start: Instant,
    start: Instant,
    deadline: Instant,
}

impl<W: Workload> Run<W> {
    async fn repeat(&mut self) {
        loop {
            if !self.interval.is_zero() {
                sleep_until(self.next_start).await;
                self.next_start += self.interval;
            }
            let asked = Instant::now();
            if asked >= self.deadline {
                return;
            }
            let Some(request) = self.workload.next_request() else { return };
            let broken = match self.client.exchange(request).await {
                Ok(response) => {
                    let answered = Instant::now();
                    let mut tally = self.tally.borrow_mut();
                    tally.elapsed = answered - self.start;
                    if response.status == self.expected_status {
                        tally.record(answered - asked, response.body.len());
                        self.workload.succeed();
                    } else {
                        tally.record_refused(response.status, response.body);
                    }
                    continue;
                }
                Err(error) => error,
            };
            self.tally.borrow_mut().record_broken(broken.to_string());
            sleep(RECONNECT_PAUSE).await;
            match Client::connect(&self.server).await {
                Ok(client) => self.client = client,
                Err(error) => return self.tally.borrow_mut().record_broken(error.to_string()),
            }
        }
    }
}
