//! The subscriptions of one connection that wait for their collections, and when to look for these.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{log_reading::account_of, reads::Streams, subscription::Subscription};
use crate::{
    auth::{Principal, TicketCollection},
    domain::{Change, Collection, CollectionName, Control, Entry, cursor::Cursor},
    hub::{Delivery, Shard},
    store::StoreError,
    wire::NamedHead,
};

/// How long a connection does not look for its collections after it has looked: others may create many.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it looks although nothing has changed. Each time its positions move on, so that the log need not be read from far
/// back, where it may be pruned by the time a collection exists.
const INTERVAL: Duration = Duration::from_secs(5);

/// The subscriptions of one connection whose collections don't exist.
#[derive(Default)]
pub(super) struct Waiting {
    /// The collection of each delivery is the awaited name.
    all: Vec<Subscription>,
    lookout: Option<Lookout>,
}

/// When to look for collections.
struct Lookout {
    changes: watch::Receiver<()>,
    /// Something has changed, and nobody has looked since.
    is_due: bool,
    looked_at: Instant,
}

/// A collection that was waited for.
pub(super) struct Found {
    pub(super) waited: Subscription,
    pub(super) collection: Arc<Collection>,
    /// Whether it existed already, under another name, where the subscription would begin.
    pub(super) is_renamed: bool,
}

impl Waiting {
    /// Whether a principal may wait for a collection that doesn't exist: a write can create it, and the principal's ticket, if it
    /// has one, is not for another collection.
    pub(super) fn may_begin(principal: &Principal, asked_name: &str) -> bool {
        match (&principal.collection, CollectionName::parse(asked_name)) {
            (None, Ok(_)) => true,
            (Some(TicketCollection::Awaited(only)), Ok(asked)) => *only == asked,
            _ => false,
        }
    }

    pub(super) fn all(&self) -> &[Subscription] {
        &self.all
    }

    /// Finds the subscription with this `id`, or without an `id` the one to this collection.
    pub(super) fn find(&self, head: Option<&NamedHead>, asked_name: &str) -> Option<Subscription> {
        let is_it = |waited: &&Subscription| {
            waited.delivery.head() == head && (head.is_some() || *waited.delivery.label == *asked_name)
        };
        self.all.iter().find(is_it).cloned()
    }

    pub(super) fn remove(&mut self, waited: Option<Subscription>) {
        self.all.retain(|other| !waited.as_ref().is_some_and(|waited| waited.is(other)));
    }

    pub(super) fn take_all(&mut self) -> Vec<Subscription> {
        std::mem::take(&mut self.all)
    }

    /// Takes the subscriptions that wait for other collections.
    pub(super) fn take_others(&mut self, only: &TicketCollection) -> Vec<Subscription> {
        let is_other = |waited: &mut Subscription| match only {
            TicketCollection::Existing(_) => true,
            TicketCollection::Awaited(name) => *waited.delivery.label != *name.as_str(),
        };
        self.all.extract_if(.., is_other).collect()
    }

    pub(super) fn add(&mut self, streams: &Streams, waited: Subscription) {
        self.all.push(waited);
        let lookout = self.lookout.get_or_insert_with(|| Lookout {
            changes: streams.reader().collection_changes(),
            is_due: true,
            looked_at: Instant::now(),
        });
        // The collection may have been created before the receiver was made.
        lookout.is_due = true;
    }

    /// Makes the next look come soon, although nothing has changed.
    pub(super) fn look_again(&mut self) {
        if let Some(lookout) = &mut self.lookout {
            lookout.is_due = true;
        }
    }

    /// Waits until collections exist that were waited for, and returns them. Can be dropped at any await, and the next call goes
    /// on where this one was.
    pub(super) async fn look(&mut self, streams: &Streams, shard: &Shard) -> Vec<Found> {
        let Some(lookout) = &mut self.lookout else { return std::future::pending().await };
        loop {
            if !lookout.is_due {
                // The sender lives as long as the server. Should it be gone, the timer is enough.
                let change = async {
                    if lookout.changes.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = change => {}
                    () = tokio::time::sleep_until(lookout.looked_at + INTERVAL) => {}
                }
                lookout.is_due = true;
            }
            tokio::time::sleep_until(lookout.looked_at + PAUSE).await;
            lookout.changes.mark_unchanged();
            let mut found = Vec::new();
            let mut has_failed = false;
            for waited in &self.all {
                let delivery = &waited.delivery;
                let mark = shard.mark(&delivery.project);
                match find(streams, waited).await {
                    Ok(Some(one)) => found.push(one),
                    Ok(None) => pass(delivery, mark),
                    Err(err) => {
                        tracing::debug!("a stream waits for the database: {err}");
                        has_failed = true;
                    }
                }
            }
            (lookout.is_due, lookout.looked_at) = (has_failed, Instant::now());
            if !found.is_empty() {
                return found;
            }
        }
    }
}

/// Moves a position forward to `mark`, which was read before the collection was looked for and not found: the log has nothing
/// for this subscription up to there.
fn pass(delivery: &Delivery, mark: Option<Cursor>) {
    if let Some(mark) = mark
        && delivery.cursor().is_some_and(|cursor| cursor.epoch == mark.epoch)
    {
        delivery.pass(mark.position);
    }
}

/// Finds the collection of a subscription that waits, and whether it is older than the position from which the subscription
/// reads on.
async fn find(streams: &Streams, waited: &Subscription) -> Result<Option<Found>, StoreError> {
    let delivery = &waited.delivery;
    let found = streams.reader().find_known_collection(&delivery.project, &delivery.label).await?;
    let (Some(collection), Some(position)) = (found, delivery.position()) else { return Ok(None) };
    let is_renamed = if collection.created_at == position.at {
        // Within one millisecond, the log tells. It has few control entries, so that one page is enough.
        let page = streams.read_log(&account_of(delivery), &collection.id, position).await?;
        let is_creation = |change: &Arc<Change>| match &change.entry {
            Entry::Control(Control::CollectionCreated { collection: id, .. }) => {
                *id == *collection.id.as_str() && delivery.is_before(change.position)
            }
            _ => false,
        };
        !page.is_some_and(|page| page.entries.iter().any(is_creation))
    } else {
        collection.created_at < position.at
    };
    Ok(Some(Found { waited: waited.clone(), collection, is_renamed }))
}
