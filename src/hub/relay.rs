//! Hands changes to the hub, every change of a project once and in order. This process's own commits go to the hub at once
//! when they follow on what was published. Commits of other processes are read from the log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::HubHandle;
use crate::domain::{Change, Control, Entry, KeyId, LogEnds, Position, ProjectId, cursor::Epoch};

/// How often the ends of all logs are read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How many batches of the writer may wait. When the channel is full, the writer waits.
const CHANNEL: usize = 64;

/// A part of a log.
pub struct LogPart {
    /// Entries after the position that was asked for, without gap.
    pub changes: Vec<Arc<Change>>,
    /// The entries after that position are partly pruned, so there would be a gap.
    pub is_pruned: bool,
}

/// The log could not be read. The message is for the server's own log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);

/// Reads the change log for the relay. `app` hands the implementation in.
pub trait LogReader: Send + Sync + 'static {
    /// Reads the ends of every project's log.
    fn log_ends(&self) -> BoxFuture<'_, Result<Vec<LogEnds>, LogError>>;
    /// Reads the next entries of a project's log; none at its end.
    fn read_after(&self, project: ProjectId, after: Position) -> BoxFuture<'_, Result<LogPart, LogError>>;
    /// Lists the revoked keys of a project.
    fn revoked_keys(&self, project: ProjectId) -> BoxFuture<'_, Result<Vec<KeyId>, LogError>>;
}

/// Hears of each control entry before the hub does. `app` hands the implementation in.
pub trait ControlObserver: Send + Sync + 'static {
    /// Called once for each, in order.
    fn observe(&self, project: &ProjectId, sequence: u64, control: &Control);
    /// Called where entries are missing, so that any control entry may be among them. Gets the sequence of the log's last
    /// control entry, and every revoked key.
    fn observe_gap(&self, project: &ProjectId, control: u64, revoked: &[KeyId]);
}

/// Hands commits to the relay. Cheap to clone.
#[derive(Clone)]
pub struct RelayHandle {
    commits: mpsc::Sender<Vec<Arc<Change>>>,
    polls: Arc<Polls>,
}

impl RelayHandle {
    /// Hands over committed changes of one project, in order and without gap. Waits while the relay is busy.
    pub async fn publish(&self, changes: Vec<Arc<Change>>) {
        // The channel is closed only while the process is ending.
        let _ = self.commits.send(changes).await;
    }

    /// Has the relay read the ends of all logs now, because the outcome of a commit is unknown.
    pub async fn check_log_ends(&self) {
        self.publish(Vec::new()).await;
    }

    /// Waits until the relay has read the ends of all logs anew, which takes up to two polls. What it found has gone to the hub
    /// then, also that a log went back.
    pub async fn next_poll(&self) {
        // A poll that is under way may have read the ends before the caller did.
        let end = (self.polls.count.load(Ordering::Acquire) + 3) & !1;
        loop {
            let changed = self.polls.changed.notified();
            if self.polls.count.load(Ordering::Acquire) >= end {
                return;
            }
            changed.await;
        }
    }
}

/// The polls of the relay so far. A `watch` channel would wake in random order, which no simulation can repeat.
#[derive(Default)]
struct Polls {
    /// Counts beginnings and ends, so that it is odd during a poll.
    count: AtomicU64,
    changed: Notify,
}

