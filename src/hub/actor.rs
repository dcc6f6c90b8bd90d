//! The hub's own task: it holds the filters and the recent changes of every project, and decides who gets which event.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    domain::{Change, CollectionId, Control, Document, Entry, KeyId, Position, ProjectId, cursor::Epoch},
    hub::{
        SubscriptionId,
        fan_out::fan_out,
        filter_index::{FilterIndex, Recipient},
        joining::Joining,
        recent_changes::RecentChanges,
        to_shard::ToShard,
    },
    wire::{Event, event_for},
};

/// How many commands may wait. When the channel is full its senders wait, which is short because the hub itself never waits.
const COMMAND_CHANNEL: usize = 4096;
/// Bytes that the recent changes of all projects may take together, by [`Change::weight`].
const RECENT_BYTES: usize = 16 * 1024 * 1024;
/// How often idle live subscriptions learn how far the log has come, so that they can resume from there.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// A request to the hub. Only [`HubHandle`] sends it.
enum Command {
    AddShard { id: u32, sender: mpsc::Sender<Vec<ToShard>>, is_overrun: Arc<AtomicBool> },
    Join(Joining),
    Leave(SubscriptionId),
    SetLogEnd { project: ProjectId, epoch: Epoch, last: Position },
    Publish { project: ProjectId, changes: Vec<Arc<Change>> },
    Revoke(Vec<KeyId>),
}

/// Sends commands to the hub. Cheap to clone. The hub ends when the last handle is dropped.
#[derive(Clone)]
pub struct HubHandle {
    commands: mpsc::Sender<Command>,
}

/// Starts the hub on the calling runtime.
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
                "the hub could not register shard {id}; live streams of this worker thread will get no events"
            );
        }
    }

    /// Lets a subscription join. The answer comes through its shard.
    pub(super) async fn join(&self, joining: Joining) {
        self.send(Command::Join(joining)).await;
    }

    /// Lets a subscription leave. It is no error if the hub doesn't know it.
    pub(super) async fn leave(&self, id: SubscriptionId) {
        self.send(Command::Leave(id)).await;
    }

    /// The same, from code that can't await.
    pub(super) fn leave_detached(&self, id: SubscriptionId) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(Command::Leave(id)) {
            let handle = self.clone();
            tokio::spawn(async move { handle.send(command).await });
        }
    }

    /// Says where a project's log ends, without the changes up to there. Live subscriptions that have not heard of them go back
    /// to the log.
    pub async fn set_log_end(&self, project: ProjectId, epoch: Epoch, last: Position) {
        self.send(Command::SetLogEnd { project, epoch, last }).await;
    }

    /// Publishes the next changes of a project, in order and without gap. Waits while the hub is busy.
    pub async fn publish(&self, project: ProjectId, changes: Vec<Arc<Change>>) {
        self.send(Command::Publish { project, changes }).await;
    }

    /// Ends the streams of revoked keys, where the log entries that say so are gone.
    pub async fn revoke(&self, keys: Vec<KeyId>) {
        self.send(Command::Revoke(keys)).await;
    }

    async fn send(&self, command: Command) {
        // The channel is closed only while the process is ending, and then nobody is left to be told.
        let _ = self.commands.send(command).await;
    }
}

#[derive(Default)]
struct Hub {
    shards: BTreeMap<u32, ShardLink>,
    projects: HashMap<ProjectId, Project>,
    /// The filter index that each subscription is in.
    joined: HashMap<SubscriptionId, (ProjectId, CollectionId)>,
}

struct ShardLink {
    sender: mpsc::Sender<Vec<ToShard>>,
    is_overrun: Arc<AtomicBool>,
    /// Messages from the commands that are being handled.
    pending: Vec<ToShard>,
    /// Revocations that did not fit into its channel.
    revoked: Vec<KeyId>,
    /// Whether its channel was full the last time. The shard may be asleep and not know of the overrun, so the next message
    /// is sent even if it is empty.
    must_wake: bool,
}

