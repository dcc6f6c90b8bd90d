//! The subscriptions of one connection: added, replaced, removed, and kept up to date.

use std::rc::Rc;

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};

use crate::{
    auth::{Principal, TicketCollection},
    domain::cursor::Cursor,
    hub::{Audience, Delivery, DeliveryState, Outbox, Shard},
    live::{
        catch_up::catch_up,
        error::LiveError,
        log_reading::CaughtUp,
        reads::Streams,
        resume::Lost,
        rights::{Narrowed, Rebound},
        subscription::Subscription,
        waiting::Waiting,
    },
    query::{Filter, rule::Params},
    wire::{Form, NamedHead},
};

/// A client's request for a subscription.
pub struct NewSubscription {
    /// The collection, by its name or id.
    pub collection: String,
    /// The filter of its documents.
    pub filter: Filter,
    /// The client's name for the subscription, if it has one.
    pub id: Option<String>,
    /// The cursor to resume from, if there is one.
    pub since: Option<String>,
    /// Whether the matching documents are sent first, where there is nothing to resume from.
    pub snapshot: bool,
    /// The parameters for the rules of the collection; `None` takes those of the principal.
    pub params: Option<Params>,
}

/// How a subscription has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its client has been told, where the form has a message for it.
    Told,
    /// Its collection doesn't exist, and it waits for the first write. Its client is to be told so, with this cursor.
    Waits { cursor: String },
}

/// The subscriptions of one connection. When this is dropped, all of them end.
pub struct Subscriptions {
    pub(super) streams: Streams,
    pub(super) shard: Rc<Shard>,
    pub(super) outbox: Rc<Outbox>,
    pub(super) form: Form,
    pub(super) all: Vec<Subscription>,
    /// Those whose collection doesn't exist yet.
    pub(super) waiting: Waiting,
    /// Whoever asked for the last one. All have the rights of the same key and user.
    pub(super) asker: Option<Rc<Principal>>,
    pub(super) catching_up: FuturesUnordered<LocalBoxFuture<'static, (Subscription, CaughtUp)>>,
}

/// Why [`Subscriptions::serve`] returned.
pub enum Ended {
    /// A subscription has ended, and its client is to be told why.
    One(Subscription, LiveError),
    /// A subscription without cursors missed changes that can't be sent any more. Closing the connection is the only way to
    /// tell its client.
    Behind,
    /// The connection is ending, and all its subscriptions with it.
    All,
}

impl Subscriptions {
    /// Makes an empty set for a connection.
    pub fn new(streams: Streams, shard: Rc<Shard>, outbox: Rc<Outbox>, form: Form) -> Self {
        let waiting = Waiting::default();
        let (all, catching_up) = (Vec::new(), FuturesUnordered::new());
        Self { streams, shard, outbox, form, all, waiting, asker: None, catching_up }
    }

    /// Begins a subscription. It replaces the one with the same `id`, or, without an `id`, the one of the same collection. If
    /// it fails, the old one goes on. If its collection doesn't exist and a write may create it, the subscription waits.
    ///
    /// # Errors
    /// Why it can't be served; nothing has changed then.
    pub async fn add(&mut self, principal: &Principal, new: NewSubscription) -> Result<Begun, LiveError> {
        self.asker = Some(Rc::new(principal.clone()));
        let with_params = new.params.clone().map(|params| principal.with_params(params));
        let principal = with_params.as_deref().unwrap_or(principal);
        let collection = match self.streams.open(principal, &new.collection).await {
            Err(LiveError::UnknownCollection) if Waiting::may_begin(principal, &new.collection) => {
                // A write after this end is an event for a collection that is looked for later.
                let end = self.streams.find_end(&principal.project).await?;
                match (self.streams.open(principal, &new.collection).await, end) {
                    (Err(LiveError::UnknownCollection), Some(end)) => {
                        return self.add_waiting(principal, new, end).await;
                    }
                    (found, _) => found?,
                }
            }
            found => found?,
        };
        let head = new.id.as_deref().map(NamedHead::new);
        let old = self.all.iter().position(|other| match &new.id {
            Some(_) => other.delivery.head() == head.as_ref(),
            None => other.delivery.head().is_none() && other.delivery.collection == collection.id,
        });
        let waited = self.waiting.find(head.as_ref(), &new.collection);
        if old.is_none() && waited.is_none() {
            self.check_count()?;
        }
        match new.id {
            None if !self.form.says_position() => self.add_plain(principal, &collection, new, old).await?,
            _ => self.add_resumable(principal, &collection, new, old).await?,
        }
        self.waiting.remove(waited);
        Ok(Begun::Told)
    }

