//! A project's task: it holds the filters of the project's subscriptions, and decides who gets which event.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    backlog::{Backlog, Command, Published},
    bounds::Bounds,
    fan_out::FanOut,
    filter_index::{FilterIndex, Recipient},
    joining::{Joining, SubscriptionId},
    pace::{Found, Pace, SLICE},
    recent_changes::RecentChanges,
    replay::{Replay, replay},
    shards::{Batch, Shards},
    to_shard::ToShard,
    watchers::Watchers,
};
use crate::domain::{Change, CollectionId, Control, Entry, Position, ProjectId, cursor::Epoch};

/// Bytes that the recent changes of all projects may take together, by [`Change::weight`].
const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// How often idle live subscriptions learn how far the log has come, so that they can resume from there.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// Commands that are handled before their messages are sent.
const GROUP: usize = 256;
/// Bytes of messages that are sent together.
const GROUP_BYTES: usize = 1024 * 1024;

/// The parts of the hub that all projects share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) bounds: Bounds,
    pub(super) shards: Arc<Shards>,
    /// How many projects there are.
    pub(super) projects: Arc<AtomicUsize>,
    /// Bytes of the changes that wait for the tasks of all projects.
    pub(super) waiting_bytes: Arc<AtomicUsize>,
}

/// The state of a project's task.
pub(super) struct Project {
    id: ProjectId,
    epoch: Epoch,
    /// The log's last position, as far as this task has come.
    last: Position,
    /// The sequence of the last [`ToShard::Mark`].
    marked: u64,
    /// When the next mark is due. Runs only while there is something to say.
    mark: Pin<Box<Sleep>>,
    is_mark_due: bool,
    collections: HashMap<CollectionId, FilterIndex>,
    watchers: Watchers,
    /// The sequence of the last control entry that may have changed rights, as far as this task knows.
    rights_changed: u64,
    recent: RecentChanges,
    /// The messages of the commands that are being handled, by shard.
    pending: BTreeMap<u32, Batch>,
    pending_bytes: usize,
    /// When the task began to work without letting others run.
    begun: Instant,
    backlog: Arc<Backlog>,
    shared: Shared,
}

impl Project {
    /// Makes the state for a log that ends at `last`.
    pub(super) fn new(
        id: ProjectId,
        (epoch, last): (Epoch, Position),
        backlog: Arc<Backlog>,
        shared: Shared,
    ) -> Self {
        Self {
            id,
            epoch,
            last,
            marked: 0,
            mark: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_mark_due: true,
            collections: HashMap::new(),
            watchers: Watchers::default(),
            rights_changed: 0,
            recent: RecentChanges::begin_at(last),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            begun: Instant::now(),
            backlog,
            shared,
        }
    }

    /// Handles commands until the backlog is closed.
    pub(super) async fn run(mut self) {
        let backlog = self.backlog.clone();
        loop {
            let may_rest = self.may_rest();
            // In one order, so that the simulation can repeat a run. Marks are due once a second, so that they can go first.
            tokio::select! {
                biased;
                () = &mut self.mark, if self.is_mark_due => {
                    self.is_mark_due = false;
                    self.say_mark();
                }
                command = backlog.next(may_rest) => match command {
                    Some(command) => self.work(command).await,
                    None => return,
                },
            }
            self.flush();
        }
    }

    /// Handles a command and those that wait behind it, up to what is sent together.
    async fn work(&mut self, command: Command) {
        self.begun = Instant::now();
        let mut next = Some(command);
        let mut count = 0;
        while let Some(command) = next {
            self.handle(command).await;
            count += 1;
            if count == GROUP || self.pending_bytes >= GROUP_BYTES {
                self.flush();
                return tokio::task::yield_now().await;
            }
            next = self.backlog.try_next(self.may_rest());
        }
    }

