//! Counts the events of a run.

use std::{cell::Cell, fmt::Debug};

/// The counts of a run's events.
pub trait Tally: Copy + Debug + Default + PartialEq {
    fn add(&mut self, other: &Self);

    /// Fails if something never happened: then the simulation says nothing about it.
    fn check_that_all_happened(&self);
}

/// Defines counts with everything that goes through all of them.
macro_rules! counts {
    ($counts:ident { $($(#[$meta:meta])* $name:ident,)+ }) => {
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $counts {
            $($(#[$meta])* pub $name: u64,)+
        }

        impl Tally for $counts {
            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            fn check_that_all_happened(&self) {
                $(assert!(self.$name > 0, "{} never happened: {self:?}", stringify!($name));)+
            }
        }
    };
}

counts! { Counts {
    changes,
    /// Commits that the relay heard of late, out of order, or not at all.
    late,
    swapped,
    unheard,
    cuts,
    stalls,
    bursts,
    restarts,
    prunes,
    rewinds,
    events,
    snapshots,
    resyncs,
    /// Views of the documented protocol that were compared with the model.
    comparisons,
    /// Views of the client libraries that were compared with the model.
    watched,
    watch_events,
    /// Collections that were created while somebody waited for them.
    found,
    /// Visits to rooms and the broadcast.
    visits,
    /// The messages that visitors heard.
    heard,
    /// Visitors that were cut off because they were too slow.
    cut_off,
    /// Rooms that could not be joined because nobody was there.
    refused,
} }

counts! { RightsCounts {
    changes,
    rules,
    /// Keys and sessions that were ended.
    revocations,
    /// Tokens that expired.
    pauses,
    late,
    unheard,
    cuts,
    stalls,
    prunes,
    events,
    snapshots,
    resyncs,
    /// Subscriptions that ended, or did not begin, because nothing may be read.
    forbidden,
} }

/// The counts of the clients.
#[derive(Default)]
pub struct Counter {
    pub cuts: Cell<u64>,
    pub stalls: Cell<u64>,
}
