//! A snapshot and its seam: the matching documents page by page, then the changes that were committed meanwhile.
//!
//! Each page is one statement, which also reads the log's end. Between two pages nothing is held in the database, however
//! slow the peer is. So each range of ids is as of its own page's log end. After the last page the log is read from the
//! first page's log end on. A change is skipped if its document's page was read at or after its sequence, or if no page has
//! had its id yet. The other changes are sent in order, and then all ids are as of one log end.

use super::{
    log_reading::{CaughtUp, HOLD, RETRY, ReadOn, account_of, check_rights, read_on},
    reads::{AccessPath, Streams},
    resume::Resume,
    subscription::Subscription,
};
use crate::{
    auth::Principal,
    domain::{Change, DocumentId, Entry, LogEnds, Position, cursor::Cursor},
    store::documents::snapshots::DocumentPage,
    wire::messages,
};

/// How many ranges are remembered. In a larger snapshot whose collection is written to, changes are also sent between pages,
/// and then all that was sent becomes one range.
const MAX_RANGES: usize = 256;

/// The ids up to `last`, as of the position at which their page was read.
struct Range {
    /// `None` is the end of all ids.
    last: Option<DocumentId>,
    read_at: Position,
}

/// The part of a snapshot that was sent: ranges of ids, each after the one before.
#[derive(Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    fn add(&mut self, last: Option<DocumentId>, read_at: Position) {
        match self.0.last_mut() {
            Some(range) if range.read_at == read_at => range.last = last,
            _ => self.0.push(Range { last, read_at }),
        }
    }

    /// Whether a change must be sent, because its document was sent as it was before the change.
    fn want(&self, change: &Change) -> bool {
        let Entry::Document { before, after, .. } = &change.entry else { return false };
        let Some(document) = after.as_ref().or(before.as_ref()) else { return false };
        let index = self.0.partition_point(|range| range.last.as_ref().is_some_and(|id| *id < document.id));
        self.0.get(index).is_some_and(|range| change.position.sequence > range.read_at.sequence)
    }

    fn read_at(&self) -> Option<Position> {
        self.0.last().map(|range| range.read_at)
    }
}