    /// Whether changes may wait until the next mark, because nobody gets events from them.
    fn may_rest(&self) -> bool {
        self.collections.is_empty() && self.is_mark_due
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Join(joining) => self.join(*joining),
            Command::Leave(id, collection) => self.leave(id, &collection),
            Command::SetLogEnd { epoch, last } => self.set_log_end(epoch, last),
            Command::Publish(published) => return self.publish(published).await,
        }
        self.let_others_run().await;
    }

    async fn publish(&mut self, published: Published) {
        if published.at.is_some_and(|at| at.elapsed() > self.shared.bounds.delay) {
            let project = &self.id;
            tracing::warn!(%project, "matching takes too long in project {project}; its subscriptions go back to the log");
            self.backlog.skip_waiting();
        }
        for change in published.changes {
            if self.backlog.is_skipping() {
                return;
            }
            let Some(found) = self.find_events(&change).await else { return };
            self.publish_change(change, found);
            self.let_others_run().await;
        }
    }

    /// Sends what there is and yields, if it has worked for long.
    async fn let_others_run(&mut self) {
        if self.begun.elapsed() >= SLICE {
            self.backlog.note_step();
            self.flush();
            tokio::task::yield_now().await;
            self.begun = Instant::now();
        }
    }

    fn tell(&mut self, shard: u32, message: ToShard, bytes: usize) {
        self.pending_bytes += bytes;
        self.pending.entry(shard).or_default().push(message, bytes);
    }

    /// Enters the filter and sends the recent changes after the position, in one step, so that there is no seam.
    fn join(&mut self, joining: Joining) {
        let SubscriptionId { shard, serial } = joining.id;
        let max_bytes = self.recent_bytes() / 2;
        let replay = match joining.position {
            // It is not known which changes of the documents came after those that its rights were read from.
            None => {
                let is_doubted = joining.checked < self.rights_changed || !joining.watched.is_empty();
                Replay { is_doubted, ..Replay::default() }
            }
            Some(position) => {
                let place = (&self.id, self.epoch, self.last);
                let replay = replay(&mut self.recent, place, &joining, position, max_bytes);
                match replay {
                    Some(replay) if replay.frames.is_empty() || !self.shared.shards.is_busy(shard) => replay,
                    _ => return self.tell(shard, ToShard::ReadOn { serial }, 0),
                }
            }
        };
        if !replay.is_removed && !replay.is_doubted {
            let index = self.collections.entry(joining.collection.clone()).or_default();
            let recipient = Recipient { id: joining.id, interest: joining.interest.clone() };
            if index.insert(recipient).is_err() {
                return self.tell(shard, ToShard::Refused { serial }, 0);
            }
            if self.watchers.add(joining.id, &joining.collection, &joining.watched).is_err() {
                self.leave(joining.id, &joining.collection);
                return self.tell(shard, ToShard::Refused { serial }, 0);
            }
        }
        if let Some(old) = joining.replaces {
            // It is of the same collection.
            self.leave(old, &joining.collection);
        }
        for (position, event) in replay.frames {
            // The bytes of an event that others have got as well are charged once.
            let bytes = if event.is_new { event.frame.len() } else { 0 };
            self.tell(shard, ToShard::Deliver { frame: event.frame, position, serials: vec![serial] }, bytes);
        }
        let (epoch, last) = (self.epoch, self.last);
        let answer = if replay.is_removed {
            ToShard::Removed { serial }
        } else if replay.is_doubted {
            let begin = joining.position.is_none().then_some((epoch, last));
            ToShard::Doubt { serial, begin }
        } else {
            ToShard::Joined { serial, epoch, last }
        };
        self.tell(shard, answer, 0);
    }

    fn leave(&mut self, id: SubscriptionId, collection: &CollectionId) {
        self.watchers.remove(id);
        if let Some(index) = self.collections.get_mut(collection) {
            index.remove(id);
            if index.is_empty() {
                self.collections.remove(collection);
            }
        }
    }

    fn set_log_end(&mut self, epoch: Epoch, last: Position) {
        if (self.epoch, self.last) == (epoch, last) {
            return;
        }
        (self.epoch, self.last) = (epoch, last);
        self.recent = RecentChanges::begin_at(last);
        let indexes = std::mem::take(&mut self.collections);
        self.watchers.clear();
        // Rights may have changed in the entries that are not told.
        self.rights_changed = last.sequence;
        let mut ids: Vec<_> = indexes.values().flat_map(FilterIndex::recipients).map(|one| one.id).collect();
        ids.sort_unstable_by_key(|id| (id.shard, id.serial));
        if !ids.is_empty() {
            let (project, count) = (&self.id, ids.len());
            tracing::warn!(%project, count, "{count} live subscriptions of project {project} go back to the log");
        }
        for id in ids {
            self.tell(id.shard, ToShard::ReadOn { serial: id.serial }, 0);
        }
        self.flush();
        // The last mark may be of a history that is lost. Nobody is live here now, so the new one is true at once.
        self.say_mark();
    }

    /// Finds the events that a change is to the project's subscriptions, and whose rights may be others after it. Others run
    /// meanwhile, if that takes long. `None` if it takes too long: then the change doesn't count as published, and all subscriptions go
    /// back to the log.
    async fn find_events(&mut self, change: &Change) -> Option<Found> {
        let mut found = Found::default();
        let Entry::Document { collection, before, after } = &change.entry else { return Some(found) };
        let images = (before.as_ref(), after.as_ref());
        let mut pace = Pace { begun: self.begun, started: Instant::now() };
        let task = (&self.id, &*self.backlog, self.shared.bounds.delay);
        if let Some(index) = self.collections.get(collection) {
            let mut fan_out = FanOut::new(index, images);
            pace.search(&mut fan_out, task).await?;
            found.events = fan_out.events((&self.id, self.epoch), change);
        }
        if let Some(index) = self.watchers.of(collection) {
            let mut fan_out = FanOut::new(index, images);
            pace.search(&mut fan_out, task).await?;
            found.doubted = fan_out.recipients();
        }
        self.begun = pace.begun;
        Some(found)
    }

    fn publish_change(&mut self, change: Arc<Change>, found: Found) {
        self.last = change.position;
        self.recent.push(change.clone(), self.recent_bytes());
        if !self.is_mark_due {
            self.is_mark_due = true;
            self.mark.as_mut().reset(Instant::now() + MARK_INTERVAL);
        }
        match &change.entry {
            Entry::Document { .. } => {
                for (frame, targets) in found.events {
                    for (shard, serials) in targets {
                        let bytes = frame.len() + serials.len() * size_of::<u64>();
                        let position = change.position;
                        self.tell(shard, ToShard::Deliver { frame: frame.clone(), position, serials }, bytes);
                    }
                }
                self.doubt(found.doubted);
            }
            Entry::Control(Control::RulesChanged { collection }) => {
                self.rights_changed = change.position.sequence;
                self.doubt_all(&CollectionId::from_stored(collection));
            }
            Entry::Control(Control::AccessChanged | Control::Unknown) => {
                self.rights_changed = change.position.sequence;
                let mut collections: Vec<_> = self.collections.keys().cloned().collect();
                collections.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
                collections.iter().for_each(|collection| self.doubt_all(collection));
            }
            Entry::Control(Control::CollectionRemoved { collection }) => {
                let Some(index) = self.collections.remove(&CollectionId::from_stored(collection)) else {
                    return;
                };
                for recipient in index.recipients() {
                    let SubscriptionId { shard, serial } = recipient.id;
                    self.watchers.remove(recipient.id);
                    self.tell(shard, ToShard::Removed { serial }, 0);
                }
            }
            Entry::Unreadable { collection } => {
                // Whoever depends on such documents can't know which one it was.
                self.doubt(self.watchers.all_of(collection));
                // The log tells each of them.
                let Some(index) = self.collections.remove(collection) else { return };
                for recipient in index.recipients() {
                    let SubscriptionId { shard, serial } = recipient.id;
                    self.watchers.remove(recipient.id);
                    self.tell(shard, ToShard::ReadOn { serial }, 0);
                }
            }
            // The relay has told the shards of revoked keys.
            Entry::Control(control) => {
                if let Some(name) = control.new_name() {
                    self.doubt(self.watchers.all_of(&CollectionId::from_stored(name)));
                }
            }
        }
    }

    /// Has the rights of these asked for anew.
    fn doubt(&mut self, ids: Vec<SubscriptionId>) {
        for ((shard, serial), collection) in self.watchers.own(ids) {
            self.leave(SubscriptionId { shard, serial }, &collection);
            self.tell(shard, ToShard::Doubt { serial, begin: None }, 0);
        }
    }

    /// Has the rights of all who subscribe to a collection asked for anew.
    fn doubt_all(&mut self, collection: &CollectionId) {
        let Some(index) = self.collections.remove(collection) else { return };
        let mut ids: Vec<_> = index.recipients().map(|recipient| recipient.id).collect();
        ids.sort_unstable_by_key(|id| (id.shard, id.serial));
        for id in ids {
            self.watchers.remove(id);
            self.tell(id.shard, ToShard::Doubt { serial: id.serial, begin: None }, 0);
        }
    }

    fn recent_bytes(&self) -> usize {
        RECENT_BYTES / self.shared.projects.load(Ordering::Relaxed).max(1)
    }

    /// Tells every shard how far the log has come.
    fn say_mark(&mut self) {
        if self.marked == self.last.sequence {
            return;
        }
        self.marked = self.last.sequence;
        self.shared.shards.tell_all(|| ToShard::Mark {
            project: self.id.clone(),
            epoch: self.epoch,
            position: self.last,
        });
    }

    /// Sends each shard one batch of all that the commands at hand brought.
    fn flush(&mut self) {
        self.pending_bytes = 0;
        for (shard, batch) in std::mem::take(&mut self.pending) {
            if self.shared.shards.send(shard, batch).is_ok() {
                continue;
            }
            tracing::warn!(shard, "worker thread {shard} is too slow; its subscriptions go back to the log");
            let all = self.collections.values().flat_map(FilterIndex::recipients);
            let theirs = all.filter(|one| one.id.shard == shard);
            let mut ids: Vec<_> = theirs.map(|one| (one.id, one.interest.collection.clone())).collect();
            ids.sort_unstable_by_key(|(id, _)| id.serial);
            ids.into_iter().for_each(|(id, collection)| self.leave(id, &collection));
            self.shared.shards.tell(shard, ToShard::Overrun { project: self.id.clone() });
        }
    }
}
