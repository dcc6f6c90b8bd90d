//! Hands changes to the hub, every change of a project once and in order. This process's own commits go to the hub at once
//! when they follow on what was published. Commits of other processes are read from the log.
//!
//! The relay waits for nobody. While it reads the log for one project, it hands on what the others commit.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;

use super::{
    HubHandle,
    commits::{self, Commits, Follows, News},
    log_behind::{Goal, LogBehind},
    polls::Polls,
};
pub use super::{
    commits::{Commit, RelayHandle},
    log_reader::{ControlObserver, LogError, LogPart, LogReader},
};
use crate::{
    domain::{Change, Control, Entry, KeyEnd, KeyStates, LogEnds, Position, ProjectId, cursor::Epoch},
    supervision::{Pulse, Supervisor},
};

/// How often the ends of all logs are read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How long the relay may do without a step.
const STILL: Duration = Duration::from_secs(3);

/// Starts the relay on the calling runtime. Changes that are in the log by now count as published.
///
/// # Errors
/// The reader's.
pub async fn start(
    hub: HubHandle,
    reader: Arc<dyn LogReader>,
    observer: Arc<dyn ControlObserver>,
    supervisor: &Supervisor,
) -> Result<RelayHandle, LogError> {
    let begun = Instant::now();
    let ends = reader.log_ends().await?;
    let mut relay = Relay {
        hub,
        reader,
        observer,
        published: HashMap::new(),
        behind: VecDeque::new(),
        polls: Arc::default(),
        must_read_ends: false,
        looked_at: None,
        is_failing: false,
        failing: HashSet::new(),
        pulse: supervisor.pulse("relay"),
    };
    for ends in ends {
        // Nothing is cached yet that an earlier entry could make stale.
        relay.observer.observe_gap(&ends.project, ends.control.sequence, &KeyStates::default());
        relay.begin(&ends.project, ends.epoch, ends.last);
    }
    relay.observer.confirm(begun);
    let (handle, commits) = commits::channel(relay.polls.clone());
    tokio::spawn(supervisor.watch("relay", relay.run(commits)));
    Ok(handle)
}

/// Whether a log that ended at `published` cannot have grown to end at `last`, which was read later.
fn has_gone_back(published: Position, last: Position) -> bool {
    published.sequence > last.sequence || (published.sequence == last.sequence && published.at != last.at)
}

type Published = HashMap<ProjectId, (Epoch, Position)>;

/// A read of the database that has ended.
enum Read {
    /// The ends of all logs, what was published when the read began, and when that was.
    Ends { published: Published, begun: Instant, ends: Result<Vec<LogEnds>, LogError> },
    /// The next part of the first log that is behind.
    Part(Result<LogPart, LogError>),
    /// The keys that were revoked or changed, of the first project that is behind, whose entries are skipped.
    KeyStates(Result<KeyStates, LogError>),
}

struct Relay {
    hub: HubHandle,
    reader: Arc<dyn LogReader>,
    observer: Arc<dyn ControlObserver>,
    published: Published,
    /// The projects whose log is being read. Each in its turn; the first one is next.
    behind: VecDeque<LogBehind>,
    polls: Arc<Polls>,
    must_read_ends: bool,
    /// When the ends of all logs were read, if entries up to there are still to be published.
    looked_at: Option<Instant>,
    /// Whether the last read of the log failed. It is logged once.
    is_failing: bool,
    /// The projects whose log could not be read when it was last tried.
    failing: HashSet<ProjectId>,
    pulse: Pulse,
}

impl Relay {
    async fn run(mut self, mut commits: Commits) {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // At most one read is under way, so that a slow database has little to do for the relay.
        let mut read: Option<BoxFuture<'static, Read>> = None;
        loop {
            // The poll ticks also while a read is under way.
            self.pulse.expect_within(STILL);
            if read.is_none() {
                // What a poll finds is compared with what was published when it began. A commit that waits here was made before
                // that, so that it may be one which the log has lost since.
                while let Some(news) = commits.try_next() {
                    self.hear(news);
                }
                read = self.next_read();
            }
            let outcome = async {
                match &mut read {
                    Some(read) => read.await,
                    None => std::future::pending().await,
                }
            };
            // In one order, so that the simulation can repeat a run. Commits go first, because what they bring need not be
            // read. They can't keep a read out, since the writer takes longer for a commit than this takes to hand it on.
            tokio::select! {
                biased;
                news = commits.next() => match news {
                    Some(news) => self.hear(news),
                    None => return,
                },
                outcome = outcome => {
                    read = None;
                    let is_poll = matches!(outcome, Read::Ends { .. });
                    self.finish(outcome);
                    if is_poll {
                        poll.reset();
                        self.polls.step();
                    }
                }
                _ = poll.tick() => self.must_read_ends = true,
            }
            self.must_read_ends |= commits.have_dropped();
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Committed(commit) => self.take(commit),
            News::CheckLogEnds => self.must_read_ends = true,
        }
    }