/// Sends a snapshot, from its first page to `ready`, and leaves the subscription at the position that it is as of. Can be
/// dropped at any await, and then begins anew.
///
/// # Errors
/// How catching up ends before that.
pub(super) async fn send_snapshot(
    (streams, principal): (&Streams, &Principal),
    subscription: &Subscription,
) -> Result<(), CaughtUp> {
    let delivery = &subscription.delivery;
    let account = account_of(delivery);
    let (mut ranges, mut control) = (Ranges::default(), None);
    let mut path = choose_path(streams, subscription).await;
    loop {
        delivery.outbox().room().await;
        if delivery.is_over() {
            return Err(CaughtUp::Ended);
        }
        let after = ranges.0.last().and_then(|range| range.last.clone());
        let permit = streams.page_permit(&account).await;
        let filter = delivery.filter.clone();
        let page = match streams.read_documents(&account, &delivery.collection, filter, (path, after)).await {
            Ok(Some(page)) => page,
            // The project is gone, and with it the collection.
            Ok(None) => return Err(CaughtUp::Removed),
            Err(err) => {
                drop(permit);
                // By now there may be more of them than an index finds in time.
                path = AccessPath::ById;
                wait_for_database(&err).await;
                continue;
            }
        };
        if let Err(end) = check_history(subscription, &ranges, &page.ends) {
            drop((page, permit));
            streams.hub_knows_log_end().await;
            return Err(end);
        }
        // It may have been given up while the page was read.
        if delivery.is_over() {
            return Err(CaughtUp::Ended);
        }
        // A key may have been revoked, or a session have ended, since the page before. Before the first page, that may have
        // happened without this node hearing of it; the log is read from this page's end on, and does not tell it.
        if let Some(owner) = delivery.outbox().owner()
            && control != Some(page.ends.control)
        {
            match streams.find_end_of(&owner, Some(page.ends.control.sequence)).await {
                Ok(None) => {}
                Ok(Some(why)) => {
                    delivery.outbox().close(why);
                    return Err(CaughtUp::Ended);
                }
                Err(err) => {
                    drop((page, permit));
                    wait_for_database(&err).await;
                    continue;
                }
            }
        }
        let may_be_others = delivery.has_watched() || control != Some(page.ends.control);
        if may_be_others && !principal.is_server() {
            match check_rights((streams, principal), delivery).await {
                Ok(()) => {}
                Err(Err(end)) => return Err(end),
                Err(Ok(_)) => {
                    drop((page, permit));
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        control = Some(page.ends.control);
        if ranges.0.is_empty() {
            // The log is read from this page's log end on. It has no entry about a collection that was removed earlier.
            match streams.has_collection(&delivery.collection).await {
                Ok(true) => {}
                Ok(false) => return Err(CaughtUp::Removed),
                Err(err) => {
                    drop((page, permit));
                    wait_for_database(&err).await;
                    continue;
                }
            }
        }
        if let Err(length) = offer_page(streams, subscription, &page, ranges.0.is_empty()).await {
            drop((page, permit));
            delivery.outbox().room_for(length).await;
            streams.frame_room(&account, length).await;
            continue;
        }
        let last = page.covers.clone();
        let is_last = last.is_none();
        if ranges.0.is_empty() {
            delivery.restart_from(page.ends.cursor());
        }
        ranges.add(last, page.ends.last);
        drop((page, permit));
        if is_last || ranges.0.len() >= MAX_RANGES {
            settle((streams, principal), subscription, &mut ranges).await?;
        }
        if is_last {
            subscription.end_snapshot();
            return Ok(());
        }
    }
}

async fn wait_for_database(err: &dyn std::fmt::Display) {
    tracing::debug!("a snapshot waits for the database: {err}");
    tokio::time::sleep(RETRY).await;
}

async fn choose_path(streams: &Streams, subscription: &Subscription) -> AccessPath {
    let delivery = &subscription.delivery;
    let path =
        streams.choose_path(&account_of(delivery), &delivery.collection, delivery.filter.clone()).await;
    // Both paths give the same documents.
    path.inspect_err(|err| tracing::debug!("a snapshot looks at all documents: {err}"))
        .unwrap_or(AccessPath::ById)
}

/// Makes sure that a page is of the same history as those before, and of a later moment.
fn check_history(subscription: &Subscription, ranges: &Ranges, ends: &LogEnds) -> Result<(), CaughtUp> {
    let known = subscription.delivery.cursor().zip(ranges.read_at());
    let goes_on = known.is_none_or(|(cursor, read_at)| {
        cursor.epoch == ends.epoch && (read_at.sequence < ends.last.sequence || read_at == ends.last)
    });
    if goes_on { Ok(()) } else { Err(CaughtUp::Expired(ends.cursor())) }
}

/// Sends a page. An empty one is only sent if it is the first.
///
/// # Errors
/// If the peer takes nothing now, the length that there must be room for. The page should be read again then.
async fn offer_page(
    streams: &Streams,
    subscription: &Subscription,
    page: &DocumentPage,
    is_first: bool,
) -> Result<(), usize> {
    if page.documents.is_empty() && !is_first {
        return Ok(());
    }
    let outbox = subscription.delivery.outbox();
    let permit = streams.work_permit().await;
    let (form, id) = (subscription.delivery.form, subscription.id());
    let frame = match &subscription.delivery.mask {
        None => messages::snapshot(form, id.as_deref(), &page.documents),
        Some(mask) => {
            let seen = page.documents.iter().map(|document| mask.strip(document.clone()));
            messages::snapshot(form, id.as_deref(), &seen.collect::<Vec<_>>())
        }
    };
    drop(permit);
    let length = frame.len();
    let account = account_of(&subscription.delivery);
    let frame = streams.hold_frame(&account, frame, HOLD).await.map_err(|_| length)?;
    while !outbox.push(frame.clone()) {
        outbox.wake_body();
        let room = tokio::time::timeout(HOLD, outbox.room_for(frame.len())).await;
        if room.is_err() || outbox.is_ending() || subscription.delivery.is_over() {
            return Err(frame.len());
        }
    }
    outbox.wake_body();
    Ok(())
}

/// Makes sure that the log still holds the position of each page. If the database lost commits between two pages, a later page
/// shows nothing of that once there are as many new ones.
async fn check_pages(
    streams: &Streams,
    subscription: &Subscription,
    ranges: &Ranges,
) -> Result<(), CaughtUp> {
    let delivery = &subscription.delivery;
    let Some(epoch) = delivery.cursor().map(|cursor| cursor.epoch) else { return Ok(()) };
    // A single position is the subscription's own, which is checked when it goes on from there.
    let mut positions = ranges.0.iter().map(|range| range.read_at).skip(1);
    let mut next = positions.next();
    while let Some(position) = next {
        match streams.resume(&delivery.project, Cursor { epoch, position }).await {
            Ok(Resume::From(_)) => next = positions.next(),
            Ok(Resume::Expired(end, gone)) => {
                if gone.is_rewound() {
                    streams.hub_knows_log_end().await;
                }
                return Err(CaughtUp::Expired(end));
            }
            Err(err) => wait_for_database(&err).await,
        }
        if delivery.is_over() {
            return Err(CaughtUp::Ended);
        }
    }
    Ok(())
}

/// Sends the changes in the ranges up to the last page's log end, and joins the ranges into one, as of that end.
async fn settle(
    (streams, principal): (&Streams, &Principal),
    subscription: &Subscription,
    ranges: &mut Ranges,
) -> Result<(), CaughtUp> {
    let delivery = &subscription.delivery;
    let Some(until) = ranges.read_at() else { return Ok(()) };
    check_pages(streams, subscription, ranges).await?;
    while let Some(cursor) = delivery.cursor()
        && cursor.position.sequence < until.sequence
    {
        delivery.outbox().room().await;
        if delivery.is_over() {
            return Err(CaughtUp::Ended);
        }
        match read_on((streams, principal), delivery, cursor, |change| ranges.want(change)).await? {
            // A new snapshot has what the entry brought.
            ReadOn::Unreadable(last) => return Err(CaughtUp::Unreadable(last)),
            ReadOn::Failed => tokio::time::sleep(RETRY).await,
            // The log ends before a position that it had, so the database was restored.
            ReadOn::NothingNew if delivery.position().is_none_or(|end| end.sequence < until.sequence) => {
                streams.hub_knows_log_end().await;
                return Err(CaughtUp::Expired(cursor));
            }
            // The log may have nothing new because others have written to their collections.
            ReadOn::More | ReadOn::NothingNew => {}
        }
    }
    let last = ranges.0.pop().and_then(|range| range.last);
    ranges.0.clear();
    // The changes that were read beyond `until` are in order and complete. Ids that had no page yet will be in a later page.
    ranges.add(last, delivery.position().unwrap_or(until));
    Ok(())
}
