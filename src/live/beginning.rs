//! How a subscription begins: from the end of the log, from a cursor, with a snapshot, or in the place of another one.

use std::{rc::Rc, sync::Arc};

use crate::{
    auth::{Principal, permission},
    domain::{Collection, CollectionId, cursor::Cursor},
    hub::{Asked, Audience, CloseReason, Delivery, DeliveryState, Owner},
    live::{
        error::LiveError,
        reads::AsOf,
        resume::{Lost, Resume},
        rights::{Narrowed, narrow},
        subscription::Subscription,
        subscriptions::{NewSubscription, Subscriptions},
    },
    wire::{Form, NamedHead},
};

/// The bytes that the filters and ids of a connection may take for each subscription that it may have. Equal filters of one
/// connection count each.
const EXTRA_BYTES: usize = 20 * 1024;

/// The collection of a new subscription.
pub(super) enum Target<'a> {
    /// With the filter of the wanted documents that the principal may read.
    Existing(&'a Collection, Narrowed),
    /// It doesn't exist. Its name takes the place of its id, which no id is equal to.
    Awaited,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At the end of the log.
    Now,
    /// After the client's cursor. The log has every change after it.
    After(Cursor),
    /// The log lacks changes after the client's cursor, and the client is told so.
    Lost(Lost),
}

impl Subscriptions {
    /// Adds a subscription whose client is sent events and no cursors: a plain one, or one of the client libraries' watcher.
    pub(super) async fn add_plain(
        &mut self,
        principal: &Principal,
        collection: &Collection,
        new: NewSubscription,
        old: Option<usize>,
    ) -> Result<(), LiveError> {
        let since = new.since.as_deref().and_then(|since| Cursor::decode(since, &principal.project).ok());
        // "Now" is where the log ends, and not how far this node's hub has heard. On several nodes, a change that was
        // acknowledged before must not come as an event.
        let (mut begin, mut control, mut checked) = (None, None, 0);
        if old.is_none() {
            begin = match since {
                Some(since) => Some(since),
                None => {
                    let end = self.streams.find_end(&principal.project).await?;
                    control = end.map(|end| end.control);
                    checked = end.map_or(0, |end| end.cursor.position.sequence);
                    end.map(|end| end.cursor)
                }
            };
        }
        // One that takes another's place begins where the hub is, which has heard of as much as this process.
        let as_of = match (old, control) {
            (Some(_), _) => AsOf::Heard,
            (None, Some(control)) => AsOf::Control(control),
            (None, None) => AsOf::Now,
        };
        let target = self.target(principal, collection, (&new, as_of)).await?;
        if let Target::Existing(_, narrowed) = &target {
            checked = narrowed.control.max(checked);
        }
        let subscription = self.new_subscription(principal, target, new, (old, checked))?;
        let delivery = &subscription.delivery;
        if let Some(begin) = begin {
            delivery.restart_from(begin);
        }
        self.check_owner(principal, control).await?;
        let state = match old {
            None => self.shard.join(delivery).await,
            Some(index) => self.replace(delivery, &self.all[index].delivery).await,
        };
        if old.is_some() && state == DeliveryState::CatchingUp {
            // It goes on from the position of the old one, which may have read of rules that this node has not heard of.
            delivery.doubt();
        }
        if state == DeliveryState::Refused {
            // The old subscription goes on.
            return Err(LiveError::TooManyFilters);
        }
        self.put(old, subscription.clone());
        if let Err(error) = self.settle(principal, delivery).await {
            self.all.retain(|other| !other.is(&subscription));
            self.shard.end(delivery);
            return Err(error);
        }
        Ok(())
    }

