//! The subscriptions of one connection: added, replaced, removed, and kept up to date.

use std::{rc::Rc, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};

use super::{
    Feed,
    catch_up::{CaughtUp, catch_up},
    protocol,
};
use crate::{
    api::error::{ApiError, ErrorCode, UNKNOWN_COLLECTION},
    auth::Principal,
    domain::{Collection, CollectionId},
    hub::{CloseReason, Form, Outbox, Shard, Slot, SlotState},
    query::{Filter, cursor::Cursor},
    service::ServiceError,
};

/// What a connection watches.
pub struct Subscriptions {
    feed: Feed,
    shard: Rc<Shard>,
    outbox: Rc<Outbox>,
    form: Form,
    slots: Vec<Rc<Slot>>,
    catching_up: FuturesUnordered<LocalBoxFuture<'static, (Rc<Slot>, CaughtUp)>>,
}

/// What [`Subscriptions::serve`] has to tell.
pub enum Ended {
    /// A subscription has ended, and is none any more; its client is to be told why.
    One(ApiError),
    /// What one of them missed can't be sent any more, and there is no way to say so but to close.
    Behind,
}

impl Subscriptions {
    /// None yet.
    pub fn new(feed: Feed, shard: Rc<Shard>, outbox: Rc<Outbox>, form: Form) -> Self {
        Self { feed, shard, outbox, form, slots: Vec::new(), catching_up: FuturesUnordered::new() }
    }

