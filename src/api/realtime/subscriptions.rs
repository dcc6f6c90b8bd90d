//! The subscriptions of one connection: added, replaced, removed, and kept up to date.

use std::{rc::Rc, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};

use super::{
    Feed,
    catch_up::{CaughtUp, catch_up},
    subscription::{Begin, Lost, Subscription},
};
use crate::{
    api::error::{ApiError, ErrorCode, UNKNOWN_COLLECTION},
    auth::Principal,
    domain::{Collection, CollectionId, cursor::Cursor},
    hub::{CloseReason, Outbox, Shard, Slot, SlotState},
    live::reads::Resume,
    query::Filter,
    service::ServiceError,
    wire::{Form, NamedHead},
};

/// What a client asks for.
pub struct Wanted {
    /// The collection, by its name or id.
    pub collection: String,
    /// Which documents.
    pub filter: Filter,
    /// The client's name for the subscription, if it has one.
    pub id: Option<String>,
    /// The cursor to go on from, if there is one.
    pub since: Option<String>,
    /// Whether the documents that match now are wanted where there is nothing to go on from.
    pub snapshot: bool,
}

/// What a connection watches.
pub struct Subscriptions {
    feed: Feed,
    shard: Rc<Shard>,
    outbox: Rc<Outbox>,
    form: Form,
    all: Vec<Rc<Subscription>>,
    catching_up: FuturesUnordered<LocalBoxFuture<'static, (Rc<Subscription>, CaughtUp)>>,
}

/// What [`Subscriptions::serve`] has to tell.
pub enum Ended {
    /// A subscription has ended, and is none any more; its client is to be told why.
    One(Rc<Subscription>, ApiError),
    /// What one of them missed can't be sent any more, and there is no way to say so but to close.
    Behind,
    /// The connection is ending, and all of them with it.
    All,
}

impl Subscriptions {
    /// None yet.
    pub fn new(feed: Feed, shard: Rc<Shard>, outbox: Rc<Outbox>, form: Form) -> Self {
        Self { feed, shard, outbox, form, all: Vec::new(), catching_up: FuturesUnordered::new() }
    }

    /// Begins to watch. One that has the same `id`, or without one the same collection, is replaced, unless this fails.
    ///
    /// # Errors
    /// What keeps it from being served; nothing has changed then.
    pub async fn add(&mut self, principal: &Principal, wanted: Wanted) -> Result<(), ApiError> {
        let collection = self.feed.streams.open(principal, &wanted.collection).await?;
        let old = self.all.iter().position(|other| match &wanted.id {
            Some(id) => other.id.as_ref() == Some(id),
            None => other.id.is_none() && other.slot.collection == collection.id,
        });
        if old.is_none() && self.all.len() >= self.feed.max_subscriptions {
            let message = format!("a connection has at most {} subscriptions", self.feed.max_subscriptions);
            return Err(ApiError::new(ErrorCode::Overloaded, message));
        }
        match wanted.id {
            None if !self.form.says_position() => self.add_plain(principal, &collection, wanted, old).await,
            _ => self.add_resumable(principal, &collection, wanted, old).await,
        }
    }

    /// Ends a named subscription; where there is none, that is no error.
    pub async fn remove_named(&mut self, id: &str) {
        let place = self.all.iter().position(|other| other.id.as_deref() == Some(id));
        self.remove_at(place).await;
    }

    /// Ends the subscription without `id` of a collection; where there is none, that is no error.
    ///
    /// # Errors
    /// That there is no such collection.
    pub async fn remove(&mut self, principal: &Principal, asked_name: &str) -> Result<(), ApiError> {
        let find = |matches: &dyn Fn(&Slot) -> bool| {
            self.all.iter().position(|other| other.id.is_none() && matches(&other.slot))
        };
        let place = match find(&|slot| *slot.asked_name == *asked_name) {
            Some(place) => Some(place),
            None => {
                let collection = self.feed.streams.open(principal, asked_name).await?;
                find(&|slot| slot.collection == collection.id)
            }
        };
        self.remove_at(place).await;
        Ok(())
    }

    /// Ends all of them, and returns those that there were.
    pub fn end_all(&mut self) -> Vec<Rc<Subscription>> {
        let all = std::mem::take(&mut self.all);
        all.iter().for_each(|subscription| self.shard.end_detached(&subscription.slot));
        all
    }

    /// Ends those of other collections, and returns those that there were.
    pub fn end_others(&mut self, collection: &CollectionId) -> Vec<Rc<Subscription>> {
        let is_other = |subscription: &mut Rc<Subscription>| subscription.slot.collection != *collection;
        let others: Vec<_> = self.all.extract_if(.., is_other).collect();
        others.iter().for_each(|subscription| self.shard.end_detached(&subscription.slot));
        others
    }

