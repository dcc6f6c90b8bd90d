//! The upkeep of keys, which no request asks for: streams end when their key expires, and the uses of keys are written.

use std::time::Duration;

use tokio::sync::watch;

use crate::{
    auth::{KeyRing, KeyUses},
    domain::KeyEnd,
    hub::HubHandle,
    writer::{Mutation, Operation, WriterHandle},
};

/// How often uses of keys are written. A key has one in a minute at most.
const WRITE: Duration = Duration::from_secs(20);
/// The most uses of one mutation.
const PORTION: usize = 500;

/// Ends the streams of keys when they expire. Ends when the server stops.
pub(super) async fn end_expired(keys: KeyRing, hub: HubHandle, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            expired = keys.expired() => hub.end_keys(&expired, KeyEnd::Expired),
            // An error means that the sender is gone, which is the end as well.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Writes the uses of keys from time to time, and once more when the server stops.
pub(super) async fn write_uses(uses: KeyUses, writer: WriterHandle, mut stopped: watch::Receiver<bool>) {
    let mut is_over = false;
    while !is_over {
        is_over = tokio::time::timeout(WRITE, stopped.wait_for(|stopped| *stopped)).await.is_ok();
        while let Some((project, uses)) = uses.take(PORTION) {
            let mutation = Mutation {
                project,
                caller: None,
                session: None,
                author: None,
                operations: vec![Operation::NoteKeyUses(uses)],
                idempotency: None,
                seen: None,
            };
            // A use that is lost is noted again in the next minute in which the key is used.
            if let Err(err) = writer.submit(mutation).await {
                tracing::debug!("the uses of keys could not be written: {err}");
                break;
            }
        }
    }
}
