//! Opens the pools of either database, and migrates the schema.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::DbBackend;

use crate::store::{
    db::{
        pools::{ACQUIRE_TIMEOUT, ConnectError, Durability, Pools},
        postgres, sqlite,
    },
    error::Result,
};

/// Opens the pools of the database that a URL names.
pub(super) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Pools, ConnectError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        postgres::connect(url, durability, query_limit).await
    } else if url.starts_with("sqlite:") {
        sqlite::connect(url, durability).await
    } else {
        Err(ConnectError::BadUrl("unknown scheme".to_owned()))
    }
}

/// An arbitrary number that must be the same in every version of Coir: the holder of this advisory lock migrates.
const MIGRATION_LOCK: i64 = 0x0043_4f49_5221;

/// Migrates the schema, one process at a time.
pub(super) async fn migrate(pools: &Pools) -> Result<()> {
    if pools.backend != DbBackend::Postgres {
        return Ok(Migrator::up(&pools.write, None).await?);
    }
    // The lock needs a session of its own. A reader's session will do, because an advisory lock writes nothing.
    let borrowed = pools.lanes.scan.borrow(ACQUIRE_TIMEOUT).await?;
    let connection = borrowed.connection();
    let mut session = connection.get_postgres_connection_pool().acquire().await?;
    lock(&mut session, "SELECT pg_advisory_lock($1)").await?;
    let migrated = Migrator::up(&pools.write, None).await;
    lock(&mut session, "SELECT pg_advisory_unlock($1)").await?;
    Ok(migrated?)
}

async fn lock(session: &mut sqlx::PgConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).bind(MIGRATION_LOCK).execute(session).await?;
    Ok(())
}
