//! Why nothing is written because of the clock.

use std::fmt;

use crate::domain::Timestamp;

/// Why a time can't be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockTrouble {
    #[error(
        "the clock of {whose} says {now}, but it should be about {expected}; nothing is written until the clock is set right, or \
         `coir accept-clock` confirms it"
    )]
    Jumped { whose: Whose, now: Timestamp, expected: Timestamp },
    #[error(
        "the change log ends at {last}, but the clock of {whose} says {now}; nothing is written until the clock is set right, or \
         `coir accept-clock` confirms it"
    )]
    BehindLog { whose: Whose, now: Timestamp, last: Timestamp },
}

/// Whose clock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Machine,
    Database,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "the machine",
            Self::Database => "the database",
        })
    }
}
