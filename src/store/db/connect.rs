//! Opens the pools of either database, and migrates the schema.

use std::time::Duration;

use crate::store::{
    db::{
        connection::Source,
        durability::Durability,
        pools::{ConnectError, Pools},
        postgres::{self, settings::Purpose, url::PostgresUrl},
        sqlite,
        url::{is_postgres, is_sqlite},
    },
    error::Result,
};
use migration::{Migrator, MigratorTrait};

/// Opens the pools of the database that a URL names.
pub(super) async fn connect(
    url: &str,
    durability: Durability,
    query_limit: Duration,
) -> std::result::Result<Pools, ConnectError> {
    if is_postgres(url) {
        let url = PostgresUrl::parse(url).map_err(ConnectError::BadUrl)?;
        Ok(postgres::connect(url, durability, query_limit).await?)
    } else if is_sqlite(url) {
        sqlite::connect(url, durability).await
    } else {
        Err(ConnectError::BadUrl("unknown scheme".to_owned()))
    }
}

/// An arbitrary number that must be the same in every version of Coir: the holder of this advisory lock migrates.
const MIGRATION_LOCK: i64 = 0x0043_4f49_5221;

/// Migrates the schema, one process at a time.
pub(super) async fn migrate(pools: &Pools) -> Result<()> {
    let opener = match &pools.writes {
        Source::Sqlite(pool) => return Ok(Migrator::up(pool, None).await?),
        Source::Postgres(opener, _) => opener,
    };
    // The lock needs a session of its own.
    let mut session = opener.open(Purpose::Long).await?;
    lock(&mut session.connection, "SELECT pg_advisory_lock($1)").await?;
    let pool = opener.pool(Purpose::Long).await?;
    let migrated = Migrator::up(&pool, None).await;
    pool.close().await?;
    // Closing the session releases the lock.
    session.close().await;
    Ok(migrated?)
}

async fn lock(session: &mut sqlx::PgConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).bind(MIGRATION_LOCK).execute(session).await?;
    Ok(())
}
