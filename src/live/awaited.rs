//! Subscriptions to collections that don't exist yet: how they begin to wait, and how they begin when the collection exists.
//!
//! An app that is opened for the first time subscribes before anything is written. Its subscription waits, and has a position
//! in the log from the start. When the collection is created, the subscription reads on from there, as any other does that
//! resumes, and so gets every document from the first write on.

use super::{
    beginning::{Begin, Target},
    error::LiveError,
    reads::{AsOf, LogEnd},
    resume::Lost,
    rights::{Narrowed, narrow},
    subscription::Subscription,
    subscriptions::{Begun, Ended, NewSubscription, Subscriptions},
    waiting::Found,
};
use crate::{
    auth::{Principal, permission},
    domain::{Collection, cursor::Cursor},
    hub::{Audience, Delivery},
    wire::NamedHead,
};

impl Subscriptions {
    /// Adds a subscription to a collection that did not exist when the log ended at `end` or later.
    pub(super) async fn add_waiting(
        &mut self,
        principal: &Principal,
        new: NewSubscription,
        end: LogEnd,
    ) -> Result<Begun, LiveError> {
        let begin = self.find_begin(principal, new.since.as_deref()).await?;
        self.check_owner(principal, Some(end.control)).await?;
        let end = end.cursor;
        let head = new.id.as_deref().map(NamedHead::new);
        let waited = self.waiting.find(head.as_ref(), &new.collection);
        let is_same = |other: &Subscription| head.is_some() && other.delivery.head() == head.as_ref();
        let old = self.all.iter().position(is_same);
        if old.is_none() && waited.is_none() {
            self.check_count()?;
        }
        let subscription = self.new_subscription(principal, Target::Awaited, new, (old, 0))?;
        self.waiting.remove(waited);
        if let Some(index) = old {
            let old = self.all.swap_remove(index);
            self.shard.end(&old.delivery);
        }
        let delivery = &subscription.delivery;
        delivery.restart_from(match begin {
            Begin::After(cursor) if !delivery.wants_snapshot => cursor,
            _ => end,
        });
        let begun = self.say_waiting(&subscription, begin, end);
        if let Some(begun) = begun {
            self.waiting.add(&self.streams, subscription);
            return Ok(begun);
        }
        Ok(Begun::Told)
    }

    /// Tells the client that its subscription waits. Returns what is left to say; `None` if the subscription has ended.
    fn say_waiting(&self, subscription: &Subscription, begin: Begin, end: Cursor) -> Option<Begun> {
        let delivery = &subscription.delivery;
        if !delivery.form.says_position() {
            return Some(Begun::Waits { cursor: end.encode(&delivery.project) });
        }
        let lost = match begin {
            Begin::Now => None,
            // It may hold documents of a collection that was removed since.
            Begin::After(_) => delivery.wants_snapshot.then_some(Lost::NoCollection),
            Begin::Lost(lost) => Some(lost),
        };
        if delivery.wants_snapshot {
            subscription.begin_snapshot();
            subscription.say_waiting();
            if let Some(lost) = lost {
                subscription.say_resync(lost, end);
            }
            subscription.send_empty_snapshot();
            return Some(Begun::Told);
        }
        if let Some(lost) = lost
            && !self.begin_anew(subscription, lost, end)
        {
            return None;
        }
        subscription.say_waiting();
        let cursor = delivery.cursor().unwrap_or(end).encode(&delivery.project);
        Some(if delivery.head().is_some() { Begun::Told } else { Begun::Waits { cursor } })
    }

    /// Begins the subscriptions whose collections exist now. They catch up from their positions. Returns the end of one that
    /// can't be served.
    pub(super) async fn begin_found(&mut self, all: Vec<Found>) -> Option<Ended> {
        // If this is dropped while it waits, those that have not begun are found again.
        self.waiting.look_again();
        for Found { waited, collection, is_renamed } in all {
            let begun = self.begin_one(&waited, &collection).await;
            self.waiting.remove(Some(waited.clone()));
            let begun = match begun {
                Ok(begun) => begun,
                Err(error) => {
                    return Some(Ended::One(waited, error));
                }
            };
            // A client without cursors has no view that the server would know of.
            if is_renamed
                && begun.is_resumable()
                && let Some(cursor) = waited.delivery.cursor()
                && !self.begin_anew(&begun, Lost::Renamed, cursor)
            {
                continue;
            }
            self.all.push(begun);
        }
        None
    }

    async fn begin_one(
        &self,
        waited: &Subscription,
        collection: &Collection,
    ) -> Result<Subscription, LiveError> {
        let old = &waited.delivery;
        let (mut narrowed, mut checked) =
            (Narrowed { filter: (*old.filter).clone(), mask: None, asked: None, control: 0 }, 0);
        if let Some(principal) = &self.asker {
            let params = old.asked().map(|asked| asked.params.clone()).unwrap_or_default();
            let asker = principal.with_params(params);
            self.streams.check(principal)?;
            permission::check_collection(principal, collection)?;
            let end = self.streams.find_end(&old.project).await?;
            checked = end.map_or(0, |end| end.cursor.position.sequence);
            let as_of = end.map_or(AsOf::Now, |end| AsOf::Control(end.control));
            let wanted = permission::meant(collection, narrowed.filter);
            narrowed = narrow(&self.streams, &asker, collection, (wanted, as_of)).await??;
        }
        let audience = Audience {
            project: old.project.clone(),
            collection: collection.id.clone(),
            form: old.form,
            label: old.form.label(collection, &old.label).into(),
            key: old.key.clone(),
            mask: narrowed.mask,
        };
        let interest = self.streams.interests().get(audience, narrowed.filter)?;
        let head = waited.id().as_deref().map(NamedHead::new);
        let delivery = Delivery::new(interest, self.outbox.clone(), head, old.wants_snapshot)?;
        delivery.bind(narrowed.asked, checked)?;
        if let Some(cursor) = old.cursor() {
            delivery.restart_from(cursor);
        }
        Ok(Subscription::new(delivery))
    }
}
