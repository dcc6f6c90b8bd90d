//! The thread that looks whether every part moves.

use std::{
    collections::HashMap,
    io, mem,
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use super::{
    failure::{How, Part},
    state::{Shared, lock},
};

/// How often it looks.
const TICK: Duration = Duration::from_millis(250);
/// A look that comes later than this after the one before does not count. The process was stopped, or the machine has so much
/// to do that no part could move.
const LATE: Duration = Duration::from_millis(500);
/// After so many looks in a row, a part that does not move is in the way of readiness.
const UNREADY: u32 = 2;
/// After so many looks in a row, it has failed.
const FAILED: u32 = 8;

/// Starts the thread.
pub(super) fn start(shared: Weak<Shared>) -> io::Result<()> {
    let thread = thread::Builder::new().name("coir-watchdog".to_owned());
    thread.spawn(move || run(&shared)).map(drop)
}

fn run(shared: &Weak<Shared>) {
    let mut looks = Looks::default();
    loop {
        let begun = Instant::now();
        thread::sleep(TICK);
        let Some(shared) = shared.upgrade() else { return };
        shared.faults.read();
        if begun.elapsed() <= LATE {
            look(&shared, &mut looks);
        }
    }
}

/// In how many looks in a row each part did not move.
#[derive(Default)]
struct Looks(HashMap<Part, u32>);

fn look(shared: &Shared, looks: &mut Looks) {
    let mut still = lock(&shared.probes).iter().filter_map(|probe| probe()).collect::<Vec<_>>();
    for (part, promise) in &*lock(&shared.promises) {
        if promise.upgrade().is_some_and(|promise| promise.is_broken()) {
            still.push(part.clone());
        }
    }
    let stalled = looks.note(still);
    for (part, count) in &stalled {
        if *count == UNREADY {
            tracing::warn!(%part, "the {part} does not move");
        }
        if *count >= FAILED {
            shared.fail(part, How::Stalled);
        }
    }
    let stalled: Vec<Part> = stalled.into_iter().map(|(part, _)| part).collect();
    let before = mem::replace(&mut *lock(&shared.stalled), stalled.clone());
    for part in before.iter().filter(|part| !stalled.contains(part)) {
        tracing::info!(%part, "the {part} moves again");
    }
}

impl Looks {
    /// Counts the parts that are still now, and returns those that have been still for long, the longest first.
    fn note(&mut self, still: Vec<Part>) -> Vec<(Part, u32)> {
        let mut counts = mem::take(&mut self.0);
        for part in still {
            let count = counts.remove(&part).unwrap_or(0) + 1;
            self.0.insert(part, count);
        }
        let mut stalled: Vec<_> = self
            .0
            .iter()
            .filter(|(_, count)| **count >= UNREADY)
            .map(|(part, count)| (part.clone(), *count))
            .collect();
        stalled.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::supervisor::Supervisor;

    #[test]
    fn a_part_fails_after_several_looks_in_a_row_at_which_it_was_still() {
        let supervisor = Supervisor::default();
        let (relay, writer) = (supervisor.pulse("relay"), supervisor.pulse("writer"));
        let mut looks = Looks::default();
        relay.expect_within(Duration::ZERO);
        writer.expect_within(Duration::from_secs(3600));
        thread::sleep(Duration::from_millis(2));
        for _ in 1..FAILED {
            look(&supervisor.0, &mut looks);
        }
        assert_eq!(&*supervisor.trouble().unwrap().part, "relay");
        assert!(supervisor.0.failure.borrow().is_none());
        // A sign of life begins the count anew.
        relay.rest();
        look(&supervisor.0, &mut looks);
        assert_eq!(supervisor.trouble(), None);
        relay.expect_within(Duration::ZERO);
        thread::sleep(Duration::from_millis(2));
        for _ in 0..FAILED {
            look(&supervisor.0, &mut looks);
        }
        assert_eq!(supervisor.0.failure.borrow().clone().unwrap().how, How::Stalled);
        // A pulse that is gone promises nothing.
        drop(relay);
        look(&supervisor.0, &mut looks);
        assert!(lock(&supervisor.0.stalled).is_empty());
    }

    #[test]
    fn a_probe_names_the_part_in_front_of_which_work_waits() {
        let supervisor = Supervisor::default();
        supervisor.add_probe(|| Some(Part::from("shard 1")));
        let mut looks = Looks::default();
        (0..UNREADY).for_each(|_| look(&supervisor.0, &mut looks));
        assert_eq!(supervisor.trouble().unwrap().to_string(), "the shard 1 does not move any more");
    }
}
