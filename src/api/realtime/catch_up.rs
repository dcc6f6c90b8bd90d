//! How a subscription is brought up to date: `CatchingUp ⇄ Live`.
//!
//! Resume, overflow and seam are the same: read the log after the position at the peer's pace, then ask the hub to go
//! live from there; where the hub's ring of recent changes reaches, that is all.

use std::{sync::Arc, time::Duration};

use super::{Feed, snapshot::send_snapshot, subscription::Subscription};
use crate::{
    domain::{
        Change, Control, Document, Entry,
        cursor::{Cursor, Epoch},
    },
    hub::{Shard, Slot, SlotState, event_for},
    live::reads::{Lease, Resume},
    store::log::changes::LogPage,
    wire::Event,
};

/// How long to wait before the database is read again, when it couldn't be.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// The same when it had nothing new: the hub hears of this node's commits at once, and of others' at the next poll.
const HUB_DELAY: Duration = Duration::from_millis(20);
/// How long a page is kept for a peer that has no room for it. Then it is read again when there is: memory is for those
/// that read.
pub(super) const HOLD: Duration = Duration::from_millis(250);

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

/// What became of changes on their way to the peer.
pub(super) enum Passed {
    /// They were sent, or were no events.
    Taken,
    /// The peer takes nothing now; the rest is to be read again once there is room for so many bytes.
    Stalled(usize),
    /// Catching up ends there.
    Over(CaughtUp),
}

/// Brings a subscription up to date. Can be dropped at any await.
pub async fn catch_up(feed: &Feed, shard: &Shard, subscription: &Subscription) -> CaughtUp {
    if subscription.needs_snapshot()
        && let Err(end) = send_snapshot(feed, subscription).await
    {
        return end;
    }
    let slot = &subscription.slot;
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
                Ok(Resume::Expired(end, _)) => return expired(feed, slot, end).await,
                Err(err) => {
                    tracing::debug!("a stream waits for the database: {err}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        match read_on(feed, slot, cursor, |_| true).await {
            Ok(ReadOn::More) => {}
            // The log has nothing that the hub lacks; the hub has not heard of it yet.
            Ok(ReadOn::NothingNew) => tokio::time::sleep(HUB_DELAY).await,
            Ok(ReadOn::Failed) => tokio::time::sleep(RETRY).await,
            Err(end) => return end,
        }
    }
}

/// The log doesn't reach back to the position. It may have said that the collection is gone.
async fn expired(feed: &Feed, slot: &Slot, end: Cursor) -> CaughtUp {
    loop {
        match feed.streams.has_collection(&slot.collection).await {
            Ok(true) => return CaughtUp::Expired(end),
            Ok(false) => return CaughtUp::Removed,
            Err(err) => {
                tracing::debug!("a stream waits for the database: {err}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// What one page of the log brought.
pub(super) enum ReadOn {
    /// The position moved, or there is room for what is next.
    More,
    /// The log had nothing after the position.
    NothingNew,
    /// The database can't be read now. Nothing is lost: it goes on when the database does.
    Failed,
}

/// Reads and sends the next page of the log after the slot's position, which is `cursor`; only those changes of documents
/// that are `wanted`.
pub(super) async fn read_on(
    feed: &Feed,
    slot: &Slot,
    cursor: Cursor,
    wanted: impl Fn(&Change) -> bool,
) -> Result<ReadOn, CaughtUp> {
    let turn = feed.streams.turn().await;
    let page = match feed.streams.read_log(&slot.project, &slot.collection, cursor.position).await {
        Ok(Some(page)) => page,
        Ok(None) => return Err(CaughtUp::Expired(cursor)),
        Err(err) => {
            // The relay has said so in the server's log.
            tracing::debug!("a stream waits for the database: {err}");
            return Ok(ReadOn::Failed);
        }
    };
    let reaches = page.ends.first.sequence..=page.ends.last.sequence;
    if page.ends.epoch != cursor.epoch || !reaches.contains(&cursor.position.sequence) {
        let end = page.ends.cursor();
        drop((page, turn));
        return Err(expired(feed, slot, end).await);
    }
    match send_page(feed, slot, &page, cursor, wanted).await {
        Passed::Taken => {}
        Passed::Over(end) => return Err(end),
        Passed::Stalled(length) => {
            drop((page, turn));
            slot.outbox().room_for(length).await;
            return if slot.is_over() { Err(CaughtUp::Ended) } else { Ok(ReadOn::More) };
        }
    }
    if page.is_last {
        slot.pass(page.ends.last);
        let is_news = |change: &Arc<Change>| change.position.sequence > cursor.position.sequence;
        if !page.entries.last().is_some_and(is_news) {
            return Ok(ReadOn::NothingNew);
        }
    }
    Ok(ReadOn::More)
}

async fn send_page(
    feed: &Feed,
    slot: &Slot,
    page: &LogPage,
    cursor: Cursor,
    wanted: impl Fn(&Change) -> bool,
) -> Passed {
    let mut lease = Some(feed.streams.lease().await);
    for change in &page.entries {
        if slot.is_over() {
            return Passed::Over(CaughtUp::Ended);
        }
        // A page that is shared may begin before this subscription's position.
        if !slot.is_before(change.position) {
            continue;
        }
        match send_change((feed, &mut lease), slot, change, cursor.epoch, &wanted).await {
            Passed::Taken => {}
            end => return end,
        }
    }
    slot.outbox().wake_body();
    Passed::Taken
}

async fn send_change(
    (feed, lease): (&Feed, &mut Option<Lease>),
    slot: &Slot,
    change: &Change,
    epoch: Epoch,
    wanted: impl Fn(&Change) -> bool,
) -> Passed {
    let images: (Option<&Arc<Document>>, Option<&Arc<Document>>) = match &change.entry {
        Entry::Document { before, after, .. } if wanted(change) => (before.as_ref(), after.as_ref()),
        Entry::Control(Control::CollectionRemoved { collection })
            if *collection == *slot.collection.as_str() =>
        {
            return Passed::Over(CaughtUp::Removed);
        }
        Entry::Document { .. } | Entry::Control(_) => (None, None),
    };
    let kind = event_for(images.0, images.1, |document| slot.filter.matches(document));
    let place = (&slot.project, epoch, change.position);
    let event = kind.and_then(|kind| Event::of_change(place, images, kind, &slot.asked_name));
    let Some(event) = event else {
        slot.pass(change.position);
        return Passed::Taken;
    };
    let event = Event { shows_cursor: !slot.is_in_snapshot(), ..event };
    let frame = slot.form.encode(&event);
    while let Err(length) = slot.offer(change.position, frame.clone()) {
        slot.outbox().wake_body();
        *lease = None;
        if tokio::time::timeout(HOLD, slot.outbox().room_for(length)).await.is_err() {
            return Passed::Stalled(length);
        }
        *lease = Some(feed.streams.lease().await);
        if slot.is_over() {
            return Passed::Over(CaughtUp::Ended);
        }
    }
    Passed::Taken
}
