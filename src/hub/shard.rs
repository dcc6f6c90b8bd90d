//! The hub's part on one worker thread: it owns the deliveries of that thread's subscriptions, and fills their queues.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use super::{
    actor::HubHandle,
    deliveries::Deliveries,
    delivery::{Delivery, DeliveryState},
    joining::{Joining, SubscriptionId},
    outbox::{CloseReason, Outbox, Owner},
    outboxes::Outboxes,
    shards::{ShardReceiver, part_of},
    to_shard::ToShard,
};
use crate::{
    domain::{
        Position, ProjectId,
        cursor::{Cursor, Epoch},
    },
    supervision::Part,
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
            DeliveryState::Ended => self.shard.hub.leave(self.delivery, self.id),
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
    deliveries: RefCell<Deliveries>,
    outboxes: Outboxes,
    marks: RefCell<HashMap<ProjectId, (Epoch, Position)>>,
}

impl Shard {
    /// Makes a shard and registers it with the hub. The caller spawns the returned loop on this thread. It runs until the hub
    /// ends.
    pub fn new(id: u32, hub: HubHandle) -> (Rc<Self>, impl Future<Output = ()>) {
        let receiver = hub.add_shard(id);
        let shard = Rc::new(Self {
            id,
            hub,
            deliveries: RefCell::default(),
            outboxes: Outboxes::default(),
            marks: RefCell::default(),
        });
        (shard.clone(), run(shard, receiver))
    }

    /// Returns its name, as the log calls it.
    pub fn part(&self) -> Part {
        part_of(self.id)
    }

    /// Returns the name of its worker thread, as the log calls it.
    pub fn thread(&self) -> Part {
        format!("worker thread {}", self.id).into()
    }

    /// Makes a connection known, so that the end of its key or its session finds it. Returns its serial.
    pub fn add_outbox(&self, outbox: &Rc<Outbox>) -> u64 {
        self.outboxes.add(outbox)
    }

    /// Notes whose a connection is. Ends of which the relay has heard before have not found it, so the caller asks for them
    /// afterwards.
    pub fn set_owner(&self, serial: u64, owner: Option<Owner>) {
        self.outboxes.set_owner(serial, owner);
    }

    /// Forgets a connection.
    pub fn remove_outbox(&self, serial: u64) {
        self.outboxes.remove(serial);
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
        delivery.state.set(DeliveryState::Joining);
        let serial = self.deliveries.borrow_mut().add(delivery.clone());
        let id = SubscriptionId { shard: self.id, serial };
        let joining = Joining {
            id,
            interest: delivery.interest.clone(),
            position: delivery.position(),
            watched: delivery.watched(),
            checked: delivery.checked(),
            replaces,
        };
        let _asking = Asking { shard: self, delivery, id };
        if !self.hub.join(joining) {
            self.fall_back(delivery);
        }
        while delivery.state.get() == DeliveryState::Joining && !delivery.outbox.is_ending() {
            delivery.outbox.changed().await;
        }
        delivery.state.get()
    }

    /// Ends a subscription for good: it gets nothing any more, neither from the hub nor from the log.
    pub fn end(&self, delivery: &Delivery) {
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
        let removed = self.deliveries.borrow_mut().remove(delivery);
        if let Some(serial) = removed {
            self.hub.leave(delivery, SubscriptionId { shard: self.id, serial });
        }
    }

