//! The sockets over which no good key has come, and which of them has to go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::state::{Fate, Origin, SocketState};

/// A stranger that is silent for less, in milliseconds, is spared: a client that has just connected is about to send its
/// key. So a crowd of clients that return at the same time is not taken for strangers.
const SPARED_SILENCE: u64 = 1_000;
/// A stranger that is older, in milliseconds, is not spared, however much it says.
const SPARED_AGE: u64 = 10_000;
/// How many strangers are looked at to find the one that has to go. Bounds the work of one new connection.
const LOOK_AT: usize = 64;

/// The sockets over which no good key has come, by arrival.
#[derive(Default)]
pub(super) struct Strangers {
    by_arrival: BTreeMap<u64, Arc<SocketState>>,
    by_origin: HashMap<Origin, BTreeSet<u64>>,
}

impl Strangers {
    pub(super) fn count(&self) -> usize {
        self.by_arrival.len()
    }

    pub(super) fn count_of(&self, origin: &Origin) -> usize {
        self.by_origin.get(origin).map_or(0, BTreeSet::len)
    }

    pub(super) fn add(&mut self, state: &Arc<SocketState>) {
        self.by_arrival.insert(state.serial, state.clone());
        self.by_origin.entry(state.origin).or_default().insert(state.serial);
    }

    pub(super) fn remove(&mut self, state: &SocketState) {
        self.by_arrival.remove(&state.serial);
        if let Some(serials) = self.by_origin.get_mut(&state.origin) {
            serials.remove(&state.serial);
            if serials.is_empty() {
                self.by_origin.remove(&state.origin);
            }
        }
    }

    /// Closes the oldest stranger that may go, of this origin or of any: one that waits for nothing rather than one whose
    /// request is in progress. Returns false if all are spared.
    pub(super) fn close_one(&mut self, of: Option<&Origin>, now: u64) -> bool {
        let may_go = |state: &&Arc<SocketState>| {
            let (silent, age) = (state.waits_since(), now.saturating_sub(state.arrived));
            (silent != 0 && now.saturating_sub(silent) >= SPARED_SILENCE) || age >= SPARED_AGE
        };
        self.close_first(of, may_go)
    }

    /// Closes the oldest stranger, even one that would be spared. Returns false if there is none.
    pub(super) fn close_any(&mut self) -> bool {
        self.close_first(None, |_| true)
    }

    fn close_first(&mut self, of: Option<&Origin>, may_go: impl Fn(&&Arc<SocketState>) -> bool) -> bool {
        let mut oldest: Vec<&Arc<SocketState>> = match of {
            None => self.by_arrival.values().take(LOOK_AT).collect(),
            Some(origin) => {
                let serials = self.by_origin.get(origin).into_iter().flatten().take(LOOK_AT);
                serials.filter_map(|serial| self.by_arrival.get(serial)).collect()
            }
        };
        oldest.retain(may_go);
        let found = oldest.iter().copied().find(|state| !state.is_busy()).or_else(|| oldest.first().copied());
        let Some(state) = found.cloned() else { return false };
        self.remove(&state);
        state.decide(Fate::Abort);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100_000;

    /// Makes strangers of one address, the oldest first, from what they are: `silent`, `busy`, `fresh` (connected just now) or
    /// `talking` (connected a while ago, and heard of just now).
    fn strangers(kinds: &[&str]) -> (Strangers, Vec<Arc<SocketState>>) {
        let mut strangers = Strangers::default();
        let states: Vec<_> = kinds
            .iter()
            .zip(1..)
            .map(|(kind, serial)| {
                let arrived = if *kind == "fresh" { NOW - 10 } else { NOW - 5_000 };
                let state = Arc::new(SocketState::new(serial, Origin::of(None), arrived));
                match *kind {
                    "fresh" => state.set_waits_since(NOW - 10),
                    "talking" => state.set_waits_since(0),
                    _ => state.set_waits_since(NOW - 4_000),
                }
                if *kind == "busy" {
                    state.begin_request();
                }
                state
            })
            .collect();
        states.iter().for_each(|state| strangers.add(state));
        (strangers, states)
    }

    #[test]
    fn the_oldest_that_waits_for_nothing_goes_first() {
        for (kinds, gone, why) in [
            (&["silent", "silent"][..], Some(0), "the oldest of equals"),
            (&["busy", "silent"], Some(1), "an idle one before one whose request is in progress"),
            (&["busy", "busy"], Some(0), "a busy one if there is no idle one"),
            (&["fresh", "fresh"], None, "one that has just connected may be about to send its key"),
            (&["talking", "silent"], Some(1), "one that says something is spared"),
            (&[], None, "there is none"),
        ] {
            let (mut strangers, states) = strangers(kinds);
            assert_eq!(strangers.close_one(None, NOW), gone.is_some(), "{why}");
            let closed = states.iter().position(|state| state.fate() == Fate::Abort);
            assert_eq!(closed, gone, "{why}");
            assert_eq!(strangers.count(), kinds.len() - usize::from(gone.is_some()), "{why}");
        }
    }

    #[test]
    fn an_old_stranger_is_not_spared_however_much_it_says() {
        let (mut strangers, _) = strangers(&["talking"]);
        assert!(!strangers.close_one(None, NOW));
        assert!(strangers.close_one(None, NOW + SPARED_AGE));
    }

    #[test]
    fn when_there_is_no_room_at_all_nobody_is_spared() {
        let (mut strangers, states) = strangers(&["fresh", "fresh"]);
        assert!(strangers.close_any());
        assert_eq!(states[0].fate(), Fate::Abort);
        assert_eq!((strangers.count(), strangers.count_of(&Origin::of(None))), (1, 1));
    }
}
