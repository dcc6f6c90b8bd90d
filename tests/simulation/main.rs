//! Simulates live streams: the real hub, relay, shard, sessions and readers of the log run over a model of the log, on a
//! simulated clock. Reads are slow or fail. The relay hears of commits late, out of order or never. Connections are cut, clients
//! stall, queues overflow, the server restarts, the log is pruned or goes back. At the end every view must be what the model
//! holds. On the way, no event may come twice, come out of order, or be missed.
//!
//! A seed is one run, and the same seed gives the same run. `COIR_SIMULATION_SEEDS=10000` sets how many seeds run, beginning
//! with `COIR_SIMULATION_FIRST`. `COIR_SIMULATION_SEED=7` runs one seed again. `tests/simulation/mutate` removes one check after
//! the other from a copy of the code, and shows that the simulation notices.
//!
//! Reading order: [`run`], [`log`], [`client`], [`decoder`], [`replica`], [`dice`].

#![allow(clippy::unwrap_used, missing_docs)]

mod client;
mod decoder;
mod dice;
mod log;
mod replica;
mod run;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn every_view_is_right_in_the_end_whatever_happens_on_the_way() {
    let single = setting("COIR_SIMULATION_SEED");
    let first = single.or(setting("COIR_SIMULATION_FIRST")).unwrap_or(1);
    let count = if single.is_some() { 1 } else { setting("COIR_SIMULATION_SEEDS").unwrap_or(200) };
    let begun = Instant::now();
    let mut total = run::Counts::default();
    for seed in first..first + count {
        match catch_unwind(AssertUnwindSafe(|| run::run(seed))) {
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
    // A simulation in which nothing happens proves nothing.
    if count >= 100 {
        total.check_that_all_happened();
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [3, 14, 15] {
        let runs = [run::run(seed), run::run(seed)];
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}