struct Project {
    epoch: Epoch,
    /// The log's last position, as far as this process has published it.
    last: Position,
    /// The sequence of the last [`ToShard::Mark`].
    marked: u64,
    collections: HashMap<CollectionId, FilterIndex>,
    recent: RecentChanges,
}

async fn run(mut hub: Hub, mut receiver: mpsc::Receiver<Command>) {
    let mut commands = Vec::new();
    let mut marks = tokio::time::interval(MARK_INTERVAL);
    marks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // In one order, so that the simulation can repeat a run. Marks are due once a second, so that they can go first.
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
            Command::Join(joining) => self.join(joining),
            Command::Leave(id) => self.leave(id),
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

    /// Enters the filter and sends the recent changes after the position, in one step, so that there is no seam.
    fn join(&mut self, joining: Joining) {
        let SubscriptionId { shard, serial } = joining.id;
        let Some(project) = self.projects.get_mut(&joining.project) else {
            // The relay has not heard of this project yet, but the log has it.
            return self.tell(shard, ToShard::ReadOn { serial });
        };
        let replay = match joining.position {
            None => Vec::new(),
            Some(position) => match project.recent.after(position, project.last) {
                Some(changes) => changes,
                None => return self.tell(shard, ToShard::ReadOn { serial }),
            },
        };
        let index = project.collections.entry(joining.collection.clone()).or_default();
        let recipient = Recipient { id: joining.id, interest: joining.interest.clone() };
        if index.insert(recipient).is_err() {
            return self.tell(shard, ToShard::Refused { serial });
        }
        let (epoch, last) = (project.epoch, project.last);
        if let Some(old) = joining.replaces {
            self.leave(old);
        }
        self.joined.insert(joining.id, (joining.project.clone(), joining.collection.clone()));
        for change in replay {
            match &change.entry {
                Entry::Document { collection, before, after } if *collection == joining.collection => {
                    self.replay(&joining, epoch, &change, (before.as_ref(), after.as_ref()));
                }
                Entry::Control(Control::CollectionRemoved { collection })
                    if *collection == *joining.collection.as_str() =>
                {
                    self.leave(joining.id);
                    return self.tell(shard, ToShard::Removed { serial });
                }
                _ => {}
            }
        }
        self.tell(shard, ToShard::Joined { serial, epoch, last });
    }

    /// Sends one subscription the event that a change is to it, if it is one.
    fn replay(
        &mut self,
        joining: &Joining,
        epoch: Epoch,
        change: &Change,
        images: (Option<&Arc<Document>>, Option<&Arc<Document>>),
    ) {
        let kind = event_for(images.0, images.1, |document| joining.filter.matches(document));
        let place = (&joining.project, epoch, change.position);
        let event = kind.and_then(|kind| Event::of_change(place, images, kind, &joining.label));
        if let Some(event) = event {
            let SubscriptionId { shard, serial } = joining.id;
            let (frame, position) = (joining.form.encode(&event), change.position);
            self.tell(shard, ToShard::Deliver { frame, position, serials: vec![serial] });
        }
    }

    fn leave(&mut self, id: SubscriptionId) {
        let Some((project, collection)) = self.joined.remove(&id) else { return };
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
            self.joined.remove(&id);
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
                let images = (before.as_ref(), after.as_ref());
                let events = fan_out(index, (id, project.epoch), &change, images);
                for (frame, targets) in events {
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
                    self.joined.remove(&recipient.id);
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
                // The shard can't learn of a revocation from the log, so it is sent again.
                link.revoked = revoked;
                link.is_overrun.store(true, Ordering::Release);
                overrun.push(*id);
            }
        }
        for shard in overrun {
            tracing::warn!(shard, "worker thread {shard} is too slow; its subscriptions go back to the log");
            let mut ids: Vec<_> = self.joined.keys().filter(|id| id.shard == shard).copied().collect();
            ids.sort_unstable_by_key(|id| id.serial);
            ids.into_iter().for_each(|id| self.leave(id));
            // The lost messages may have had a mark, so it is sent again.
            self.projects.values_mut().for_each(|project| project.marked = 0);
        }
    }
}