    /// Moves the positions of those for which nothing came past what the hub has sent, and tells the named ones. On SSE,
    /// returns the cursor.
    pub fn beat(&self) -> Option<String> {
        for subscription in &self.all {
            self.shard.pass_mark(&subscription.slot);
            subscription.say_progress();
        }
        let first = self.all.first().filter(|_| self.form.carries_one_subscription())?;
        Some(first.slot.shown_cursor()?.encode(&first.slot.project))
    }

    /// Brings those that fell behind up to date, until one has ended. Can be dropped at any await, and goes on when it is
    /// called again; it must be, after each change of the outbox.
    pub async fn serve(&mut self) -> Ended {
        loop {
            // Nothing can be brought up to date any more: trying would never wait for anything.
            if self.outbox.is_ending() {
                return Ended::All;
            }
            if let Some(place) = self.all.iter().position(|other| other.slot.state() == SlotState::Removed) {
                return self.end(place, unknown_collection());
            }
            self.begin_catching_up();
            let Some((subscription, caught_up)) = self.catching_up.next().await else {
                return std::future::pending().await;
            };
            subscription.slot.end_catching_up();
            let Some(place) = self.all.iter().position(|other| Rc::ptr_eq(other, &subscription)) else {
                // It was unsubscribed, or replaced, meanwhile.
                continue;
            };
            match caught_up {
                CaughtUp::Live | CaughtUp::Ended => {}
                CaughtUp::Removed => return self.end(place, unknown_collection()),
                CaughtUp::Refused => return self.end(place, too_many_filters()),
                CaughtUp::Expired(_) if !subscription.is_resumable() => return Ended::Behind,
                CaughtUp::Expired(end) => {
                    if !self.begin_anew(&subscription, Lost::Behind, end) {
                        self.all.swap_remove(place);
                        self.shard.end_detached(&subscription.slot);
                    }
                }
            }
        }
    }

    /// A subscription that is told nothing but events, as the specification has it.
    async fn add_plain(
        &mut self,
        principal: &Principal,
        collection: &Collection,
        wanted: Wanted,
        old: Option<usize>,
    ) -> Result<(), ApiError> {
        let since = wanted.since.as_deref().and_then(|since| Cursor::decode(since, &principal.project).ok());
        let subscription = self.new_subscription(principal, collection, wanted);
        let slot = &subscription.slot;
        // "Now" is where the log ends, and not how far this node's hub has heard: on several nodes, what was acknowledged
        // before must not come as an event.
        if old.is_none() {
            let begin = match since {
                Some(since) => Some(since),
                None => self.feed.streams.find_end(&principal.project).await?,
            };
            if let Some(begin) = begin {
                slot.restart_from(begin);
            }
        }
        let state = match old {
            None => self.shard.join(slot).await,
            Some(place) => self.replace(slot, &self.all[place].slot).await,
        };
        if state == SlotState::Refused {
            // The one that was there before goes on.
            return Err(too_many_filters());
        }
        self.put(old, subscription.clone());
        if let Err(error) = self.settle(principal, slot).await {
            self.all.retain(|other| !Rc::ptr_eq(other, &subscription));
            self.shard.end(slot).await;
            return Err(error);
        }
        Ok(())
    }

    /// A named one, or that of an SSE stream: both are told where they are, and can go on from there.
    async fn add_resumable(
        &mut self,
        principal: &Principal,
        collection: &Collection,
        wanted: Wanted,
        old: Option<usize>,
    ) -> Result<(), ApiError> {
        let begin = self.find_begin(principal, wanted.since.as_deref()).await?;
        let end = self.feed.streams.find_end(&principal.project).await?.ok_or_else(unknown_collection)?;
        let subscription = self.new_subscription(principal, collection, wanted);
        let slot = &subscription.slot;
        self.check_collection(principal, slot).await?;
        let old = match old {
            None => None,
            Some(place) => {
                let old = self.all[place].clone();
                self.shard.end(&old.slot).await;
                self.all.retain(|other| !Rc::ptr_eq(other, &old));
                old.slot.cursor()
            }
        };
        match begin {
            Begin::After(cursor) => slot.restart_from(cursor),
            Begin::Now if subscription.wants_snapshot => subscription.begin_snapshot(),
            // What the one before it has sent already isn't sent again.
            Begin::Now => slot.restart_from(
                old.filter(|old| old.epoch == end.epoch && old.position.sequence > end.position.sequence)
                    .unwrap_or(end),
            ),
            Begin::Lost(lost) => {
                if subscription.wants_snapshot && subscription.id.is_some() {
                    subscription.begin_snapshot();
                    subscription.say_begun();
                }
                if self.begin_anew(&subscription, lost, end) {
                    self.all.push(subscription);
                }
                return Ok(());
            }
        }
        subscription.say_begun();
        // Before a stream has started, what keeps it from being served can still be its status.
        if self.form.carries_one_subscription()
            && begin == Begin::Now
            && !subscription.wants_snapshot
            && self.shard.join(slot).await == SlotState::Refused
        {
            return Err(too_many_filters());
        }
        self.all.push(subscription);
        Ok(())
    }

