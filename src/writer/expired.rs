//! Deletes what has expired: sessions that nobody refreshed, codes that nobody used, states of sign-ins, and mails that nobody looked at.

use std::time::Duration;

use super::clock::Clock;
use crate::{
    domain::{Timestamp, audit::AUDIT_AGE, code::RECENT},
    store::{
        Db, StoreError,
        access::{audit, codes, invitations, mails, sessions, used_states},
    },
};

/// How long a mail waits in the outbox. No link in it is good for longer.
const OUTBOX_AGE: Duration = Duration::from_secs(24 * 3600);

/// A kind of row that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiring {
    Sessions,
    /// They stay for an hour longer than they are good, so that they count when the next ones are made.
    Codes,
    Mails,
    /// States of sign-ins that were used. They stay for an hour longer than they are good.
    States,
    Invitations,
    Audit,
}

impl Expiring {
    /// Every kind. The last one is looked at first.
    pub(super) const ALL: [Self; 6] =
        [Self::Audit, Self::Invitations, Self::States, Self::Mails, Self::Codes, Self::Sessions];
}

/// Deletes at most `limit` rows, and returns whether there may be more. Deletes nothing while the clock can't tell the time.
pub(super) async fn delete_expired(
    db: &Db,
    clock: &mut Clock,
    kind: Expiring,
    limit: usize,
) -> Result<bool, StoreError> {
    let mut tx = db.begin_write().await?;
    let Some(now) = clock.look_for_ages(&mut tx).await? else {
        tx.rollback().await?;
        return Ok(false);
    };
    let has_more = match kind {
        Expiring::Sessions => sessions::delete_expired(&mut tx, now, limit).await?,
        Expiring::Codes => codes::delete_expired(&mut tx, Timestamp(now.0 - RECENT), limit).await?,
        Expiring::States => used_states::delete_expired(&mut tx, Timestamp(now.0 - RECENT), limit).await?,
        Expiring::Audit => audit::delete_old(&mut tx, Timestamp(now.0 - AUDIT_AGE), limit).await?,
        Expiring::Invitations => invitations::delete_expired(&mut tx, now, limit).await?,
        Expiring::Mails => {
            let before = Timestamp(now.0 - OUTBOX_AGE.as_millis() as i64);
            mails::delete_old(&mut tx, before, limit).await?
        }
    };
    tx.commit().await?;
    Ok(has_more)
}
