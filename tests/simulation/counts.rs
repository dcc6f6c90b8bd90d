//! Counts the events of a run.

use std::cell::Cell;

/// Defines the counts with everything that goes through all of them.
macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        /// The counts of a run's events.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$meta])* pub $name: u64,)+
        }

        impl Counts {
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// Fails if something never happened: then the simulation says nothing about it.
            pub fn check_that_all_happened(&self) {
                $(assert!(self.$name > 0, "{} never happened: {self:?}", stringify!($name));)+
            }
        }
    };
}

counts! {
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
}

/// The counts of the clients.
#[derive(Default)]
pub struct Counter {
    pub cuts: Cell<u64>,
    pub stalls: Cell<u64>,
}