    /// Moves a live subscription's position to the last mark, because everything up to it was sent.
    pub fn pass_mark(&self, delivery: &Delivery) {
        if delivery.state() == DeliveryState::Live
            && let Some((epoch, mark)) = self.marks.borrow().get(&delivery.project)
            // Sequences of another epoch say nothing about this one.
            && delivery.cursor().is_some_and(|cursor| cursor.epoch == *epoch)
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

    fn find(&self, serial: u64) -> Option<Rc<Delivery>> {
        self.deliveries.borrow().find(serial).cloned()
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
                if !delivery.begin_live(epoch, last) {
                    // It is of another epoch. The log will say so.
                    return self.fall_back(&delivery);
                }
                delivery.set_state(DeliveryState::Live);
            }
            ToShard::ReadOn { serial } => {
                if let Some(delivery) = self.find(serial) {
                    self.fall_back(&delivery);
                }
            }
            ToShard::Doubt { serial, begin } => {
                if let Some(delivery) = self.find(serial) {
                    if let Some((epoch, last)) = begin {
                        delivery.begin_live(epoch, last);
                    }
                    delivery.doubt();
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
            ToShard::Overrun { project } => {
                let mut deliveries: Vec<_> = self.deliveries.borrow().iter().cloned().collect();
                deliveries.retain(|delivery| delivery.project == project);
                deliveries.sort_unstable_by_key(|delivery| delivery.serial.get());
                deliveries.iter().for_each(|delivery| self.fall_back(delivery));
            }
            ToShard::Mark { project, epoch, position } => {
                self.marks.borrow_mut().insert(project, (epoch, position));
            }
            ToShard::KeyEnded { key, end, before } => {
                let outboxes = self.outboxes.of_key(&key, before);
                outboxes.iter().for_each(|outbox| outbox.close(CloseReason::KeyEnded(end)));
            }
            ToShard::SessionsEnded { sessions } => {
                let outboxes = sessions.iter().flat_map(|session| self.outboxes.of_session(session));
                outboxes.for_each(|outbox| outbox.close(CloseReason::SessionEnded));
            }
            ToShard::AllInDoubt => {
                self.outboxes.all().iter().for_each(|outbox| outbox.close(CloseReason::CredentialInDoubt));
            }
            ToShard::SessionsInDoubt { project } => {
                let outboxes = self.outboxes.of_users(&project);
                outboxes.iter().for_each(|outbox| outbox.close(CloseReason::SessionInDoubt));
            }
        }
    }
}

async fn run(shard: Rc<Shard>, mut receiver: ShardReceiver) {
    let (mut batches, mut touched) = (Vec::new(), Vec::new());
    while receiver.receive(&mut batches, 64).await {
        for batch in batches.drain(..) {
            for message in receiver.open(batch) {
                shard.handle(message, &mut touched);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        domain::{CollectionId, KeyId, Timestamp},
        hub::{self, Asked, Audience, Bounds, Interests},
        query::{
            parse::{Typing, parse_value},
            rule::Params,
        },
        supervision::Supervisor,
        wire::Form,
    };

    fn bound_delivery(interests: &Interests, outbox: &Rc<Outbox>, is_dependent: bool) -> Rc<Delivery> {
        let interest = |collection| {
            let audience = Audience {
                project: ProjectId::from_stored("p"),
                collection: CollectionId::from_stored(collection),
                form: Form::WebSocket,
                label: collection.into(),
                key: KeyId::from_stored("k"),
                mask: None,
            };
            interests.get(audience, parse_value(json!({}), Typing::Typed).unwrap()).unwrap()
        };
        let asked = is_dependent.then(|| Asked {
            wanted: interest("posts").filter.clone(),
            params: Params::default(),
            watched: vec![interest("members")],
            mask_bytes: 0,
        });
        let delivery = Delivery::new(interest("posts"), outbox.clone(), None, false).unwrap();
        delivery.bind(asked, 5).unwrap();
        Rc::new(delivery)
    }

    /// Its rights were read at a time that the hub can't place.
    #[tokio::test]
    async fn a_subscription_whose_rights_depend_on_documents_is_never_live_from_now_on() {
        let hub = hub::start(Bounds::default(), &Supervisor::default());
        let (shard, messages) = Shard::new(0, hub.clone());
        let claim = async {
            let last = Position { sequence: 5, at: Timestamp(5) };
            hub.set_log_end(&ProjectId::from_stored("p"), Epoch(1), last);
            let (interests, outbox) = (Interests::new(1 << 20), Rc::new(Outbox::default()));
            let old = bound_delivery(&interests, &outbox, false);
            assert_eq!(shard.join(&old).await, DeliveryState::Live);
            let plain = bound_delivery(&interests, &outbox, false);
            assert_eq!(shard.replace(&plain, &old).await, DeliveryState::Live);
            let dependent = bound_delivery(&interests, &outbox, true);
            assert_eq!(shard.replace(&dependent, &plain).await, DeliveryState::CatchingUp);
            assert!(dependent.is_in_doubt());
            assert_eq!(dependent.position(), Some(last), "it reads on from there");
        };
        tokio::select! {
            () = messages => panic!("the hub has ended"),
            () = claim => {}
        }
    }
}