impl Polls {
    fn step(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

/// Starts the relay on the calling runtime. Changes that are in the log by now count as published.
///
/// # Errors
/// The reader's.
pub async fn start(
    hub: HubHandle,
    reader: Arc<dyn LogReader>,
    observer: Arc<dyn ControlObserver>,
) -> Result<RelayHandle, LogError> {
    let polls = Arc::<Polls>::default();
    let published = HashMap::new();
    let mut relay = Relay { hub, reader, observer, published, polls: polls.clone(), is_failing: false };
    for ends in relay.reader.log_ends().await? {
        relay.begin(ends.project, ends.epoch, ends.last).await;
    }
    let (commits, receiver) = mpsc::channel(CHANNEL);
    tokio::spawn(relay.run(receiver));
    Ok(RelayHandle { commits, polls })
}

/// Whether a log that ended at `published` cannot have grown to end at `last`, which was read later.
fn has_gone_back(published: Position, last: Position) -> bool {
    published.sequence > last.sequence || (published.sequence == last.sequence && published.at != last.at)
}

struct Relay {
    hub: HubHandle,
    reader: Arc<dyn LogReader>,
    observer: Arc<dyn ControlObserver>,
    published: HashMap<ProjectId, (Epoch, Position)>,
    polls: Arc<Polls>,
    /// Whether the last read of the log failed. It is logged once.
    is_failing: bool,
}

impl Relay {
    async fn run(mut self, mut commits: mpsc::Receiver<Vec<Arc<Change>>>) {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // In one order, so that the simulation can repeat a run. The poll is first, and due again only a while after its
            // end, so that neither keeps the other out.
            tokio::select! {
                biased;
                _ = poll.tick() => {
                    self.poll().await;
                    poll.reset();
                }
                changes = commits.recv() => match changes {
                    Some(changes) if changes.is_empty() => self.poll().await,
                    Some(changes) => self.take(changes).await,
                    None => return,
                },
            }
        }
    }

    async fn begin(&mut self, project: ProjectId, epoch: Epoch, position: Position) {
        self.published.insert(project.clone(), (epoch, position));
        self.hub.set_log_end(project, epoch, position).await;
    }

    /// Publishes this process's own commit if it follows on what was published. Otherwise the log is read.
    async fn take(&mut self, changes: Vec<Arc<Change>>) {
        let Some((first, last)) = changes.first().zip(changes.last()) else { return };
        let (project, last) = (first.project.clone(), last.position);
        let Some((_, published)) = self.published.get(&project) else { return self.poll().await };
        let next = published.sequence + 1;
        if last.sequence < next {
            // Either the log was read up to here already, or its end has gone back, which the poll finds out.
            self.poll().await;
        } else if first.position.sequence <= next {
            let fresh = changes.into_iter().filter(|change| change.position.sequence >= next).collect();
            self.publish(&project, fresh).await;
        } else {
            let outcome = self.read_on(&project, last).await;
            self.report(outcome);
        }
    }

    async fn poll(&mut self) {
        self.polls.step();
        let outcome = self.poll_log_ends().await;
        self.report(outcome);
        self.polls.step();
    }

    async fn poll_log_ends(&mut self) -> Result<(), LogError> {
        for ends in self.reader.log_ends().await? {
            match self.published.get(&ends.project) {
                // Another process made this project, so all of its log is new.
                None => {
                    self.begin(ends.project.clone(), ends.epoch, Position::default()).await;
                    self.read_on(&ends.project, ends.last).await?;
                }
                Some((epoch, _)) if *epoch != ends.epoch => self.skip_to(ends).await?,
                Some((_, published)) if has_gone_back(*published, ends.last) => {
                    tracing::error!(
                        project = %ends.project,
                        "the change log of project {} ended at {} and ends at {} now: the database lost commits, or was put back",
                        ends.project, published.sequence, ends.last.sequence
                    );
                    self.skip_to(ends).await?;
                }
                Some((_, published)) if published.sequence < ends.last.sequence => {
                    self.read_on(&ends.project, ends.last).await?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Reads and publishes a project's log up to `until`.
    async fn read_on(&mut self, project: &ProjectId, until: Position) -> Result<(), LogError> {
        while let Some((_, published)) = self.published.get(project).copied()
            && published.sequence < until.sequence
        {
            let part = self.reader.read_after(project.clone(), published).await?;
            if part.is_pruned {
                let all = self.reader.log_ends().await?;
                let Some(ends) = all.into_iter().find(|ends| ends.project == *project) else {
                    return Ok(());
                };
                self.skip_to(ends).await?;
            } else if part.changes.is_empty() {
                return Ok(());
            } else {
                self.publish(project, part.changes).await;
            }
        }
        Ok(())
    }

    /// Goes on from a log's end where the entries before it are missing. Every subscription then goes back to the log, which
    /// tells it. The effect of missing control entries is taken from the database.
    async fn skip_to(&mut self, ends: LogEnds) -> Result<(), LogError> {
        let revoked = self.reader.revoked_keys(ends.project.clone()).await?;
        self.observer.observe_gap(&ends.project, ends.control, &revoked);
        self.begin(ends.project, ends.epoch, ends.last).await;
        self.hub.revoke(revoked).await;
        Ok(())
    }

    async fn publish(&mut self, project: &ProjectId, changes: Vec<Arc<Change>>) {
        let Some(last) = changes.last().map(|change| change.position) else { return };
        for change in &changes {
            if let Entry::Control(control) = &change.entry {
                self.observer.observe(project, change.position.sequence, control);
            }
        }
        self.hub.publish(project.clone(), changes).await;
        if let Some((_, published)) = self.published.get_mut(project) {
            *published = last;
        }
    }

    fn report(&mut self, outcome: Result<(), LogError>) {
        let was_failing = std::mem::replace(&mut self.is_failing, outcome.is_err());
        match outcome {
            Ok(()) if was_failing => tracing::info!("the change log can be read again"),
            Err(err) if !was_failing => {
                tracing::error!("the change log can't be read, so live streams get no events: {err}");
            }
            _ => {}
        }
    }
}
