//! The hub's part on one worker thread: it owns the places of that thread's subscriptions and fills their queues.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{CloseReason, Delivery, DeliveryState, HubHandle, Outbox, SubscriptionId, joining::Joining};
use crate::domain::{
    KeyId, Position, ProjectId,
    cursor::{Cursor, Epoch},
};

/// Messages from the hub that a shard may have waiting; each is a whole batch.
pub(super) const SHARD_CHANNEL: usize = 1024;

/// What the hub tells a shard, in the order in which it happened.
pub(super) enum ToShard {
    /// An event for some of this shard's subscriptions.
    Deliver { frame: Bytes, position: Position, serials: Vec<u64> },
    /// The subscription is live; everything up to here was sent.
    Joined { serial: u64, epoch: Epoch, last: Position },
    /// The hub can't serve it from where it is: it must read the log.
    ReadOn { serial: u64 },
    /// There are too many filters of its kind.
    Refused { serial: u64 },
    /// Its collection is gone.
    Removed { serial: u64 },
    /// Everything up to here was sent to every live subscription of this project.
    Mark { project: ProjectId, epoch: Epoch, position: Position },
    /// A key is no longer good.
    Revoked { key: KeyId },
}

/// A question to the hub. Where it ends without a use for the answer, because whoever asked is gone or the subscription
/// was ended meanwhile, it takes the subscription out again.
struct Asking<'a> {
    shard: &'a Shard,
    delivery: &'a Delivery,
    id: SubscriptionId,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        match self.delivery.state() {
            DeliveryState::Joining => self.shard.withdraw(self.delivery),
            // Perhaps before the hub was asked.
            DeliveryState::Ended => self.shard.hub.unsubscribe_detached(self.id),
            DeliveryState::CatchingUp
            | DeliveryState::Live
            | DeliveryState::Removed
            | DeliveryState::Refused => {}
        }
    }
}

/// One worker thread's part of the hub. Lives on that thread.
pub struct Shard {
    id: u32,
    hub: HubHandle,
    deliveries: RefCell<HashMap<u64, Rc<Delivery>>>,
    outboxes: RefCell<HashMap<u64, Rc<Outbox>>>,
    marks: RefCell<HashMap<ProjectId, (Epoch, Position)>>,
    next_serial: Cell<u64>,
    /// The hub gave up on this shard's channel: every subscription must go back to the log.
    is_overrun: Arc<AtomicBool>,
}

impl Shard {
    /// Makes a shard and registers it with the hub. The caller spawns the returned loop on this thread; it runs until
    /// the hub ends.
    pub fn new(id: u32, hub: HubHandle) -> (Rc<Self>, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(SHARD_CHANNEL);
        let is_overrun = Arc::new(AtomicBool::new(false));
        hub.add_shard(id, sender, is_overrun.clone());
        let shard = Rc::new(Self {
            id,
            hub,
            deliveries: RefCell::default(),
            outboxes: RefCell::default(),
            marks: RefCell::default(),
            next_serial: Cell::new(1),
            is_overrun,
        });
        (shard.clone(), run(shard, receiver))
    }

    /// Makes a connection known, so that a revocation finds it. The returned number is for [`Shard::remove_outbox`].
    pub fn add_outbox(&self, outbox: &Rc<Outbox>) -> u64 {
        let serial = self.take_serial();
        self.outboxes.borrow_mut().insert(serial, outbox.clone());
        serial
    }

    /// Forgets a connection.
    pub fn remove_outbox(&self, serial: u64) {
        self.outboxes.borrow_mut().remove(&serial);
    }

    /// Asks the hub to serve the subscription from its position on, and waits for the answer, which is its state:
    /// `Live`, `CatchingUp` (read the log first), `Refused`, `Removed`, or `Ended` if it was ended meanwhile.
    pub async fn join(&self, delivery: &Rc<Delivery>) -> DeliveryState {
        self.ask(delivery, None).await
    }

    /// Lets a subscription take the place of a live one in one step of the hub, so that no change is between them. If it
    /// is refused, the old one goes on; else the caller ends it.
    pub async fn replace(&self, delivery: &Rc<Delivery>, old: &Rc<Delivery>) -> DeliveryState {
        self.ask(delivery, Some(SubscriptionId { shard: self.id, serial: old.serial.get() })).await
    }

    async fn ask(&self, delivery: &Rc<Delivery>, replaces: Option<SubscriptionId>) -> DeliveryState {
        if delivery.state() == DeliveryState::Ended {
            return DeliveryState::Ended;
        }
        let serial = self.take_serial();
        delivery.serial.set(serial);
        delivery.state.set(DeliveryState::Joining);
        self.deliveries.borrow_mut().insert(serial, delivery.clone());
        let id = SubscriptionId { shard: self.id, serial };
        let joining = Joining {
            id,
            project: delivery.project.clone(),
            collection: delivery.collection.clone(),
            filter: delivery.filter.clone(),
            form: delivery.form,
            asked_name: delivery.asked_name.clone(),
            position: delivery.position.get(),
            replaces,
        };
        let _asking = Asking { shard: self, delivery, id };
        self.hub.subscribe(joining).await;
        while delivery.state.get() == DeliveryState::Joining && !delivery.outbox.is_ending() {
            delivery.outbox.changed().await;
        }
        delivery.state.get()
    }