    pub(super) fn check_count(&self) -> Result<(), LiveError> {
        let limit = self.streams.max_subscriptions();
        match self.all.len() + self.waiting.all().len() >= limit {
            true => Err(LiveError::TooManySubscriptions { limit }),
            false => Ok(()),
        }
    }

    /// Ends a named subscription. It is no error if there is none.
    pub fn remove_named(&mut self, id: &str) {
        let head = NamedHead::new(id);
        let index = self.all.iter().position(|other| other.delivery.head() == Some(&head));
        self.remove_at(index);
        self.waiting.remove(self.waiting.find(Some(&head), ""));
    }

    /// Ends the subscription without `id` of a collection. It is no error if there is none.
    ///
    /// # Errors
    /// [`LiveError::UnknownCollection`], and why the collection could not be looked up.
    pub async fn remove(&mut self, principal: &Principal, asked_name: &str) -> Result<(), LiveError> {
        if let Some(waited) = self.waiting.find(None, asked_name) {
            self.waiting.remove(Some(waited));
            return Ok(());
        }
        let find = |matches: &dyn Fn(&Delivery) -> bool| {
            self.all.iter().position(|other| other.delivery.head().is_none() && matches(&other.delivery))
        };
        let index = match find(&|delivery| *delivery.label == *asked_name) {
            Some(index) => Some(index),
            None => {
                let collection = self.streams.open(principal, asked_name).await?;
                find(&|delivery| delivery.collection == collection.id)
            }
        };
        self.remove_at(index);
        Ok(())
    }

    /// Ends all of them, also those that wait, and returns them.
    pub fn end_all(&mut self) -> Vec<Subscription> {
        let mut all = std::mem::take(&mut self.all);
        all.iter().for_each(|subscription| self.shard.end(&subscription.delivery));
        all.append(&mut self.waiting.take_all());
        all
    }

    /// Ends those of other collections, and returns them.
    pub fn end_others(&mut self, only: &TicketCollection) -> Vec<Subscription> {
        let is_other = |subscription: &mut Subscription| match only {
            TicketCollection::Existing(id) => subscription.delivery.collection != *id,
            TicketCollection::Awaited(name) => *subscription.delivery.label != *name.as_str(),
        };
        let mut others: Vec<_> = self.all.extract_if(.., is_other).collect();
        others.iter().for_each(|subscription| self.shard.end(&subscription.delivery));
        others.append(&mut self.waiting.take_others(only));
        others
    }

    /// Moves each position past changes that were no events for it, and tells the clients of named subscriptions. Where the
    /// connection carries one subscription, returns its cursor.
    pub fn beat(&self) -> Option<String> {
        for subscription in &self.all {
            self.shard.pass_mark(&subscription.delivery);
            subscription.say_progress();
        }
        self.waiting.all().iter().for_each(Subscription::say_progress);
        let only = self
            .all
            .first()
            .or(self.waiting.all().first())
            .filter(|_| self.form.carries_one_subscription())?;
        Some(only.delivery.shown_cursor()?.encode(&only.delivery.project))
    }

