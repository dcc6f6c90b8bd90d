//! The hub's own task: filters, recent changes, and who gets what.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    domain::{Change, CollectionId, Control, Entry, KeyId, Position, ProjectId, cursor::Epoch},
    hub::{
        SubscriptionId,
        filter_index::{FilterIndex, Recipient},
        joining::Joining,
        recent_changes::RecentChanges,
        shard::ToShard,
    },
    wire::{Event, EventKind, Form, event_for},
};

/// Commands that may wait. Full, its senders wait: the hub itself never does, so that is short.
const COMMAND_CHANNEL: usize = 4096;
/// What the rings of all projects may hold together, by [`Change::weight`].
const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// How often idle live subscriptions learn how far the log has come.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// What the hub can be asked to do; sent only by [`HubHandle`].
enum Command {
    AddShard { id: u32, sender: mpsc::Sender<Vec<ToShard>>, is_overrun: Arc<AtomicBool> },
    Subscribe(Joining),
    Unsubscribe(SubscriptionId),
    SetLogEnd { project: ProjectId, epoch: Epoch, last: Position },
    Publish { project: ProjectId, changes: Vec<Arc<Change>> },
    Revoke(Vec<KeyId>),
}

/// The way to the hub. Cheap to clone; the hub ends when the last one is dropped.
#[derive(Clone)]
pub struct HubHandle {
    commands: mpsc::Sender<Command>,
}

/// Starts the hub on the runtime that this is called from.
pub fn start() -> HubHandle {
    let (sender, receiver) = mpsc::channel(COMMAND_CHANNEL);
    tokio::spawn(run(Hub::default(), receiver));
    HubHandle { commands: sender }
}

impl HubHandle {
    /// Registers a worker thread's shard.
    pub(super) fn add_shard(&self, id: u32, sender: mpsc::Sender<Vec<ToShard>>, is_overrun: Arc<AtomicBool>) {
        let command = Command::AddShard { id, sender, is_overrun };
        if self.commands.try_send(command).is_err() {
            tracing::error!(
                shard = id,
                "the hub took no shard {id}: streams of this worker thread will get nothing"
            );
        }
    }

    /// Enters a subscription; the answer comes through its shard.
    pub(super) async fn subscribe(&self, subscription: Joining) {
        self.send(Command::Subscribe(subscription)).await;
    }

    /// Takes a subscription out; unknown ones are no error.
    pub(super) async fn unsubscribe(&self, id: SubscriptionId) {
        self.send(Command::Unsubscribe(id)).await;
    }

    /// The same from where nothing can be awaited.
    pub(super) fn unsubscribe_detached(&self, id: SubscriptionId) {
        if let Err(mpsc::error::TrySendError::Full(command)) =
            self.commands.try_send(Command::Unsubscribe(id))
        {
            let handle = self.clone();
            tokio::spawn(async move { handle.send(command).await });
        }
    }

    /// Says where a project's log ends without saying what is in it. Live subscriptions that didn't hear of changes up
    /// to there go back to the log.
    pub async fn set_log_end(&self, project: ProjectId, epoch: Epoch, last: Position) {
        self.send(Command::SetLogEnd { project, epoch, last }).await;
    }

    /// Publishes the next changes of a project, in order and without gap. Waits while the hub is busy.
    pub async fn publish(&self, project: ProjectId, changes: Vec<Arc<Change>>) {
        self.send(Command::Publish { project, changes }).await;
    }

    /// Ends the streams of keys that are no longer good, where the log's own entries can't be had.
    pub async fn revoke(&self, keys: Vec<KeyId>) {
        self.send(Command::Revoke(keys)).await;
    }

    async fn send(&self, command: Command) {
        // It can only be closed when the process is ending, and then nobody is left to be told.
        let _ = self.commands.send(command).await;
    }
}

#[derive(Default)]
struct Hub {
    shards: BTreeMap<u32, ShardLink>,
    projects: HashMap<ProjectId, Project>,
    /// Where each subscription stands.
    places: HashMap<SubscriptionId, (ProjectId, CollectionId)>,
}

struct ShardLink {
    sender: mpsc::Sender<Vec<ToShard>>,
    is_overrun: Arc<AtomicBool>,
    /// What the commands at hand have for it.
    pending: Vec<ToShard>,
    /// Revocations that didn't fit into its channel.
    revoked: Vec<KeyId>,
    /// It was overrun, and may sleep without knowing: a message, even an empty one, wakes it.
    must_wake: bool,
}

struct Project {
    epoch: Epoch,
    /// The log's last position, as far as this process has published it.
    last: Position,
    /// The last sequence that the shards were told.
    marked: u64,
    collections: HashMap<CollectionId, FilterIndex>,
    recent: RecentChanges,
}

