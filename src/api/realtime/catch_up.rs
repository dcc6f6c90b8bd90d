//! How a subscription is brought up to date: `CatchingUp ⇄ Live`.
//!
//! Resume, overflow and seam are the same: read the log after the position at the peer's pace, then ask the hub to go
//! live from there; where the hub's ring of recent changes reaches, that is all.

use std::{rc::Rc, time::Duration};

use super::Feed;
use crate::{
    domain::{Change, Control, Entry},
    hub::{Event, Shard, Slot, SlotState, event_for},
    query::cursor::{Cursor, Epoch},
    service::Resume,
    store::changes::LogPage,
};

/// How long to wait before the log is read again, when it couldn't be.
const RETRY: Duration = Duration::from_millis(100);
/// The same when it had nothing new: the hub hears of this node's commits at once, and of others' at the next poll.
const HUB_DELAY: Duration = Duration::from_millis(20);

/// How catching up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaughtUp {
    /// The hub sends every event now.
    Live,
    /// The log doesn't reach back to its position: here is its end.
    Expired(Cursor),
    /// Its collection is gone.
    Removed,
    /// The hub has too many filters of its kind.
    Refused,
    /// The subscription or the connection is ending.
    Ended,
}

/// What became of one change on its way to the peer.
enum Passed {
    Taken,
    Removed,
    Ended,
}

/// Brings a subscription up to date. Can be dropped at any await.
pub async fn catch_up(feed: &Feed, shard: &Shard, slot: &Rc<Slot>) -> CaughtUp {
    let mut is_checked = false;
    loop {
        slot.outbox().room().await;
        if slot.is_over() {
            return CaughtUp::Ended;
        }
        match shard.join(slot).await {
            SlotState::Live => return CaughtUp::Live,
            SlotState::Removed => return CaughtUp::Removed,
            SlotState::Refused => return CaughtUp::Refused,
            SlotState::Ended => return CaughtUp::Ended,
            SlotState::CatchingUp | SlotState::Joining => {}
        }
        let Some(cursor) = slot.cursor() else {
            // Only if the log's end couldn't be read when it began.
            tokio::time::sleep(RETRY).await;
            continue;
        };
        if !is_checked {
            // The log may not be the one that the position was in: it was put back, or lost its last commits.
            match feed.streams.resume(&slot.project, cursor).await {
                Ok(Resume::From(_)) => is_checked = true,
                Ok(Resume::Expired(head)) => return expired(feed, slot, head).await,
                Err(err) => {
                    tracing::debug!("a stream waits for the database: {err}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        let page = match feed.streams.read_log(&slot.project, &slot.collection, cursor.position).await {
            Ok(Some(page)) => page,
            Ok(None) => return CaughtUp::Expired(cursor),
            Err(err) => {
                // Nothing is lost: it goes on when the database does. The relay has said so in the log.
                tracing::debug!("a stream waits for the database: {err}");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if page.head.epoch != cursor.epoch || page.head.floor.sequence > cursor.position.sequence {
            let head = Cursor { epoch: page.head.epoch, position: page.head.head };
            return expired(feed, slot, head).await;
        }
        match send_page(feed, slot, &page, cursor.epoch).await {
            Passed::Taken => {}
            Passed::Removed => return CaughtUp::Removed,
            Passed::Ended => return CaughtUp::Ended,
        }
        if page.is_last {
            slot.pass(page.head.head);
            if page.entries.is_empty() {
                // The log has nothing that the hub lacks; the hub has not heard of it yet.
                tokio::time::sleep(HUB_DELAY).await;
            }
        }
    }
}

/// The log doesn't reach back to the position. It may have said that the collection is gone.
async fn expired(feed: &Feed, slot: &Slot, head: Cursor) -> CaughtUp {
    loop {
        match feed.streams.has_collection(&slot.collection).await {
            Ok(true) => return CaughtUp::Expired(head),
            Ok(false) => return CaughtUp::Removed,
            Err(err) => {
                tracing::debug!("a stream waits for the database: {err}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn send_page(feed: &Feed, slot: &Rc<Slot>, page: &LogPage, epoch: Epoch) -> Passed {
    for change in &page.entries {
        if slot.is_over() {
            return Passed::Ended;
        }
        match send_change(feed, slot, change, epoch).await {
            Passed::Taken => {}
            end => return end,
        }
    }
    slot.outbox().wake_body();
    Passed::Taken
}

async fn send_change(feed: &Feed, slot: &Rc<Slot>, change: &Change, epoch: Epoch) -> Passed {
    let (before, after) = match &change.entry {
        Entry::Document { before, after, .. } => (before, after),
        Entry::Control(Control::CollectionRemoved { collection })
            if *collection == *slot.collection.as_str() =>
        {
            return Passed::Removed;
        }
        Entry::Control(_) => (&None, &None),
    };
    let event = event_for(before.as_ref(), after.as_ref(), |document| slot.filter.matches(document));
    let Some((kind, document)) = event else {
        slot.pass(change.position);
        return Passed::Taken;
    };
    let event = Event {
        project: &slot.project,
        epoch,
        position: change.position,
        kind,
        document,
        collection: &slot.asked_name,
    };
    let frame = feed.encode.encode(&event, slot.form);
    while !slot.offer(change.position, frame.clone()) {
        slot.outbox().wake_body();
        slot.outbox().room_for(frame.len()).await;
        if slot.is_over() {
            return Passed::Ended;
        }
    }
    Passed::Taken
}
