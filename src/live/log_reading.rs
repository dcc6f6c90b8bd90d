//! Reads the log for one subscription, page by page, and sends the events to its peer.

use std::{sync::Arc, time::Duration};

use super::{
    reads::{Streams, WorkPermit},
    resume::Gone,
    rights::{Rebound, rebind},
};
use crate::{
    auth::Principal,
    domain::{
        Change, Control, Document, Entry, KeyEnd, KeyStates,
        cursor::{Cursor, Epoch},
    },
    hub::{CloseReason, Delivery, Interest},
    shares::{Account, BudgetExhausted},
    store::{StoreError, log::changes::LogPage},
    wire::{Event, EventKind, event_for},
};

/// How long to wait before the database is read again after a failure.
pub(super) const RETRY: Duration = Duration::from_millis(100);
/// How long a page is held for a peer that has no room for it. After that it is dropped, and read again when there is room.
/// So peers that don't read can't fill the memory.
pub(super) const HOLD: Duration = Duration::from_millis(250);

/// Bytes of documents, times the texts and elements that are looked for in them, through which a worker thread goes by itself. It takes
/// about a millisecond.
const SHORT_WORK: usize = 2 * 1024 * 1024;
/// The most of these in a filter, roughly: one for each term.
const MAX_PASSES: usize = 64;

/// How catching up ended.
#[derive(Debug)]
pub enum CaughtUp {
    /// The hub sends every event now.
    Live,
    /// The log doesn't reach back to the position. The cursor is that of the log's end.
    Expired(Cursor),
    /// An entry can't be read. The cursor is that of the last such entry, after which the log goes on.
    Unreadable(Cursor),
    /// The collection was removed.
    Removed,
    /// The hub has too many filters of this kind.
    Refused,
    /// The rights of the principal have changed.
    Rebound(Rebound),
    /// The subscription or the connection is ending.
    Ended,
}

/// The outcome of reading one page of the log.
pub(super) enum ReadOn {
    /// The position moved, or there is room for the next event.
    More,
    /// The log had nothing after the position.
    NothingNew,
    /// The next entry can't be read. The cursor is that of the last such entry.
    Unreadable(Cursor),
    /// The database can't be read now. Nothing is lost, because the page is read again.
    Failed,
}

/// The outcome of sending changes to the peer.
enum Passed {
    /// All were sent, except those that are no event for this subscription.
    Taken,
    /// The peer takes nothing now. The rest must be read again once there is room for this many bytes.
    Stalled(usize),
    /// The next entries can't be read, up to this cursor.
    Unreadable(Cursor),
    /// The rights of the principal may be others after this.
    Doubted,
    /// Catching up ends with this.
    Over(CaughtUp),
}

/// Returns the account on which a subscription reads.
pub(super) fn account_of(delivery: &Delivery) -> Account {
    let Some(owner) = delivery.outbox().owner() else {
        return Account::new(delivery.project.clone(), Account::anonymous().key);
    };
    let account = Account::new(delivery.project.clone(), owner.key.id);
    match &owner.session {
        Some(session) => account.of_member(session.as_str()),
        None => account,
    }
}

/// Reads and sends the next page of the log after the position, which is `cursor`. Changes of documents that are not `wanted`
/// are skipped.
pub(super) async fn read_on(
    (streams, principal): (&Streams, &Principal),
    delivery: &Delivery,
    cursor: Cursor,
    wanted: impl Fn(&Change) -> bool,
) -> Result<ReadOn, CaughtUp> {
    if delivery.is_in_doubt()
        && let Err(end) = check_rights((streams, principal), delivery).await
    {
        return end;
    }
    let account = account_of(delivery);
    let permit = streams.page_permit(&account).await;
    let page = match streams.read_log(&account, &delivery.collection, cursor.position).await {
        Ok(Some(page)) => page,
        Ok(None) => return Err(CaughtUp::Expired(cursor)),
        Err(err) => {
            // The relay has logged it as an error.
            tracing::debug!("a stream waits for the database: {err}");
            return Ok(ReadOn::Failed);
        }
    };
    let reaches = page.ends.first.sequence..=page.ends.last.sequence;
    let is_other = page.ends.epoch != cursor.epoch || page.contradicts(cursor.position);
    if is_other || !reaches.contains(&cursor.position.sequence) {
        let (end, gone) = (page.ends.cursor(), Gone::of(&cursor, &page.ends));
        drop((page, permit));
        return Err(find_out_why(streams, delivery, (end, gone)).await);
    }
    // The document of a user is not among the entries. It is read after the page, so that it is at least as new.
    if delivery.has_watched()
        && let Err(end) = check_rights((streams, principal), delivery).await
    {
        return end;
    }
    match send_page(streams, delivery, &page, cursor.epoch, wanted).await {
        Passed::Taken => {}
        // The next call asks for the rights, and reads on.
        Passed::Doubted => return Ok(ReadOn::More),
        Passed::Unreadable(cursor) => return Ok(ReadOn::Unreadable(cursor)),
        Passed::Over(end) => return Err(end),
        Passed::Stalled(length) => {
            drop((page, permit));
            delivery.outbox().room_for(length).await;
            streams.frame_room(&account, length).await;
            return if delivery.is_over() { Err(CaughtUp::Ended) } else { Ok(ReadOn::More) };
        }
    }
    if page.is_last {
        delivery.pass(page.ends.last);
        let is_news = |change: &Arc<Change>| change.position.sequence > cursor.position.sequence;
        if !page.entries.last().is_some_and(is_news) {
            return Ok(ReadOn::NothingNew);
        }
    }
    Ok(ReadOn::More)
}

