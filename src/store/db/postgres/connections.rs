//! How many connections a node opens to PostgreSQL.

/// Reads by id, for requests.
pub(super) const POINT: usize = 4;
/// Queries, and reads for the building of indexes.
pub(super) const SCAN: usize = 7;
/// Reads of live streams.
pub(super) const STREAM: usize = 5;
/// Reads of the relay and the health check.
pub(super) const RELAY: usize = 2;
/// The most at the same time: those above, the writer's, and one while an index is built.
pub(super) const ALL: usize = POINT + SCAN + STREAM + RELAY + 1 + 1;