    /// Says that what the client holds can't be brought up to date, and begins from the log's end or with a snapshot.
    /// False if it ends with that.
    fn begin_anew(&self, subscription: &Subscription, lost: Lost, end: Cursor) -> bool {
        subscription.say_resync(lost, Some(end));
        if subscription.wants_snapshot {
            subscription.begin_snapshot();
            return true;
        }
        subscription.slot.restart_from(end);
        // An EventSource would come back at once; a client with named subscriptions decides by itself what it needs.
        self.form.carries_one_subscription()
    }

    async fn find_begin(&self, principal: &Principal, since: Option<&str>) -> Result<Begin, ApiError> {
        let Some(since) = since else { return Ok(Begin::Now) };
        let cursor = match Cursor::decode(since, &principal.project) {
            Ok(cursor) => cursor,
            Err(err) => return Ok(Begin::Lost(Lost::Invalid(err))),
        };
        Ok(match self.feed.streams.resume(&principal.project, cursor).await? {
            Resume::From(position) => Begin::After(Cursor { epoch: cursor.epoch, position }),
            Resume::Expired(_, gone) => Begin::Lost(Lost::Expired(gone)),
        })
    }

    /// Makes sure that a new subscription is of a collection that is there, and has a place to go on from. What is not
    /// live yet is brought up to date by the loop.
    async fn settle(&self, principal: &Principal, slot: &Slot) -> Result<(), ApiError> {
        self.check_collection(principal, slot).await?;
        // It begins now, and the hub is busy or has not heard of the project: now is where the log ends.
        if slot.cursor().is_none()
            && let Some(end) = self.feed.streams.find_end(&slot.project).await?
        {
            slot.restart_from(end);
        }
        Ok(())
    }

    /// A removal that the hub heard of before it heard of this subscription ended it for nobody.
    async fn check_collection(&self, principal: &Principal, slot: &Slot) -> Result<(), ApiError> {
        let found = self.feed.streams.open(principal, slot.collection.as_str()).await;
        if slot.state() == SlotState::Removed || matches!(found, Err(ServiceError::UnknownCollection)) {
            return Err(unknown_collection());
        }
        Ok(())
    }

    fn new_subscription(
        &self,
        principal: &Principal,
        collection: &Collection,
        wanted: Wanted,
    ) -> Rc<Subscription> {
        let place = (principal.project.clone(), collection.id.clone());
        let head = wanted.id.as_deref().map(NamedHead::new);
        let form = if wanted.id.is_some() { Form::Named } else { self.form };
        let asked_name = form.label(collection, &wanted.collection).into();
        let slot = Slot::new(place, Arc::new(wanted.filter), form, asked_name, self.outbox.clone(), head);
        Rc::new(Subscription::new(Rc::new(slot), wanted.id, wanted.snapshot))
    }

    fn put(&mut self, old: Option<usize>, subscription: Rc<Subscription>) {
        match old {
            Some(place) => self.all[place] = subscription,
            None => self.all.push(subscription),
        }
    }

    async fn remove_at(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            let subscription = self.all.swap_remove(place);
            self.shard.end(&subscription.slot).await;
        }
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
        for subscription in &self.all {
            let slot = &subscription.slot;
            if slot.state() == SlotState::CatchingUp && slot.begin_catching_up() {
                let (feed, shard, subscription) =
                    (self.feed.clone(), self.shard.clone(), subscription.clone());
                let future = async move {
                    let end = catch_up(&feed, &shard, &subscription).await;
                    (subscription, end)
                };
                self.catching_up.push(future.boxed_local());
            }
        }
    }

    fn end(&mut self, place: usize, error: ApiError) -> Ended {
        let subscription = self.all.swap_remove(place);
        self.shard.end_detached(&subscription.slot);
        Ended::One(subscription, error)
    }
}

fn unknown_collection() -> ApiError {
    ApiError::new(ErrorCode::InvalidCollection, UNKNOWN_COLLECTION)
}

fn too_many_filters() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "this collection has too many different filters without an equality")
}