/// Asks for the rights of the subscription's principal anew. Returns what reading ends with, if they are others or can't be found.
pub(super) async fn check_rights(
    (streams, principal): (&Streams, &Principal),
    delivery: &Delivery,
) -> Result<(), Result<ReadOn, CaughtUp>> {
    match rebind(streams, principal, delivery).await {
        Ok(Rebound::Same) => Ok(()),
        Ok(rebound) => Err(Err(CaughtUp::Rebound(rebound))),
        Err(err) => {
            tracing::debug!("a stream waits for the database: {err}");
            Err(Ok(ReadOn::Failed))
        }
    }
}

/// Returns how catching up ends where the log, which ends at `end`, has no way on from the position. One of the missing
/// entries may be the removal of the collection.
pub(super) async fn find_out_why(
    streams: &Streams,
    delivery: &Delivery,
    (end, gone): (Cursor, Gone),
) -> CaughtUp {
    if gone.is_rewound() {
        // Until it knows, the hub would send the lost changes to a subscription that begins at the log's end.
        streams.hub_knows_log_end().await;
    }
    loop {
        let found = async {
            let has_collection = streams.has_collection(&delivery.collection).await?;
            // One of the missing entries may also have ended the owner's key or session.
            let why = match delivery.outbox().owner() {
                Some(owner) => streams.find_end_of(&owner, None).await?,
                None => None,
            };
            Ok::<_, StoreError>((has_collection, why))
        };
        match found.await {
            Ok((_, Some(why))) => {
                delivery.outbox().close(why);
                return CaughtUp::Ended;
            }
            Ok((true, None)) => return CaughtUp::Expired(end),
            Ok((false, None)) => return CaughtUp::Removed,
            Err(err) => {
                tracing::debug!("a stream waits for the database: {err}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn send_page(
    streams: &Streams,
    delivery: &Delivery,
    page: &LogPage,
    epoch: Epoch,
    wanted: impl Fn(&Change) -> bool,
) -> Passed {
    let mut permit = Some(streams.work_permit().await);
    for (place, change) in page.entries.iter().enumerate() {
        if delivery.is_over() {
            return Passed::Over(CaughtUp::Ended);
        }
        // A page that is shared may begin before this subscription's position.
        if !delivery.is_before(change.position) {
            continue;
        }
        if is_unreadable(change) {
            delivery.outbox().wake_body();
            let run = page.entries[place..].iter().take_while(|change| is_unreadable(change));
            let position = run.last().map_or(change.position, |last| last.position);
            return Passed::Unreadable(Cursor { epoch, position });
        }
        match send_change((streams, &mut permit), delivery, change, epoch, &wanted).await {
            Passed::Taken => {}
            end => return end,
        }
        if permit.as_ref().is_some_and(WorkPermit::is_used_up) {
            // Matching may take long, and others share this thread.
            drop(permit.take());
            tokio::task::yield_now().await;
            permit = Some(streams.work_permit().await);
        }
    }
    delivery.outbox().wake_body();
    Passed::Taken
}

fn is_unreadable(change: &Change) -> bool {
    matches!(change.entry, Entry::Unreadable { .. })
}

async fn send_change(
    (streams, permit): (&Streams, &mut Option<WorkPermit>),
    delivery: &Delivery,
    change: &Arc<Change>,
    epoch: Epoch,
    wanted: impl Fn(&Change) -> bool,
) -> Passed {
    let images: (Option<&Arc<Document>>, Option<&Arc<Document>>) = match &change.entry {
        Entry::Document { before, after, .. } if wanted(change) => (before.as_ref(), after.as_ref()),
        Entry::Control(Control::CollectionRemoved { collection })
            if *collection == *delivery.collection.as_str() =>
        {
            return Passed::Over(CaughtUp::Removed);
        }
        Entry::Control(control) => {
            if delivery.is_doubted_by(control, change.position) {
                delivery.doubt();
                return Passed::Doubted;
            }
            if let Some(why) = find_end_in(control, streams, delivery) {
                delivery.outbox().close(why);
                return Passed::Over(CaughtUp::Ended);
            }
            (None, None)
        }
        Entry::Document { .. } | Entry::Unreadable { .. } => (None, None),
    };
    let kind = match images {
        (None, None) => None,
        images => find_kind(&delivery.interest, change, images).await,
    };
    let place = (&delivery.project, epoch, change.position);
    // None if the change concerns nothing that the client may see.
    let seen = kind.and_then(|kind| Some((kind, delivery.hidden_in(images).strip(images)?)));
    let event = seen.as_ref().and_then(|(kind, (before, after))| {
        Event::of_change(place, (before.as_ref(), after.as_ref()), *kind, &delivery.label)
    });
    let Some(event) = event else {
        delivery.pass(change.position);
        return Passed::Taken;
    };
    let event = Event { shows_cursor: !delivery.is_in_snapshot(), ..event };
    let mut frame = delivery.form.encode(&event);
    if Streams::is_large(&frame) {
        let length = frame.len();
        delivery.outbox().wake_body();
        *permit = None;
        frame = match streams.hold_frame(&account_of(delivery), frame, HOLD).await {
            Ok(frame) => frame,
            Err(BudgetExhausted) => return Passed::Stalled(length),
        };
        *permit = Some(streams.work_permit().await);
    }
    while let Err(length) = delivery.offer(change.position, frame.clone()) {
        delivery.outbox().wake_body();
        *permit = None;
        if tokio::time::timeout(HOLD, delivery.outbox().room_for(length)).await.is_err() {
            return Passed::Stalled(length);
        }
        *permit = Some(streams.work_permit().await);
        if delivery.is_over() {
            return Passed::Over(CaughtUp::Ended);
        }
    }
    Passed::Taken
}

/// Returns why the stream ends with a control entry, if it does. It may be ahead of the relay, which tells the other streams.
fn find_end_in(control: &Control, streams: &Streams, delivery: &Delivery) -> Option<CloseReason> {
    let owner = delivery.outbox().owner()?;
    if control.revoked_key().is_some_and(|key| key == owner.key.id) {
        streams.note_key_state(&KeyStates { revoked: vec![owner.key.id], changed: Vec::new() });
        return Some(CloseReason::KeyEnded(KeyEnd::Revoked));
    }
    if let Some(change) = control.key_change().filter(|change| change.key == owner.key.id) {
        let is_shut_out = change.rescoped > owner.key.revision;
        streams.note_key_state(&KeyStates { revoked: Vec::new(), changed: vec![change] });
        return is_shut_out.then_some(CloseReason::KeyEnded(KeyEnd::Changed));
    }
    let session = owner.session.filter(|session| control.ends_session(session))?;
    streams.note_session_ended(&session);
    Some(CloseReason::SessionEnded)
}

/// Returns the kind of event that a change is to a subscription. Where that takes long, a thread finds it on which nobody
/// waits: this one serves requests as well.
async fn find_kind(
    interest: &Arc<Interest>,
    change: &Arc<Change>,
    images: (Option<&Arc<Document>>, Option<&Arc<Document>>),
) -> Option<EventKind> {
    let weight = change.weight();
    if weight > SHORT_WORK / MAX_PASSES && weight.saturating_mul(interest.filter.passes()) > SHORT_WORK {
        let (interest, change) = (interest.clone(), change.clone());
        let find = move || match &change.entry {
            Entry::Document { before, after, .. } => {
                event_for(before.as_ref(), after.as_ref(), |document| interest.filter.matches(document))
            }
            Entry::Control(_) | Entry::Unreadable { .. } => None,
        };
        if let Ok(kind) = tokio::task::spawn_blocking(find).await {
            return kind;
        }
    }
    event_for(images.0, images.1, |document| interest.filter.matches(document))
}
