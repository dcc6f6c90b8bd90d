//! How a subscription is brought up to date: `CatchingUp ⇄ Live`.
//!
//! A subscription that resumes, that overflowed or that has sent its snapshot is served in the same way: the log is read
//! after the position at the peer's pace, and then the hub is asked to go live from there. If the hub's recent changes
//! reach back far enough, the log isn't read.

use std::time::Duration;

use super::{
    log_reading::{CaughtUp, RETRY, ReadOn, check_rights, find_out_why, read_on},
    reads::Streams,
    resume::Resume,
    snapshot::send_snapshot,
    subscription::Subscription,
};
use crate::{
    auth::Principal,
    hub::{DeliveryState, Shard},
};

/// How long to wait before the log is read again when it had nothing new. The hub hears of this node's commits at once, and
/// of other nodes' commits at its next poll.
const HUB_DELAY: Duration = Duration::from_millis(20);

/// How often an entry that can't be read is read before the client is told.
const TRIES: u32 = 5;

/// Brings a subscription up to date. Can be dropped at any await.
pub async fn catch_up(
    (streams, principal): (&Streams, &Principal),
    shard: &Shard,
    subscription: &Subscription,
) -> CaughtUp {
    if subscription.needs_snapshot()
        && let Err(end) = send_snapshot((streams, principal), subscription).await
    {
        return end;
    }
    let delivery = &subscription.delivery;
    let mut is_checked = false;
    let mut tries = 1;
    loop {
        delivery.outbox().room().await;
        if delivery.is_over() {
            return CaughtUp::Ended;
        }
        if delivery.is_in_doubt() {
            match check_rights((streams, principal), delivery).await {
                Ok(()) => {}
                Err(Err(end)) => return end,
                Err(Ok(_)) => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        match shard.join(delivery).await {
            DeliveryState::Live => return CaughtUp::Live,
            DeliveryState::Removed => return CaughtUp::Removed,
            DeliveryState::Refused => return CaughtUp::Refused,
            DeliveryState::Ended => return CaughtUp::Ended,
            DeliveryState::CatchingUp | DeliveryState::Joining => {}
        }
        let Some(cursor) = delivery.cursor() else {
            // Only if the log's end could not be read when the subscription began.
            tokio::time::sleep(RETRY).await;
            continue;
        };
        if !is_checked {
            // The log may not be the one that the position is in: the database was restored, or lost its last commits.
            match streams.resume(&delivery.project, cursor).await {
                Ok(Resume::From(_)) => is_checked = true,
                Ok(Resume::Expired(end, gone)) => {
                    return find_out_why(streams, delivery, (end, gone)).await;
                }
                Err(err) => {
                    tracing::debug!("a stream waits for the database: {err}");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        match read_on((streams, principal), delivery, cursor, |_| true).await {
            Ok(ReadOn::More) => {}
            // The log has nothing that the hub lacks, but the hub has not heard of it yet.
            Ok(ReadOn::NothingNew) => tokio::time::sleep(HUB_DELAY).await,
            Ok(ReadOn::Failed) => {
                // It may have lost commits while it was away.
                is_checked = false;
                tokio::time::sleep(RETRY).await;
            }
            // It may have been read while something was wrong with the database.
            Ok(ReadOn::Unreadable(_)) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(RETRY).await;
            }
            Ok(ReadOn::Unreadable(last)) => return CaughtUp::Unreadable(last),
            Err(end) => return end,
        }
    }
}