    /// Ends a subscription for good: from here on it gets nothing, from the hub or from the log.
    pub async fn end(&self, delivery: &Delivery) {
        delivery.set_state(DeliveryState::Ended);
        if let Some(id) = self.forget(delivery) {
            self.hub.unsubscribe(id).await;
        }
    }

    /// The same from where nothing can be awaited.
    pub fn end_detached(&self, delivery: &Delivery) {
        delivery.set_state(DeliveryState::Ended);
        self.withdraw(delivery);
    }

    /// Sends a subscription back to the log. It is nothing to the hub until it joins again.
    pub fn fall_back(&self, delivery: &Delivery) {
        self.withdraw(delivery);
        delivery.set_state(DeliveryState::CatchingUp);
    }

    /// Takes the subscription out of the hub; it may join again.
    fn withdraw(&self, delivery: &Delivery) {
        if let Some(id) = self.forget(delivery) {
            self.hub.unsubscribe_detached(id);
        }
    }

    fn forget(&self, delivery: &Delivery) -> Option<SubscriptionId> {
        let serial = delivery.serial.replace(0);
        self.deliveries.borrow_mut().remove(&serial);
        (serial != 0).then_some(SubscriptionId { shard: self.id, serial })
    }

    /// Moves a live subscription's position to the last mark: nothing before it is still to come.
    pub fn pass_mark(&self, delivery: &Delivery) {
        if delivery.state() == DeliveryState::Live
            && let Some((epoch, mark)) = self.marks.borrow().get(&delivery.project)
            // Sequences of another history say nothing about this one.
            && delivery.epoch.get() == Some(*epoch)
        {
            delivery.pass(*mark);
        }
    }

    /// Up to where this thread has heard of a project's log; `None` if it has not yet.
    pub fn mark(&self, project: &ProjectId) -> Option<Cursor> {
        self.marks
            .borrow()
            .get(project)
            .map(|(epoch, position)| Cursor { epoch: *epoch, position: *position })
    }

    fn take_serial(&self) -> u64 {
        self.next_serial.replace(self.next_serial.get() + 1)
    }

    fn find(&self, serial: u64) -> Option<Rc<Delivery>> {
        self.deliveries.borrow().get(&serial).cloned()
    }

    fn handle(&self, message: ToShard, touched: &mut Vec<Rc<Outbox>>) {
        match message {
            ToShard::Deliver { frame, position, serials } => {
                for serial in serials {
                    let Some(delivery) = self.find(serial) else { continue };
                    if delivery.offer(position, frame.clone()).is_err() {
                        self.fall_back(&delivery);
                    }
                    if !delivery.outbox.touched.replace(true) {
                        touched.push(delivery.outbox.clone());
                    }
                }
            }
            ToShard::Joined { serial, epoch, last } => {
                let Some(delivery) = self.find(serial) else { return };
                if delivery.epoch.get().is_some_and(|known| known != epoch) {
                    // Another history: the log will say so.
                    return self.fall_back(&delivery);
                }
                delivery.epoch.set(Some(epoch));
                delivery.pass(last);
                delivery.set_state(DeliveryState::Live);
            }
            ToShard::ReadOn { serial } => {
                if let Some(delivery) = self.find(serial) {
                    self.fall_back(&delivery);
                }
            }
            ToShard::Refused { serial } => {
                if let Some(delivery) = self.find(serial) {
                    self.withdraw(&delivery);
                    delivery.set_state(DeliveryState::Refused);
                }
            }
            ToShard::Removed { serial } => {
                if let Some(delivery) = self.find(serial) {
                    delivery.set_state(DeliveryState::Removed);
                }
            }
            ToShard::Mark { project, epoch, position } => {
                self.marks.borrow_mut().insert(project, (epoch, position));
            }
            ToShard::Revoked { key } => {
                let outboxes: Vec<_> = self.outboxes.borrow().values().cloned().collect();
                for outbox in outboxes.iter().filter(|outbox| outbox.belongs_to(&key)) {
                    outbox.close(CloseReason::NotAllowed);
                }
            }
        }
    }
}

async fn run(shard: Rc<Shard>, mut receiver: mpsc::Receiver<Vec<ToShard>>) {
    let (mut batches, mut touched) = (Vec::new(), Vec::new());
    while receiver.recv_many(&mut batches, 64).await > 0 {
        for message in batches.drain(..).flatten() {
            shard.handle(message, &mut touched);
        }
        // What was in the channel is still good; what didn't fit into it must come from the log.
        if shard.is_overrun.swap(false, Ordering::AcqRel) {
            // A newer mark may be among it, and this one of a history that is lost.
            shard.marks.borrow_mut().clear();
            let mut deliveries: Vec<_> = shard.deliveries.borrow().values().cloned().collect();
            deliveries.sort_unstable_by_key(|delivery| delivery.serial.get());
            for delivery in deliveries {
                shard.fall_back(&delivery);
            }
        }
        for outbox in touched.drain(..) {
            outbox.touched.set(false);
            outbox.wake_body();
        }
        // The connections of this thread write now; more batches may have come when it is our turn again.
        tokio::task::yield_now().await;
    }
}
