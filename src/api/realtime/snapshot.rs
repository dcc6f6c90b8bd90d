//! A snapshot and its seam: the matching documents page by page, then what changed meanwhile.
//!
//! Each page is read with the log's head, and the next one later: nothing is held in the database for a peer that is slow.
//! So each range of ids is as of its own page's head. A change is skipped for the ids of a page read at or after its
//! sequence, and for ids that no page has had yet; the rest is sent in order, and then all ids are as of one head.

use super::{
    Feed,
    catch_up::{CaughtUp, HOLD, RETRY, ReadOn, read_on},
    subscription::Subscription,
};
use crate::{
    domain::{Change, DocumentId, Entry, LogEnds, Position},
    store::documents::snapshots::DocumentPage,
    wire::messages,
};

/// How many ranges are remembered. Of a larger snapshot that is written to meanwhile, what changed is sent between pages,
/// too, and all that was sent becomes one range.
const MAX_RANGES: usize = 256;

/// Ids up to one, as of a place in the log.
struct Range {
    /// `None` is the end of all ids.
    last: Option<DocumentId>,
    read_at: Position,
}

/// What was sent of a snapshot: ranges of ids, each after the one before.
#[derive(Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    fn add(&mut self, last: Option<DocumentId>, read_at: Position) {
        match self.0.last_mut() {
            Some(range) if range.read_at == read_at => range.last = last,
            _ => self.0.push(Range { last, read_at }),
        }
    }

    /// Whether a change is to be sent: its document was sent as it was before.
    fn want(&self, change: &Change) -> bool {
        let Entry::Document { before, after, .. } = &change.entry else { return false };
        let Some(document) = after.as_ref().or(before.as_ref()) else { return false };
        let place = self.0.partition_point(|range| range.last.as_ref().is_some_and(|id| *id < document.id));
        self.0.get(place).is_some_and(|range| change.position.sequence > range.read_at.sequence)
    }

    fn read_at(&self) -> Option<Position> {
        self.0.last().map(|range| range.read_at)
    }
}

/// Sends a snapshot, from its first page to `ready`, and leaves the slot at the place that it is as of. Can be dropped at
/// any await, and then begins anew.
///
/// # Errors
/// How catching up ends before that.
pub async fn send_snapshot(feed: &Feed, subscription: &Subscription) -> Result<(), CaughtUp> {
    let slot = &subscription.slot;
    let mut ranges = Ranges::default();
    // Where that can't be found out, the other way is as right.
    let mut few = feed
        .streams
        .has_few(&slot.project, &slot.collection, slot.filter.clone())
        .await
        .inspect_err(|err| tracing::debug!("a snapshot looks at all documents: {err}"))
        .unwrap_or(false);
    loop {
        slot.outbox().room().await;
        if slot.is_over() {
            return Err(CaughtUp::Ended);
        }
        let after = ranges.0.last().and_then(|range| range.last.clone());
        let turn = feed.streams.turn().await;
        let filter = slot.filter.clone();
        let read = feed.streams.read_documents(&slot.project, &slot.collection, filter, few, after);
        let page = match read.await {
            Ok(Some(page)) => page,
            // The project is gone, and with it the collection.
            Ok(None) => return Err(CaughtUp::Removed),
            Err(err) => {
                tracing::debug!("a snapshot waits for the database: {err}");
                drop(turn);
                // There may be more of them by now than can be read in time.
                few = false;
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        check_history(subscription, &ranges, &page.ends)?;
        // It may have been given up while the page was read.
        if slot.is_over() {
            return Err(CaughtUp::Ended);
        }
        if ranges.0.is_empty() {
            // The log is read on from this page's head. What was removed before it is in no entry that comes.
            match feed.streams.has_collection(&slot.collection).await {
                Ok(true) => {}
                Ok(false) => return Err(CaughtUp::Removed),
                Err(err) => {
                    tracing::debug!("a snapshot waits for the database: {err}");
                    drop((page, turn));
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if let Err(length) = offer_page(feed, subscription, &page, ranges.0.is_empty()).await {
            drop((page, turn));
            slot.outbox().room_for(length).await;
            continue;
        }
        let last = page.covers.clone();
        let is_last = last.is_none();
        if ranges.0.is_empty() {
            slot.restart_from(page.ends.cursor());
        }
        ranges.add(last, page.ends.last);
        drop((page, turn));
        if is_last || ranges.0.len() >= MAX_RANGES {
            settle(feed, subscription, &mut ranges).await?;
        }
        if is_last {
            subscription.end_snapshot();
            return Ok(());
        }
    }
}

/// A page must be of the same history as those before, and of a later moment.
fn check_history(subscription: &Subscription, ranges: &Ranges, ends: &LogEnds) -> Result<(), CaughtUp> {
    let known = subscription.slot.cursor().zip(ranges.read_at());
    let goes_on = known.is_none_or(|(cursor, read_at)| {
        cursor.epoch == ends.epoch && (read_at.sequence < ends.last.sequence || read_at == ends.last)
    });
    if goes_on { Ok(()) } else { Err(CaughtUp::Expired(ends.cursor())) }
}

/// Sends a page; an empty one only if it is the first. The error is the length to wait for: the peer takes nothing
/// now, and the page is better read again.
async fn offer_page(
    feed: &Feed,
    subscription: &Subscription,
    page: &DocumentPage,
    is_first: bool,
) -> Result<(), usize> {
    if page.documents.is_empty() && !is_first {
        return Ok(());
    }
    let outbox = subscription.slot.outbox();
    let lease = feed.streams.lease().await;
    let frame = messages::snapshot(subscription.slot.form, subscription.id.as_deref(), &page.documents);
    drop(lease);
    while !outbox.push(frame.clone()) {
        outbox.wake_body();
        let room = tokio::time::timeout(HOLD, outbox.room_for(frame.len())).await;
        if room.is_err() || outbox.is_ending() || subscription.slot.is_over() {
            return Err(frame.len());
        }
    }
    outbox.wake_body();
    Ok(())
}

/// Sends what changed in the ranges up to the last page's head: then they are one range, as of that.
async fn settle(feed: &Feed, subscription: &Subscription, ranges: &mut Ranges) -> Result<(), CaughtUp> {
    let slot = &subscription.slot;
    let Some(until) = ranges.read_at() else { return Ok(()) };
    while let Some(cursor) = slot.cursor()
        && cursor.position.sequence < until.sequence
    {
        slot.outbox().room().await;
        if slot.is_over() {
            return Err(CaughtUp::Ended);
        }
        match read_on(feed, slot, cursor, |change| ranges.want(change)).await? {
            ReadOn::Failed => tokio::time::sleep(RETRY).await,
            // The log ends before a place that it had: it was put back.
            ReadOn::NothingNew if slot.position().is_none_or(|end| end.sequence < until.sequence) => {
                return Err(CaughtUp::Expired(cursor));
            }
            // Nothing new may be that others have written to their collections.
            ReadOn::More | ReadOn::NothingNew => {}
        }
    }
    let last = ranges.0.pop().and_then(|range| range.last);
    ranges.0.clear();
    // What was read on after that is in order and in full: of ids that had no page yet, a later page has it.
    ranges.add(last, slot.position().unwrap_or(until));
    Ok(())
}