async fn run(mut hub: Hub, mut receiver: mpsc::Receiver<Command>) {
    let mut commands = Vec::new();
    let mut marks = tokio::time::interval(MARK_INTERVAL);
    marks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Marks are due once a second, so that they can go first: in one order, so that a run can be had again.
        tokio::select! {
            biased;
            _ = marks.tick() => hub.mark(),
            count = receiver.recv_many(&mut commands, 256) => {
                if count == 0 {
                    return;
                }
                commands.drain(..).for_each(|command| hub.handle(command));
            }
        }
        hub.flush();
    }
}

impl Hub {
    fn handle(&mut self, command: Command) {
        match command {
            Command::AddShard { id, sender, is_overrun } => {
                self.shards.insert(
                    id,
                    ShardLink {
                        sender,
                        is_overrun,
                        pending: Vec::new(),
                        revoked: Vec::new(),
                        must_wake: false,
                    },
                );
            }
            Command::Subscribe(subscription) => self.subscribe(subscription),
            Command::Unsubscribe(id) => self.unsubscribe(id),
            Command::SetLogEnd { project, epoch, last } => self.set_log_end(project, epoch, last),
            Command::Revoke(keys) => {
                self.shards.values_mut().for_each(|link| link.revoked.extend_from_slice(&keys));
            }
            Command::Publish { project, changes } => {
                for change in changes {
                    self.publish(&project, change);
                }
            }
        }
    }

    fn tell(&mut self, shard: u32, message: ToShard) {
        if let Some(link) = self.shards.get_mut(&shard) {
            link.pending.push(message);
        }
    }

    /// Enters the filter and sends what the recent holds after the position, in one step, so that there is no seam.
    fn subscribe(&mut self, subscription: Joining) {
        let SubscriptionId { shard, serial } = subscription.id;
        let Some(project) = self.projects.get_mut(&subscription.project) else {
            // The relay has not heard of this project yet; the log knows it.
            return self.tell(shard, ToShard::ReadOn { serial });
        };
        let replay = match subscription.position {
            None => Vec::new(),
            Some(position) => match project.recent.after(position, project.last) {
                Some(changes) => changes,
                None => return self.tell(shard, ToShard::ReadOn { serial }),
            },
        };
        let index = project.collections.entry(subscription.collection.clone()).or_default();
        let recipient = Recipient {
            id: subscription.id,
            form: subscription.form,
            asked_name: subscription.asked_name.clone(),
        };
        if index.insert(&subscription.filter, recipient).is_err() {
            return self.tell(shard, ToShard::Refused { serial });
        }
        let (epoch, last) = (project.epoch, project.last);
        if let Some(old) = subscription.replaces {
            self.unsubscribe(old);
        }
        self.places.insert(subscription.id, (subscription.project.clone(), subscription.collection.clone()));
        for change in replay {
            match &change.entry {
                Entry::Document { collection, before, after } if *collection == subscription.collection => {
                    let images = (before.as_ref(), after.as_ref());
                    let kind = event_for(images.0, images.1, |d| subscription.filter.matches(d));
                    let place = (&subscription.project, epoch, change.position);
                    let event =
                        kind.and_then(|kind| Event::of_change(place, images, kind, &subscription.asked_name));
                    if let Some(event) = event {
                        let frame = subscription.form.encode(&event);
                        self.tell(
                            shard,
                            ToShard::Deliver { frame, position: change.position, serials: vec![serial] },
                        );
                    }
                }
                Entry::Control(Control::CollectionRemoved { collection })
                    if *collection == *subscription.collection.as_str() =>
                {
                    self.unsubscribe(subscription.id);
                    return self.tell(shard, ToShard::Removed { serial });
                }
                _ => {}
            }
        }
        self.tell(shard, ToShard::Joined { serial, epoch, last });
    }

    fn unsubscribe(&mut self, id: SubscriptionId) {
        let Some((project, collection)) = self.places.remove(&id) else { return };
        let Some(project) = self.projects.get_mut(&project) else { return };
        if let Some(index) = project.collections.get_mut(&collection) {
            index.remove(id);
            if index.is_empty() {
                project.collections.remove(&collection);
            }
        }
    }

    fn set_log_end(&mut self, id: ProjectId, epoch: Epoch, last: Position) {
        let Some(project) = self.projects.get_mut(&id) else {
            let project = Project {
                epoch,
                last,
                marked: 0,
                collections: HashMap::new(),
                recent: RecentChanges::default(),
            };
            self.projects.insert(id, project);
            return;
        };
        if project.epoch == epoch && project.last == last {
            return;
        }
        (project.epoch, project.last, project.marked) = (epoch, last, last.sequence);
        project.recent.clear();
        // The last mark may be of a history that is lost. Nobody is live here now, so the new one is true at once.
        for link in self.shards.values_mut() {
            link.pending.push(ToShard::Mark { project: id.clone(), epoch, position: last });
        }
        let indexes = std::mem::take(&mut project.collections);
        let mut ids: Vec<_> = indexes.values().flat_map(FilterIndex::recipients).map(|s| s.id).collect();
        ids.sort_unstable_by_key(|id| (id.shard, id.serial));
        for id in ids {
            self.places.remove(&id);
            self.tell(id.shard, ToShard::ReadOn { serial: id.serial });
        }
    }

