//! Opens the connections to PostgreSQL.

use std::{str::FromStr, time::Duration};

use sea_orm::{DbBackend, SqlxPostgresConnector};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::store::db::{
    pools::{ACQUIRE_TIMEOUT, ConnectError, Durability, Lanes, Pools},
    readers::Readers,
};

/// When PostgreSQL ends a write that hangs. Until then it may hold the lock of a project's log.
const STATEMENT_TIMEOUT: &str = "10s";

/// Opens the pools of the server that a URL names.
pub(super) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> Result<Pools, ConnectError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|err| ConnectError::BadUrl(err.to_string()))?
        .application_name("coir")
        .disable_statement_logging();
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let explain = |err| match err {
        // The pool retries a refused connection until its timeout.
        sqlx::Error::PoolTimedOut => ConnectError::Silent(place.clone()),
        err => ConnectError::Refused(place.clone(), err),
    };
    let pool = |connections: u32| {
        PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).max_lifetime(None)
    };
    let synchronous_commit = match durability {
        Durability::Full => "on",
        Durability::Normal => "off",
    };
    let writer = options.clone().options([
        ("synchronous_commit", synchronous_commit),
        ("statement_timeout", STATEMENT_TIMEOUT),
        // A process that hangs must not hold the lock of a project's log for ever.
        ("idle_in_transaction_session_timeout", STATEMENT_TIMEOUT),
    ]);
    let reader = options.clone().options([
        ("statement_timeout", format!("{}ms", query_limit.as_millis()).as_str()),
        ("default_transaction_read_only", "on"),
        // All collections share one table, so reading it from end to end reads what belongs to others.
        ("enable_seqscan", "off"),
        // The data is mostly in memory, so following an index is cheaper than a sort.
        ("random_page_cost", "1.1"),
    ]);
    let write = pool(1).connect_with(writer).await.map_err(explain)?;
    // The database has answered, so the lanes connect when they are used.
    let lane = |count: u32| {
        let pool = pool(count).connect_lazy_with(reader.clone());
        let pool = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        Readers::postgres(count as usize, ACQUIRE_TIMEOUT, pool)
    };
    let scan = lane(7);
    Ok(Pools {
        backend: DbBackend::Postgres,
        write: SqlxPostgresConnector::from_sqlx_postgres_pool(write),
        lanes: Lanes { point: lane(4), index: scan.clone(), scan, stream: lane(5), relay: lane(2) },
        postgres: Some(options),
    })
}