    /// Begins to watch, from now or from a cursor, and returns the subscription. One per collection: another one of the
    /// same collection takes its place, without a change between them.
    ///
    /// # Errors
    /// What keeps it from being served.
    pub async fn add(
        &mut self,
        principal: &Principal,
        asked_name: &str,
        filter: Filter,
        from: Option<Cursor>,
    ) -> Result<Rc<Slot>, ApiError> {
        let collection = self.feed.streams.open(principal, asked_name).await?;
        let old = self.slots.iter().position(|slot| slot.collection == collection.id);
        if old.is_none() && self.slots.len() >= self.feed.max_subscriptions {
            let message = format!("a connection has at most {} subscriptions", self.feed.max_subscriptions);
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
        let slot = self.new_slot(principal, &collection, asked_name, filter);
        // "Now" is where the log ends, and not how far this node's hub has heard: on several nodes, what was acknowledged
        // before must not come as an event.
        let begin = match (from, old) {
            (None, None) => self.feed.streams.find_end(&principal.project).await?,
            (from, _) => from,
        };
        if let Some(cursor) = begin {
            slot.restart_from(cursor);
        }
        let state = match old.map(|place| self.slots[place].clone()) {
            None if from.is_some() => SlotState::CatchingUp,
            None => self.shard.join(&slot).await,
            Some(old) => self.replace(&slot, &old).await,
        };
        if state == SlotState::Refused {
            // The one that was there before goes on.
            return Err(too_many_filters());
        }
        match old {
            Some(place) => self.slots[place] = slot.clone(),
            None => self.slots.push(slot.clone()),
        }
        if let Err(error) = self.settle(principal, &slot).await {
            self.slots.retain(|other| !Rc::ptr_eq(other, &slot));
            self.shard.end(&slot).await;
            return Err(error);
        }
        Ok(slot)
    }

    /// Ends the subscription of a collection; where there is none, that is no error.
    ///
    /// # Errors
    /// That there is no such collection.
    pub async fn remove(&mut self, principal: &Principal, asked_name: &str) -> Result<(), ApiError> {
        let by_name = self.slots.iter().position(|slot| *slot.asked_name == *asked_name);
        let place = match by_name {
            Some(place) => Some(place),
            None => {
                let collection = self.feed.streams.open(principal, asked_name).await?;
                self.slots.iter().position(|slot| slot.collection == collection.id)
            }
        };
        if let Some(place) = place {
            let slot = self.slots.swap_remove(place);
            self.shard.end(&slot).await;
        }
        Ok(())
    }

    /// Ends all of them, and says how many there were.
    pub fn end_all(&mut self) -> usize {
        let slots = std::mem::take(&mut self.slots);
        slots.iter().for_each(|slot| self.shard.end_detached(slot));
        slots.len()
    }

    /// Ends those of other collections, and says how many there were.
    pub fn end_others(&mut self, collection: &CollectionId) -> usize {
        let is_other = |slot: &mut Rc<Slot>| slot.collection != *collection;
        let others: Vec<_> = self.slots.extract_if(.., is_other).collect();
        others.iter().for_each(|slot| self.shard.end_detached(slot));
        others.len()
    }

    /// Moves the positions of those for which nothing came past what the hub has sent. On SSE, returns the cursor.
    pub fn pass_marks(&self) -> Option<String> {
        self.slots.iter().for_each(|slot| self.shard.pass_mark(slot));
        let slot = self.slots.first().filter(|_| self.form == Form::Sse)?;
        Some(slot.cursor()?.encode(&slot.project))
    }

    /// Brings those that fell behind up to date, until one has ended. Can be dropped at any await, and goes on when it is
    /// called again; it must be, after each change of the outbox.
    pub async fn serve(&mut self) -> Ended {
        loop {
            if let Some(place) = self.slots.iter().position(|slot| slot.state() == SlotState::Removed) {
                return self.end(place, unknown_collection());
            }
            self.begin_catching_up();
            let Some((slot, caught_up)) = self.catching_up.next().await else {
                return std::future::pending().await;
            };
            slot.end_catching_up();
            let Some(place) = self.slots.iter().position(|other| Rc::ptr_eq(other, &slot)) else {
                // It was unsubscribed, or replaced, meanwhile.
                continue;
            };
            match caught_up {
                CaughtUp::Live | CaughtUp::Ended => {}
                CaughtUp::Removed => return self.end(place, unknown_collection()),
                CaughtUp::Refused => return self.end(place, too_many_filters()),
                CaughtUp::Expired(_) if self.form == Form::WebSocket => return Ended::Behind,
                CaughtUp::Expired(head) => self.say_resync(&slot, head),
            }
        }
    }

    /// Makes sure that a new subscription is of a collection that is there, and has a place to go on from. What is not
    /// live yet is brought up to date by the loop.
    async fn settle(&self, principal: &Principal, slot: &Slot) -> Result<(), ApiError> {
        // A removal that the hub heard of before it heard of this subscription ended it for nobody.
        let found = self.feed.streams.open(principal, slot.collection.as_str()).await;
        if slot.state() == SlotState::Removed || matches!(found, Err(ServiceError::UnknownCollection)) {
            return Err(unknown_collection());
        }
        // It begins now, and the hub is busy or has not heard of the project: now is where the log ends.
        if slot.cursor().is_none()
            && let Some(end) = self.feed.streams.find_end(&slot.project).await?
        {
            slot.restart_from(end);
        }
        Ok(())
    }

    fn new_slot(
        &self,
        principal: &Principal,
        collection: &Collection,
        asked_name: &str,
        filter: Filter,
    ) -> Rc<Slot> {
        let place = (principal.project.clone(), collection.id.clone());
        Rc::new(Slot::new(place, Arc::new(filter), self.form, asked_name.into(), self.outbox.clone()))
    }

    async fn replace(&self, slot: &Rc<Slot>, old: &Rc<Slot>) -> SlotState {
        if old.state() == SlotState::Live {
            let state = self.shard.replace(slot, old).await;
            if state == SlotState::Refused {
                return state;
            }
            if old.state() != SlotState::CatchingUp {
                self.shard.end(old).await;
                return state;
            }
            // The queue overflowed in between: the new one reads what the old one missed.
            self.shard.fall_back(slot);
            if slot.has_sent() {
                // But that is before what it has sent already.
                self.outbox.close(CloseReason::Behind);
            }
        }
        if let Some(cursor) = old.cursor() {
            slot.restart_from(cursor);
        }
        self.shard.end(old).await;
        SlotState::CatchingUp
    }

    fn begin_catching_up(&self) {
        for slot in &self.slots {
            if slot.state() == SlotState::CatchingUp && slot.begin_catching_up() {
                let (feed, shard, slot) = (self.feed.clone(), self.shard.clone(), slot.clone());
                let future = async move {
                    let end = catch_up(&feed, &shard, &slot).await;
                    (slot, end)
                };
                self.catching_up.push(future.boxed_local());
            }
        }
    }

    fn end(&mut self, place: usize, error: ApiError) -> Ended {
        let slot = self.slots.swap_remove(place);
        self.shard.end_detached(&slot);
        Ended::One(error)
    }

    /// Says on an SSE stream that what came before is lost, and goes on from `head`.
    fn say_resync(&self, slot: &Slot, head: Cursor) {
        slot.restart_from(head);
        self.outbox.send(protocol::sse_resync("CURSOR_EXPIRED", &head.encode(&slot.project)));
    }
}

fn unknown_collection() -> ApiError {
    ApiError::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION)
}

fn too_many_filters() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "this collection has too many different filters without an equality")
}
