//! The handle to the hub, which has one task for each project. A project that is expensive to match slows only itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    Interest,
    backlog::Backlog,
    bounds::Bounds,
    joining::{Joining, SubscriptionId},
    project::{Project, Shared},
    shards::{ShardReceiver, Shards, part_of},
    to_shard::ToShard,
};
use crate::{
    domain::{Change, KeyChange, KeyEnd, KeyId, KeyStates, Position, ProjectId, SessionId, cursor::Epoch},
    supervision::{Part, Supervisor},
};

/// How long a task may leave what waits for it. One change is compared with the filters in a small part of that.
const STILL: Duration = Duration::from_secs(3);

/// Hands the hub its commands. Nobody who does waits for the hub. Cheap to clone. The hub ends when the last handle is
/// dropped.
#[derive(Clone)]
pub struct HubHandle {
    hub: Arc<Hub>,
}

struct Hub {
    /// The runtime on which projects are served.
    runtime: Handle,
    shared: Shared,
    backlogs: RwLock<HashMap<ProjectId, Arc<Backlog>>>,
    supervisor: Supervisor,
}

/// Starts the hub on the calling runtime. Matching may keep its threads busy, so nothing that everyone waits for belongs
/// there.
pub fn start(bounds: Bounds, supervisor: &Supervisor) -> HubHandle {
    let shared = Shared {
        bounds,
        shards: Arc::new(Shards::default()),
        projects: Arc::new(AtomicUsize::new(0)),
        waiting_bytes: Arc::new(AtomicUsize::new(0)),
    };
    let (runtime, backlogs) = (Handle::current(), RwLock::default());
    let hub = Arc::new(Hub { runtime, shared, backlogs, supervisor: supervisor.clone() });
    let watched = Arc::downgrade(&hub);
    supervisor.add_probe(move || watched.upgrade()?.find_still());
    HubHandle { hub }
}

impl HubHandle {
    /// Registers a worker thread's shard, and returns its end of the channel.
    pub(super) fn add_shard(&self, id: u32) -> ShardReceiver {
        self.hub.shared.shards.add(id)
    }

    /// Lets a subscription join. The answer comes through its shard. Returns false if the hub has too many requests, so that
    /// no answer comes.
    pub(super) fn join(&self, joining: Joining) -> bool {
        match self.backlog(&joining.project) {
            Some(backlog) => backlog.join(joining),
            None => {
                // The relay has not heard of this project yet, but the log has it.
                let SubscriptionId { shard, serial } = joining.id;
                self.hub.shared.shards.tell(shard, ToShard::ReadOn { serial });
                true
            }
        }
    }

    /// Lets a subscription leave. It is no error if the hub doesn't know it.
    pub(super) fn leave(&self, interest: &Interest, id: SubscriptionId) {
        if let Some(backlog) = self.backlog(&interest.project) {
            backlog.leave(id, interest.collection.clone());
        }
    }

    /// How far the hub may be behind.
    pub(super) fn bounds(&self) -> Bounds {
        self.hub.shared.bounds
    }

    /// Says where a project's log ends, without the changes up to there. Live subscriptions that have not heard of them go back
    /// to the log.
    pub fn set_log_end(&self, project: &ProjectId, epoch: Epoch, last: Position) {
        if let Some(backlog) = self.backlog(project) {
            return backlog.set_log_end(epoch, last);
        }
        let Hub { runtime, shared, backlogs, supervisor } = &*self.hub;
        let backlog = Arc::new(Backlog::new((epoch, last), shared.bounds, shared.waiting_bytes.clone()));
        let mut backlogs = backlogs.write().unwrap_or_else(PoisonError::into_inner);
        backlogs.insert(project.clone(), backlog.clone());
        shared.projects.store(backlogs.len(), Ordering::Relaxed);
        let (project, shared) = (project.clone(), shared.clone());
        let part = name_of(&project);
        // The state has a timer, which belongs to the runtime of the hub.
        let task = async move { Project::new(project, (epoch, last), backlog, shared).run().await };
        runtime.spawn(supervisor.watch(part, task));
    }

    /// Publishes the next changes of a project, in order and without gap. If the project's task is too far behind, all that
    /// waits for it is dropped, and its subscriptions read the log.
    pub fn publish(&self, project: &ProjectId, changes: Vec<Arc<Change>>) {
        let Some(backlog) = self.backlog(project) else { return };
        if !backlog.publish(changes) {
            // The project's task tells of it, if there are subscriptions.
            tracing::debug!(%project, "too many changes wait to be matched in project {project}");
        }
    }

    /// Ends the streams of keys that are revoked, or have expired. Changes that are published later are sent after that.
    pub fn end_keys(&self, keys: &[KeyId], end: KeyEnd) {
        keys.iter().for_each(|key| self.hub.shared.shards.end_key(key, end, u64::MAX));
    }

    /// Ends the streams that were authenticated before the last change of what their key may do.
    pub fn end_changed_key(&self, change: &KeyChange) {
        self.hub.shared.shards.end_key(&change.key, KeyEnd::Changed, change.rescoped);
    }

    /// Does the same for all keys to which something happened.
    pub fn end_keys_of(&self, states: &KeyStates) {
        self.end_keys(&states.revoked, KeyEnd::Revoked);
        states.changed.iter().for_each(|change| self.end_changed_key(change));
    }

    /// Ends the streams of sessions that have ended. Changes that are published later are sent after that.
    pub fn end_sessions(&self, sessions: &Arc<[SessionId]>) {
        self.hub.shared.shards.tell_all(|| ToShard::SessionsEnded { sessions: sessions.clone() });
    }

    /// Ends the streams of all users of a project, whose sessions may have ended. Their clients come back, and then the database
    /// is asked.
    pub fn doubt_sessions(&self, project: &ProjectId) {
        self.hub.shared.shards.tell_all(|| ToShard::SessionsInDoubt { project: project.clone() });
    }

    /// Ends every stream. The clients come back, and then their credentials are judged anew.
    pub fn doubt_all(&self) {
        self.hub.shared.shards.tell_all(|| ToShard::AllInDoubt);
    }

    fn backlog(&self, project: &ProjectId) -> Option<Arc<Backlog>> {
        self.hub.backlogs.read().unwrap_or_else(PoisonError::into_inner).get(project).cloned()
    }
}

impl Hub {
    /// Finds a task or a shard that has not moved for long, although commands or events wait for it.
    fn find_still(&self) -> Option<Part> {
        let backlogs = self.backlogs.read().unwrap_or_else(PoisonError::into_inner);
        let is_still = |backlog: &Backlog| backlog.stillness().is_some_and(|time| time > STILL);
        let task =
            backlogs.iter().find(|(_, backlog)| is_still(backlog)).map(|(project, _)| name_of(project));
        task.or_else(|| Some(part_of(self.shared.shards.find_still(STILL)?)))
    }
}

/// The task of a project, as the log calls it.
fn name_of(project: &ProjectId) -> Part {
    format!("hub task of project {project}").into()
}

impl Drop for Hub {
    fn drop(&mut self) {
        let backlogs = self.backlogs.get_mut().unwrap_or_else(PoisonError::into_inner);
        backlogs.values().for_each(|backlog| backlog.close());
    }
}