    fn publish(&mut self, id: &ProjectId, change: Arc<Change>) {
        let max_bytes = RECENT_BYTES / self.projects.len().max(1);
        let Some(project) = self.projects.get_mut(id) else { return };
        project.last = change.position;
        project.recent.push(change.clone(), max_bytes);
        match &change.entry {
            Entry::Document { collection, before, after } => {
                let Some(index) = project.collections.get(collection) else { return };
                let deliveries = deliveries(
                    index,
                    |kind, collection| {
                        let place = (id, project.epoch, change.position);
                        Event::of_change(place, (before.as_ref(), after.as_ref()), kind, collection)
                    },
                    before.as_ref().map(|document| index.matching(document)).unwrap_or_default(),
                    after.as_ref().map(|document| index.matching(document)).unwrap_or_default(),
                );
                for (frame, targets) in deliveries {
                    for (shard, serials) in targets {
                        let position = change.position;
                        self.tell(shard, ToShard::Deliver { frame: frame.clone(), position, serials });
                    }
                }
            }
            Entry::Control(Control::CollectionRemoved { collection }) => {
                let Some(index) = project.collections.remove(&CollectionId::from_stored(collection)) else {
                    return;
                };
                for recipient in index.recipients() {
                    self.places.remove(&recipient.id);
                    self.tell(recipient.id.shard, ToShard::Removed { serial: recipient.id.serial });
                }
            }
            Entry::Control(control) => {
                if let Some(key) = control.revoked_key() {
                    self.shards.values_mut().for_each(|link| link.revoked.push(key.clone()));
                }
            }
        }
    }

    /// Tells every shard how far each project's log has come.
    fn mark(&mut self) {
        for (id, project) in &mut self.projects {
            if project.marked != project.last.sequence {
                project.marked = project.last.sequence;
                for link in self.shards.values_mut() {
                    link.pending.push(ToShard::Mark {
                        project: id.clone(),
                        epoch: project.epoch,
                        position: project.last,
                    });
                }
            }
        }
    }

    /// One message per shard for all that the commands at hand brought.
    fn flush(&mut self) {
        let mut overrun = Vec::new();
        for (id, link) in &mut self.shards {
            let revoked = std::mem::take(&mut link.revoked);
            link.pending.extend(revoked.iter().map(|key| ToShard::Revoked { key: key.clone() }));
            if link.pending.is_empty() && !link.must_wake {
                continue;
            }
            let sent = link.sender.try_send(std::mem::take(&mut link.pending));
            link.must_wake = matches!(sent, Err(mpsc::error::TrySendError::Full(_)));
            if link.must_wake {
                // A revocation is not in the shard's reach elsewhere: it is tried again.
                link.revoked = revoked;
                link.is_overrun.store(true, Ordering::Release);
                overrun.push(*id);
            }
        }
        for shard in overrun {
            tracing::warn!(shard, "worker thread {shard} doesn't keep up; its subscriptions read the log");
            let mut ids: Vec<_> = self.places.keys().filter(|id| id.shard == shard).copied().collect();
            ids.sort_unstable_by_key(|id| id.serial);
            ids.into_iter().for_each(|id| self.unsubscribe(id));
            // A mark may have been among what didn't fit.
            self.projects.values_mut().for_each(|project| project.marked = 0);
        }
    }
}

type Targets = Vec<(u32, Vec<u64>)>;

/// What a change is to each filter that matches before or after it, in the order of the filters.
fn kinds(before: Vec<usize>, after: Vec<usize>) -> Vec<(usize, EventKind)> {
    let before = before.into_iter().map(|key| (key, EventKind::Deleted));
    let mut kinds: Vec<_> = before.chain(after.into_iter().map(|key| (key, EventKind::Created))).collect();
    kinds.sort_unstable_by_key(|(key, _)| *key);
    kinds.dedup_by(|other, kind| {
        let is_in_both = other.0 == kind.0;
        if is_in_both {
            kind.1 = EventKind::Updated;
        }
        is_in_both
    });
    kinds
}

/// The events of one change: each distinct form once, with those who get it, by shard.
fn deliveries<'a>(
    index: &'a FilterIndex,
    event: impl Fn(EventKind, &'a str) -> Option<Event<'a>>,
    before: Vec<usize>,
    after: Vec<usize>,
) -> Vec<(Bytes, Targets)> {
    let mut distinct: BTreeMap<(EventKind, Form, &str), BTreeMap<u32, Vec<u64>>> = BTreeMap::new();
    for (key, kind) in kinds(before, after) {
        for recipient in index.recipients_of(key) {
            let targets = distinct.entry((kind, recipient.form, &*recipient.asked_name)).or_default();
            targets.entry(recipient.id.shard).or_default().push(recipient.id.serial);
        }
    }
    let encoded = distinct.into_iter().filter_map(|((kind, form, name), targets)| {
        Some((form.encode(&event(kind, name)?), targets.into_iter().collect()))
    });
    encoded.collect()
}