    /// Adds a named subscription, or the one of an SSE stream. Its client is sent cursors, and can resume from them.
    pub(super) async fn add_resumable(
        &mut self,
        principal: &Principal,
        collection: &Collection,
        new: NewSubscription,
        old: Option<usize>,
    ) -> Result<(), LiveError> {
        let begin = self.find_begin(principal, new.since.as_deref()).await?;
        let end = self.streams.find_end(&principal.project).await?.ok_or(LiveError::UnknownCollection)?;
        let control = end.control;
        self.check_owner(principal, Some(control)).await?;
        let end = end.cursor;
        let target = self.target(principal, collection, (&new, AsOf::Control(control))).await?;
        let checked = end.position.sequence;
        let subscription = self.new_subscription(principal, target, new, (old, checked))?;
        let delivery = &subscription.delivery;
        self.check_collection(principal, delivery).await?;
        let old = match old {
            None => None,
            Some(index) => {
                let old = self.all[index].clone();
                self.shard.end(&old.delivery);
                self.all.retain(|other| !other.is(&old));
                old.delivery.cursor()
            }
        };
        match begin {
            Begin::After(cursor) => delivery.restart_from(cursor),
            Begin::Now if subscription.delivery.wants_snapshot => subscription.begin_snapshot(),
            // Events that the old subscription has sent are not sent again.
            Begin::Now => delivery.restart_from(
                old.filter(|old| old.epoch == end.epoch && old.position.sequence > end.position.sequence)
                    .unwrap_or(end),
            ),
            Begin::Lost(lost) => {
                if subscription.delivery.wants_snapshot && subscription.delivery.head().is_some() {
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
        // Here an error can still become the status of an SSE request, because the answer has not begun.
        if self.form.carries_one_subscription()
            && begin == Begin::Now
            && !subscription.delivery.wants_snapshot
            && self.shard.join(delivery).await == DeliveryState::Refused
        {
            return Err(LiveError::TooManyFilters);
        }
        self.all.push(subscription);
        Ok(())
    }

    pub(super) async fn find_begin(
        &self,
        principal: &Principal,
        since: Option<&str>,
    ) -> Result<Begin, LiveError> {
        let Some(since) = since else { return Ok(Begin::Now) };
        let cursor = match Cursor::decode(since, &principal.project) {
            Ok(cursor) => cursor,
            Err(err) => return Ok(Begin::Lost(Lost::Invalid(err))),
        };
        Ok(match self.streams.resume(&principal.project, cursor).await? {
            Resume::From(position) => Begin::After(Cursor { epoch: cursor.epoch, position }),
            Resume::Expired(_, gone) => {
                if gone.is_rewound() {
                    self.streams.hub_knows_log_end().await;
                }
                Begin::Lost(Lost::Expired(gone))
            }
        })
    }

    /// Makes sure that the key is good and that the session of the user goes on, after it was found out where a subscription begins.
    /// A key or a session that ended before that would not meet its end in the log, and this node may not have heard of it. One
    /// that ends later does. `control` is the sequence of the log's last control entry then.
    pub(super) async fn check_owner(
        &self,
        principal: &Principal,
        control: Option<u64>,
    ) -> Result<(), LiveError> {
        let owner = Owner {
            project: principal.project.clone(),
            key: principal.held_key(),
            session: principal.user.as_ref().map(|user| user.session.clone()),
        };
        let Some(why) = self.streams.find_end_of(&owner, control).await? else { return Ok(()) };
        self.outbox.close(why);
        Err(match why {
            CloseReason::KeyEnded(end) => LiveError::KeyEnded(end),
            _ => LiveError::SessionEnded,
        })
    }

    /// Makes sure that the collection of a new subscription exists, and that the subscription has a position. If it isn't
    /// live yet, [`Subscriptions::serve`] brings it up to date.
    async fn settle(&self, principal: &Principal, delivery: &Delivery) -> Result<(), LiveError> {
        self.check_collection(principal, delivery).await?;
        // The hub is busy or has not heard of the project, so it gave no position. The log's end is "now".
        if delivery.cursor().is_none()
            && let Some(end) = self.streams.find_end(&delivery.project).await?
        {
            delivery.restart_from(end.cursor);
        }
        Ok(())
    }

    /// Makes sure that the collection exists. If the hub heard of its removal before it heard of this subscription, the hub
    /// has not ended the subscription.
    async fn check_collection(&self, principal: &Principal, delivery: &Delivery) -> Result<(), LiveError> {
        let found = self.streams.open(principal, delivery.collection.as_str()).await;
        if delivery.state() == DeliveryState::Removed || matches!(found, Err(LiveError::UnknownCollection)) {
            return Err(LiveError::UnknownCollection);
        }
        Ok(())
    }

    /// Finds what a new subscription to a collection gets. The end of the log must have been read before that: a change of rights
    /// after it is told by the log.
    async fn target<'a>(
        &self,
        principal: &Principal,
        collection: &'a Collection,
        (new, as_of): (&NewSubscription, AsOf),
    ) -> Result<Target<'a>, LiveError> {
        let wanted = permission::meant(collection, new.filter.clone());
        let narrowed = narrow(&self.streams, principal, collection, (wanted, as_of)).await??;
        Ok(Target::Existing(collection, narrowed))
    }

    pub(super) fn new_subscription(
        &self,
        principal: &Principal,
        target: Target<'_>,
        new: NewSubscription,
        (old, checked): (Option<usize>, u64),
    ) -> Result<Subscription, LiveError> {
        let head = new.id.as_deref().map(NamedHead::new);
        let form = if new.id.is_some() { Form::Named } else { self.form };
        let (collection, label, Narrowed { filter, mask, asked, .. }) = match target {
            Target::Existing(collection, narrowed) => {
                (collection.id.clone(), form.label(collection, &new.collection), narrowed)
            }
            // Its rule is asked when it exists.
            Target::Awaited => {
                let params = principal.params.clone();
                let asked = (!params.is_empty()).then(|| Asked {
                    wanted: Arc::new(new.filter.clone()),
                    params,
                    watched: Vec::new(),
                    mask_bytes: 0,
                });
                let narrowed = Narrowed { filter: new.filter, mask: None, asked, control: 0 };
                (CollectionId::from_stored(&new.collection), new.collection, narrowed)
            }
        };
        let audience = Audience {
            project: principal.project.clone(),
            collection,
            form,
            label: label.into(),
            key: principal.key.clone(),
            mask,
        };
        let interest = self.streams.interests().get(audience, filter)?;
        let delivery = Delivery::new(interest, self.outbox.clone(), head, new.snapshot)?;
        delivery.bind(asked, checked)?;
        let extra = delivery.extra_bytes();
        let limit = self.streams.max_subscriptions() * EXTRA_BYTES;
        let others = self.all.iter().enumerate().filter(|(index, _)| Some(*index) != old);
        let others = others.map(|(_, other)| other).chain(self.waiting.all());
        // Most have none, and there may be thousands of others.
        if extra > 0 && others.map(|other| other.delivery.extra_bytes()).sum::<usize>() + extra > limit {
            return Err(LiveError::TooManyBytesOfConnection { limit });
        }
        Ok(Subscription::new(delivery))
    }

    fn put(&mut self, old: Option<usize>, subscription: Subscription) {
        match old {
            Some(index) => self.all[index] = subscription,
            None => self.all.push(subscription),
        }
    }

    /// Lets a new delivery take the place of an old one, with no change between them.
    async fn replace(&self, new: &Rc<Delivery>, old: &Rc<Delivery>) -> DeliveryState {
        if old.state() == DeliveryState::Live {
            let state = self.shard.replace(new, old).await;
            if state == DeliveryState::Refused {
                return state;
            }
            if old.state() != DeliveryState::CatchingUp {
                self.shard.end(old);
                return state;
            }
            // The queue overflowed in between, so the new delivery reads the changes that the old one missed.
            self.shard.fall_back(new);
            if new.has_sent() {
                // But the new one has already sent later events, and the missed ones would come out of order.
                self.outbox.close(CloseReason::Behind);
            }
        }
        if let Some(cursor) = old.cursor() {
            new.restart_from(cursor);
        }
        self.shard.end(old);
        DeliveryState::CatchingUp
    }
}