    /// Brings those that fell behind up to date, until one of them has ended. Must be called again after each change of the
    /// outbox. Can be dropped at any await; the next call goes on where this one was.
    pub async fn serve(&mut self) -> Ended {
        loop {
            // An ending connection takes no frames, so catching up would spin without ever waiting.
            if self.outbox.is_ending() {
                return Ended::All;
            }
            let is_removed = |other: &Subscription| other.delivery.state() == DeliveryState::Removed;
            if let Some(index) = self.all.iter().position(is_removed) {
                return self.end(index, LiveError::Removed);
            }
            self.begin_catching_up();
            let (subscription, caught_up) = tokio::select! {
                Some(next) = self.catching_up.next() => next,
                found = self.waiting.look(&self.streams, &self.shard), if !self.waiting.all().is_empty() => {
                    match self.begin_found(found).await {
                        None => continue,
                        Some(ended) => return ended,
                    }
                }
                else => return std::future::pending().await,
            };
            subscription.delivery.end_catching_up();
            let Some(index) = self.all.iter().position(|other| other.is(&subscription)) else {
                // It was removed or replaced meanwhile.
                continue;
            };
            match caught_up {
                CaughtUp::Live | CaughtUp::Ended => {}
                CaughtUp::Removed => return self.end(index, LiveError::Removed),
                CaughtUp::Refused => return self.end(index, LiveError::TooManyFilters),
                CaughtUp::Rebound(Rebound::Same) => {}
                CaughtUp::Rebound(Rebound::Ended(error)) => return self.end(index, error),
                CaughtUp::Rebound(Rebound::Other(narrowed, checked)) => {
                    if let Err(error) = self.rebind(index, *narrowed, checked) {
                        return self.end(index, error);
                    }
                }
                CaughtUp::Expired(_) | CaughtUp::Unreadable(_) if !subscription.is_resumable() => {
                    return Ended::Behind;
                }
                CaughtUp::Expired(end) | CaughtUp::Unreadable(end) => {
                    let lost = match caught_up {
                        CaughtUp::Unreadable(_) => Lost::Unreadable,
                        _ => Lost::Behind,
                    };
                    // What is missing may have told of other rights.
                    subscription.delivery.distrust();
                    if !self.begin_anew(&subscription, lost, end) {
                        self.all.swap_remove(index);
                        self.shard.end(&subscription.delivery);
                    }
                }
            }
        }
    }

    /// Tells the client that its view can't be brought up to date, and begins from the log's end or with a snapshot. Returns
    /// false if the subscription ends with that.
    pub(super) fn begin_anew(&self, subscription: &Subscription, lost: Lost, end: Cursor) -> bool {
        subscription.say_resync(lost, end);
        if subscription.delivery.wants_snapshot {
            subscription.begin_snapshot();
            return true;
        }
        subscription.delivery.restart_from(end);
        // An EventSource would come back at once. A client with named subscriptions decides by itself what it needs.
        self.form.carries_one_subscription()
    }

    /// Lets a subscription go on with another filter, because its principal's rights have changed. A client that keeps a view is told
    /// to begin anew, and one that takes events only gets those of the new filter from here on.
    fn rebind(&mut self, index: usize, narrowed: Narrowed, checked: u64) -> Result<(), LiveError> {
        let old = self.all[index].clone();
        let delivery = &old.delivery;
        let audience = Audience {
            project: delivery.project.clone(),
            collection: delivery.collection.clone(),
            form: delivery.form,
            label: delivery.label.clone(),
            key: delivery.key.clone(),
            mask: narrowed.mask,
        };
        let interest = self.streams.interests().get(audience, narrowed.filter)?;
        let head = old.id().as_deref().map(NamedHead::new);
        let new = Delivery::new(interest, self.outbox.clone(), head, delivery.wants_snapshot)?;
        new.bind(narrowed.asked, checked)?;
        let cursor = delivery.cursor();
        if let Some(cursor) = cursor {
            new.restart_from(cursor);
        }
        self.shard.end(delivery);
        let new = Subscription::new(new);
        self.all[index] = new.clone();
        if delivery.is_in_snapshot() {
            new.begin_snapshot();
        }
        let keeps_view = new.delivery.wants_snapshot || new.delivery.head().is_some();
        if let Some(cursor) = cursor.filter(|_| keeps_view)
            && !self.begin_anew(&new, Lost::Rights, cursor)
        {
            self.all.swap_remove(index);
            self.shard.end(&new.delivery);
        }
        Ok(())
    }

    fn remove_at(&mut self, index: Option<usize>) {
        if let Some(index) = index {
            let subscription = self.all.swap_remove(index);
            self.shard.end(&subscription.delivery);
        }
    }

    fn begin_catching_up(&self) {
        let Some(principal) = &self.asker else { return };
        for subscription in &self.all {
            let delivery = &subscription.delivery;
            if delivery.state() == DeliveryState::CatchingUp && delivery.begin_catching_up() {
                let (streams, shard) = (self.streams.clone(), self.shard.clone());
                let (subscription, principal) = (subscription.clone(), principal.clone());
                let future = async move {
                    let end = catch_up((&streams, &principal), &shard, &subscription).await;
                    (subscription, end)
                };
                self.catching_up.push(future.boxed_local());
            }
        }
    }

    fn end(&mut self, index: usize, error: LiveError) -> Ended {
        let subscription = self.all.swap_remove(index);
        self.shard.end(&subscription.delivery);
        Ended::One(subscription, error)
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.end_all();
    }
}
