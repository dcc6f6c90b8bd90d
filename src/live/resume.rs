//! Whether a client's cursor is good to resume from, and what it is told if it isn't.

use crate::domain::{
    LogEnds, Position,
    cursor::{Cursor, CursorError},
};

/// Whether a stream can go on from a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The log has everything after this position, which is the cursor's.
    From(Position),
    /// The log lacks entries after the cursor, for this reason. The cursor here is that of the log's end.
    Expired(Cursor, Gone),
}

/// Why the log has no way on from a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The entries after it were pruned.
    Pruned,
    /// The cursor belongs to another epoch.
    OtherHistory,
    /// The cursor is beyond the log's end.
    Beyond,
    /// Another change has the cursor's sequence.
    Replaced,
}

impl Gone {
    /// Returns why a log with these ends doesn't hold a cursor. The caller has found out that the log doesn't.
    pub fn of(cursor: &Cursor, ends: &LogEnds) -> Self {
        let sequence = cursor.position.sequence;
        if cursor.epoch != ends.epoch {
            Self::OtherHistory
        } else if sequence < ends.first.sequence {
            Self::Pruned
        } else if sequence > ends.last.sequence {
            Self::Beyond
        } else {
            Self::Replaced
        }
    }

    /// Whether the log went back, so that it lacks changes which it had.
    pub fn is_rewound(self) -> bool {
        match self {
            Self::Pruned => false,
            Self::OtherHistory | Self::Beyond | Self::Replaced => true,
        }
    }
}

/// Why a client's view can't be brought up to date, which a `resync` message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The log has no way on from the client's cursor.
    Expired(Gone),
    /// The subscription fell behind while it was served, and the entries it needs were pruned.
    Behind,
    /// A change that it needs can't be read from the log.
    Unreadable,
    /// The token of the user expired in the middle of a snapshot.
    Interrupted,
    /// The collection that the client's view is of does not exist any more.
    NoCollection,
    /// The name that the client waited for was given to a collection that existed before.
    Renamed,
    /// What the principal may read has changed.
    Rights,
    /// The text that the client sent is not a cursor of this project.
    Invalid(CursorError),
}

impl Lost {
    /// Returns the code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Expired(_)
            | Self::Behind
            | Self::Unreadable
            | Self::Interrupted
            | Self::NoCollection
            | Self::Renamed => "CURSOR_EXPIRED",
            Self::Rights => "RIGHTS_CHANGED",
            Self::Invalid(_) => "INVALID_CURSOR",
        }
    }

    /// Returns a sentence for whoever reads the client's log.
    pub fn message(self) -> String {
        match self {
            Self::Expired(Gone::Pruned) => "the log is not kept back to this cursor any more",
            Self::Expired(Gone::OtherHistory) => {
                "this cursor is of another history; the database was restored or replaced"
            }
            Self::Expired(Gone::Beyond) => {
                "this cursor is beyond the end of the log; the database was put back to an older copy"
            }
            Self::Expired(Gone::Replaced) => {
                "another change has the place of this cursor; the database was put back to an older copy"
            }
            Self::Unreadable => "a change in the log can't be read by this version of the server",
            Self::Interrupted => "the user token expired in the middle of the snapshot, which begins anew",
            Self::Rights => "what you may read of this collection has changed",
            Self::Behind => "what comes next is not in the log any more",
            Self::NoCollection => "the collection does not exist; the first write to it creates it",
            Self::Renamed => "another collection was given this name, with the documents that it has",
            Self::Invalid(err) => return err.to_string(),
        }
        .to_owned()
    }
}
