//! Hub, relay, shard, live streams and sessions, as they are shipped, over a log that is a model, on a simulated clock.
//! Reads are late or fail. The relay hears of commits late, out of order or never. Connections are cut, readers stall and are
//! overrun, servers are restarted, and the log is pruned or put back to an older state.
//!
//! There are three kinds of clients: those of the documented protocol, watchers of the client libraries, and visitors of
//! rooms. At the end every view must be what the model has. On the way no event may come twice, out of order, or be missed.
//! Visitors of one place must hear the same things in the same order, and the list of rooms must name those who are there.
//!
//! A seed is one run, and the same seed is the same run. `COIR_SIMULATION_SEEDS=10000` runs so many seeds, from
//! `COIR_SIMULATION_FIRST` on; `COIR_SIMULATION_SEED=7` runs one of them again. `tests/simulation/mutate` takes checks out of
//! a copy of the code, one after the other, and shows that the simulation finds each.
//!
//! Reading order: [`run`], [`server`] over [`log`], [`link`] and [`decoder`] (the client's end of a connection), [`client`] with
//! [`replica`], [`watcher`], [`visitor`] with [`hall`], [`counts`], [`dice`].

#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod counts;
mod decoder;
mod dice;
mod hall;
mod link;
mod log;
mod replica;
mod rights;
mod run;
mod server;
mod visitor;
mod watcher;

use counts::Tally;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs the seeds that the settings ask for.
fn run_seeds<T: Tally>(run: fn(u64) -> T) {
    let single = setting("COIR_SIMULATION_SEED");
    let first = single.or(setting("COIR_SIMULATION_FIRST")).unwrap_or(1);
    let count = if single.is_some() { 1 } else { setting("COIR_SIMULATION_SEEDS").unwrap_or(200) };
    let begun = Instant::now();
    let mut total = T::default();
    for seed in first..first + count {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(counts) => {
                total.add(&counts);
                if (seed - first + 1).is_multiple_of(500) {
                    eprintln!("{} seeds are right: {total:?}", seed - first + 1);
                }
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed} fails, after {} that don't; COIR_SIMULATION_SEED={seed} runs it again",
                    seed - first
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{count} seeds from {first} in {:.1} s: {total:?}", begun.elapsed().as_secs_f64());
    // A simulation in which nothing happens shows nothing.
    if count >= 100 {
        total.check_that_all_happened();
    }
}

#[test]
fn every_view_is_right_in_the_end_whatever_happens_on_the_way() {
    run_seeds(run::run);
}

#[test]
fn everybody_hears_what_their_rights_allow_and_nothing_else() {
    run_seeds(rights::run);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [3, 14, 15] {
        let runs = [run::run(seed), run::run(seed)];
        assert_eq!(runs[0], runs[1], "seed {seed}");
        assert_eq!(rights::run(seed), rights::run(seed), "seed {seed}");
    }
}
