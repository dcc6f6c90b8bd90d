//! The messages of the hub to its shards.

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::{KeyEnd, KeyId, Position, ProjectId, SessionId, cursor::Epoch};

/// A message of the hub to a shard. Messages about one project come in the order in which things happened.
pub(super) enum ToShard {
    /// An event for some of this shard's subscriptions.
    Deliver { frame: Bytes, position: Position, serials: Vec<u64> },
    /// The subscription is live, and everything up to `last` was sent.
    Joined { serial: u64, epoch: Epoch, last: Position },
    /// The hub can't serve it from its position, so it must read the log.
    ReadOn { serial: u64 },
    /// The rights of its principal may be others now, so they are asked for before it goes on. If it began at "now", that is `begin`.
    Doubt { serial: u64, begin: Option<(Epoch, Position)> },
    /// The hub has too many filters of its kind.
    Refused { serial: u64 },
    /// Its collection was removed.
    Removed { serial: u64 },
    /// Messages about this project are missing, so that all its subscriptions on this shard must read the log.
    Overrun { project: ProjectId },
    /// Everything up to this position was sent to every live subscription of this project.
    Mark { project: ProjectId, epoch: Epoch, position: Position },
    /// A key has ended. A change ends the connections that have a revision of it before `before`.
    KeyEnded { key: KeyId, end: KeyEnd, before: u64 },
    /// Sessions of users have ended.
    SessionsEnded { sessions: Arc<[SessionId]> },
    /// Any session of this project may have ended, in entries of the log that are missing.
    SessionsInDoubt { project: ProjectId },
    /// Any credential may be a forged one.
    AllInDoubt,
}