    fn next_read(&mut self) -> Option<BoxFuture<'static, Read>> {
        let reader = self.reader.clone();
        let is_unknown = |first: &LogBehind| matches!(first.goal, Goal::FindEnds);
        if std::mem::take(&mut self.must_read_ends) || self.behind.front().is_some_and(is_unknown) {
            let published = self.published.clone();
            self.polls.step();
            let begun = Instant::now();
            return Some(Box::pin(
                async move { Read::Ends { published, begun, ends: reader.log_ends().await } },
            ));
        }
        let first = self.behind.front()?;
        let project = first.project.clone();
        match &first.goal {
            Goal::FindEnds => None,
            Goal::Skip(_) | Goal::Pass { .. } => {
                Some(Box::pin(async move { Read::KeyStates(reader.key_states(project).await) }))
            }
            Goal::Read(_) => {
                let (_, after) = *self.published.get(&project)?;
                Some(Box::pin(async move { Read::Part(reader.read_after(project, after).await) }))
            }
        }
    }

    fn finish(&mut self, read: Read) {
        let outcome = match read {
            Read::Ends { published, begun, ends: Ok(all) } => {
                self.looked_at = Some(begun);
                all.into_iter().for_each(|ends| self.compare(&published, ends));
                self.polls.note_success();
                // The others have no log any more.
                self.behind.retain(|behind| !matches!(behind.goal, Goal::FindEnds));
                Ok(())
            }
            Read::Part(Ok(part)) => {
                self.take_part(part);
                Ok(())
            }
            Read::KeyStates(Ok(keys)) => {
                self.skip(&keys);
                Ok(())
            }
            Read::Ends { ends: Err(err), .. } => {
                // The next poll finds out again what is behind.
                self.behind.clear();
                self.looked_at = None;
                Err(err)
            }
            Read::Part(Err(err)) | Read::KeyStates(Err(err)) => {
                // The next poll finds it again. The logs of others are read meanwhile.
                self.looked_at = None;
                if let Some(behind) = self.behind.pop_front() {
                    return self.report_project(behind.project, err);
                }
                Err(err)
            }
        };
        if self.behind.is_empty()
            && let Some(at) = self.looked_at.take()
        {
            self.observer.confirm(at);
        }
        self.report(outcome);
    }

    fn begin(&mut self, project: &ProjectId, epoch: Epoch, position: Position) {
        self.published.insert(project.clone(), (epoch, position));
        self.hub.set_log_end(project, epoch, position);
    }

    /// Publishes this process's own commit if it follows on what was published. Otherwise the log is read.
    fn take(&mut self, commit: Commit) {
        let Some((project, last)) = commit.changes.last().map(|last| (last.project.clone(), last.position))
        else {
            return;
        };
        if let Some(behind) = self.behind.iter_mut().find(|behind| behind.project == project) {
            return behind.hold(commit);
        }
        let Some((epoch, published)) = self.published.get(&project) else {
            self.must_read_ends = true;
            return;
        };
        match commit.follow(*epoch, *published) {
            Follows::Next(changes) => self.publish(changes),
            // Either the log was read up to here already, or its end has gone back, which the poll finds out.
            Follows::Published | Follows::Not => self.must_read_ends = true,
            Follows::Later => {
                let mut behind = LogBehind::new(project, Goal::Read(last));
                behind.hold(commit);
                self.behind.push_back(behind);
            }
        }
    }

    /// Compares the ends of a log with what was published when they were read.
    fn compare(&mut self, published: &Published, ends: LogEnds) {
        let goal = match (published.get(&ends.project), self.published.get(&ends.project)) {
            (Some((epoch, before)), Some((_, published))) => {
                if *epoch != ends.epoch {
                    Goal::Skip(ends.clone())
                } else if has_gone_back(*before, ends.last) {
                    tracing::error!(
                        project = %ends.project,
                        "the change log of project {} ended at {} and ends at {} now: the database lost commits, or was put back",
                        ends.project, before.sequence, ends.last.sequence
                    );
                    Goal::Skip(ends.clone())
                } else if ends.last.sequence.saturating_sub(published.sequence) > self.hub.bounds().unread {
                    Goal::Skip(ends.clone())
                } else {
                    Goal::Read(ends.last)
                }
            }
            // Another process made this project, so all of its log is new.
            _ => {
                self.begin(&ends.project, ends.epoch, Position::default());
                Goal::Read(ends.last)
            }
        };
        if matches!(goal, Goal::Skip(_)) {
            // The hub must not go on with changes that the log has lost. The rest follows when the revoked keys are read.
            self.hub.set_log_end(&ends.project, ends.epoch, ends.last);
        }
        match self.behind.iter_mut().find(|behind| behind.project == ends.project) {
            Some(behind) if matches!(goal, Goal::Skip(_)) => behind.goal = goal,
            Some(behind) if matches!(behind.goal, Goal::FindEnds) => behind.goal = Goal::Skip(ends),
            Some(behind) => behind.extend(ends.last),
            None => {
                let behind = LogBehind::new(ends.project, goal);
                if self
                    .published
                    .get(&behind.project)
                    .is_none_or(|(_, published)| !behind.is_done(*published))
                {
                    self.behind.push_back(behind);
                }
            }
        }
    }

    /// Publishes the next part of the log that is first in the queue.
    fn take_part(&mut self, part: LogPart) {
        let Some(mut behind) = self.behind.pop_front() else { return };
        if part.is_other {
            let project = &behind.project;
            tracing::error!(
                %project,
                "the change log of project {project} has other entries than those that were announced: the database lost commits, or was put back"
            );
            behind.goal = Goal::FindEnds;
        } else if part.is_pruned {
            behind.goal = Goal::FindEnds;
        } else if part.changes.is_empty() {
            // The log ended earlier than it was said to. The poll finds out why.
            return;
        } else {
            self.take_changes(part.changes, &mut behind);
        }
        self.go_on(behind);
    }

    /// Publishes changes that were read, up to a control entry that this version does not understand.
    fn take_changes(&mut self, mut changes: Vec<Arc<Change>>, behind: &mut LogBehind) {
        let is_unknown = |change: &Arc<Change>| matches!(change.entry, Entry::Control(Control::Unknown));
        let unknown =
            changes.iter().position(is_unknown).map(|place| changes.split_off(place).swap_remove(0));
        self.publish(changes);
        if let (Some(unknown), Goal::Read(until)) = (unknown, &behind.goal) {
            behind.goal = Goal::Pass { unknown, until: *until };
        }
    }

    /// Goes on from a log's end where the entries before it are missing. Every subscription then goes back to the log, which
    /// tells it. The effect of missing control entries is taken from the database.
    fn skip(&mut self, keys: &KeyStates) {
        let Some(mut behind) = self.behind.pop_front() else { return };
        match &behind.goal {
            Goal::Skip(ends) => {
                self.observer.observe_gap(&ends.project, ends.control.sequence, keys);
                self.begin(&ends.project, ends.epoch, ends.last);
                self.hub.end_keys_of(keys);
                self.hub.doubt_sessions(&ends.project);
                behind.goal = Goal::Read(ends.last);
            }
            Goal::Pass { unknown, until } => {
                let sequence = unknown.position.sequence;
                tracing::warn!(
                    project = %behind.project, sequence,
                    "entry {sequence} of the change log of project {} is of a kind that this version does not know; collections and keys are read anew",
                    behind.project
                );
                self.observer.observe_gap(&behind.project, sequence, keys);
                self.hub.end_keys_of(keys);
                self.hub.doubt_sessions(&behind.project);
                let goal = Goal::Read(*until);
                self.publish(vec![unknown.clone()]);
                behind.goal = goal;
            }
            Goal::Read(_) | Goal::FindEnds => {}
        }
        self.go_on(behind);
    }

    /// Publishes the commits that were held and follow on. Puts the project at the end of the queue if its log must be read on.
    fn go_on(&mut self, mut behind: LogBehind) {
        while let Some((epoch, published)) = self.published.get(&behind.project).copied() {
            match behind.take_after(epoch, published) {
                Some(changes) => self.publish(changes),
                None if behind.is_done(published) => return,
                None => return self.behind.push_back(behind),
            }
        }
    }

    /// Publishes changes of one project that follow on what was published.
    fn publish(&mut self, changes: Vec<Arc<Change>>) {
        let Some(last) = changes.last() else { return };
        let (project, last) = (last.project.clone(), last.position);
        for change in &changes {
            if let Entry::Control(control) = &change.entry {
                self.observer.observe(&project, change.position, control);
                if let Some(key) = control.revoked_key() {
                    self.hub.end_keys(&[key], KeyEnd::Revoked);
                }
                if let Some(change) = control.key_change() {
                    self.hub.end_changed_key(&change);
                }
                let ended = control.ended_sessions();
                if !ended.is_empty() {
                    self.hub.end_sessions(&ended.into());
                }
            }
        }
        if self.failing.remove(&project) {
            tracing::info!(%project, "the change log of project {project} can be read again");
        }
        self.hub.publish(&project, changes);
        if let Some((_, published)) = self.published.get_mut(&project) {
            *published = last;
        }
    }

    /// Logs that a project's log can't be read, once until it can.
    fn report_project(&mut self, project: ProjectId, err: LogError) {
        if self.failing.contains(&project) {
            return;
        }
        tracing::error!(%project, "the change log of project {project} can't be read, so its live streams get no events: {err}");
        self.failing.insert(project);
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
