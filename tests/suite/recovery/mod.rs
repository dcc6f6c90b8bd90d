//! Crashes, database outages and pruning of the change log, as clients experience them.

mod clock;
mod convergence;
mod crash;
mod crash_transactions;
mod crash_users;
mod durability;
mod faults;
mod hostile;
mod lone_files;
mod lost_commits;
mod maintenance;
mod outage;
mod outage_log;
mod read_only;
mod removed_collections;
mod retention;
mod rewind;
mod silence;
mod sleeping_node;
mod unreadable;
mod write_ahead_log;
