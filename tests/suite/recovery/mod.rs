//! Crashes, outages, pruning, and what clients see of them.

mod convergence;
mod crash;
mod crash_transactions;
mod durability;
mod outage;
mod retention;
mod rewind;
