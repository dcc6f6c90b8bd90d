//! PostgreSQL as it is in life: sessions and their settings, poolers, failovers, silent networks, and databases that are not
//! there yet.

mod ended_sessions;
mod failover;
mod plans;
mod poolers;
mod sessions;
mod silence;
mod start;
mod waiting;
