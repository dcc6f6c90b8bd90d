//! Three nodes on one PostgreSQL, while everything that fails in real life fails: nodes are killed (`kill -9`) or sleep
//! (SIGSTOP), the database crashes, its sessions are ended, networks go silent or slow, and streams are cut and resume on
//! another node.
//!
//! At `COIR_DURABILITY=full` every acknowledged write must be there exactly once. At `normal` a crash of the database may
//! lose some. In both cases every view must equal the list at its cursor, no answer may be a 500, no process may end by
//! itself, and a node that nothing disturbs must work within 15 seconds.
//!
//! `COIR_TEST_CHAOS_SECONDS=3600` sets how long each mode runs, `COIR_TEST_SEED=7` repeats the faults of a run. A run that
//! fails prints its seed, its history and the nodes' logs.
//!
//! Reading order: [`run`], [`world`] (the database, the nodes, their networks), [`faults`], [`writer`] with [`account`],
//! [`subscriber`], [`probe`], [`history`].

#![allow(clippy::unwrap_used, missing_docs)]

mod account;
mod faults;
#[path = "../suite/harness/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "the suite uses the rest")]
mod harness;
mod history;
mod probe;
mod run;
mod subscriber;
mod world;
mod writer;

use world::Durability;

/// One run at a time, because a busy machine is slow to recover.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn at_full_durability_every_acknowledged_write_is_there_once_and_every_view_is_the_list() {
    let _one = ONE.lock().await;
    run::run(Durability::Full, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_normal_durability_every_view_is_the_list_although_writes_are_lost() {
    let _one = ONE.lock().await;
    run::run(Durability::Normal, 20).await;
}
