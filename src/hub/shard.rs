//! The hub's part on one worker thread: it owns the deliveries of that thread's subscriptions, and fills their queues.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    actor::HubHandle,
    delivery::{Delivery, DeliveryState},
    joining::{Joining, SubscriptionId},
    outbox::{CloseReason, Outbox},
    to_shard::{SHARD_CHANNEL, ToShard},
};
use crate::domain::{
    Position, ProjectId,
    cursor::{Cursor, Epoch},
};

/// A request to join that waits for the hub's answer. If it is dropped before that, or the subscription ended meanwhile, it
/// takes the subscription out again.
struct Asking<'a> {
    shard: &'a Shard,
    delivery: &'a Delivery,
    id: SubscriptionId,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        match self.delivery.state() {
            DeliveryState::Joining => self.shard.withdraw(self.delivery),
            // It may have ended before the hub was asked.
            DeliveryState::Ended => self.shard.hub.leave_detached(self.id),
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
    /// Set by the hub when this shard's channel is full. Every subscription must then go back to the log.
    is_overrun: Arc<AtomicBool>,
}

impl Shard {
    /// Makes a shard and registers it with the hub. The caller spawns the returned loop on this thread. It runs until the hub
    /// ends.
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

    /// Makes a connection known, so that the revocation of its key finds it. Returns a serial for [`Shard::remove_outbox`].
    pub fn add_outbox(&self, outbox: &Rc<Outbox>) -> u64 {
        let serial = self.take_serial();
        self.outboxes.borrow_mut().insert(serial, outbox.clone());
        serial
    }

    /// Forgets a connection.
    pub fn remove_outbox(&self, serial: u64) {
        self.outboxes.borrow_mut().remove(&serial);
    }

    /// Asks the hub to serve a subscription from its position on, and waits for the answer. It is the new state: `Live`,
    /// `CatchingUp` (read the log first), `Refused`, `Removed`, or `Ended` if it ended meanwhile.
    pub async fn join(&self, delivery: &Rc<Delivery>) -> DeliveryState {
        self.ask(delivery, None).await
    }

    /// Lets a subscription replace a live one in one step of the hub, so that there is no change between them. If it is
    /// refused, the old one goes on. Otherwise the caller ends the old one.
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
        let joining =
            Joining { id, interest: delivery.interest.clone(), position: delivery.position.get(), replaces };
        let _asking = Asking { shard: self, delivery, id };
        self.hub.join(joining).await;
        while delivery.state.get() == DeliveryState::Joining && !delivery.outbox.is_ending() {
            delivery.outbox.changed().await;
        }
        delivery.state.get()
    }

    /// Ends a subscription for good: it gets nothing any more, neither from the hub nor from the log.
    pub async fn end(&self, delivery: &Delivery) {
        delivery.set_state(DeliveryState::Ended);
        if let Some(id) = self.forget(delivery) {
            self.hub.leave(id).await;
        }
    }

    /// The same, from code that can't await.
    pub fn end_detached(&self, delivery: &Delivery) {
        delivery.set_state(DeliveryState::Ended);
        self.withdraw(delivery);
    }

    /// Sends a subscription back to the log. The hub forgets it until it joins again.
    pub fn fall_back(&self, delivery: &Delivery) {
        self.withdraw(delivery);
        delivery.set_state(DeliveryState::CatchingUp);
    }

    /// Takes a subscription out of the hub. It may join again.
    fn withdraw(&self, delivery: &Delivery) {
        if let Some(id) = self.forget(delivery) {
            self.hub.leave_detached(id);
        }
    }

    fn forget(&self, delivery: &Delivery) -> Option<SubscriptionId> {
        let serial = delivery.serial.replace(0);
        self.deliveries.borrow_mut().remove(&serial);
        (serial != 0).then_some(SubscriptionId { shard: self.id, serial })
    }

    /// Moves a live subscription's position to the last mark, because everything up to it was sent.
    pub fn pass_mark(&self, delivery: &Delivery) {
        if delivery.state() == DeliveryState::Live
            && let Some((epoch, mark)) = self.marks.borrow().get(&delivery.project)
            // Sequences of another epoch say nothing about this one.
            && delivery.epoch.get() == Some(*epoch)
        {
            delivery.pass(*mark);
        }
    }

    /// Returns the position up to which this thread has heard of a project's log; `None` if it has not heard of it yet.
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
                    // It is of another epoch. The log will say so.
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
        // The messages that were in the channel are still good. The others must come from the log.
        if shard.is_overrun.swap(false, Ordering::AcqRel) {
            // A newer mark may be among the lost messages, and the known one may be of a lost history.
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
        // The connections of this thread write now. More batches may have come when this task runs again.
        tokio::task::yield_now().await;
    }
}
