//! Brings the schema of the database to this version's, one process at a time and however long it takes.

use std::time::Duration;

use migration::{Comparison, Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::time::Instant;

use crate::store::{
    db::{
        connection::Source,
        pools::Pools,
        postgres::{session::Opener, settings::Purpose},
        statement::Sql,
    },
    error::StoreError,
};

/// Why the schema could not be migrated. The message is for the person who starts the server.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "the database was migrated by a newer version of Coir: its step `{0}` is unknown to this one; start that version, or a later one"
    )]
    Newer(String),
    /// Only told where nothing is migrated.
    #[error("there are no tables of Coir in it")]
    Empty,
    /// Only told where nothing is migrated.
    #[error(
        "the database's schema is of an older version of Coir; start the server of this version, or run `coir migrate`"
    )]
    Older,
    #[error("the database schema cannot be migrated: {0}")]
    Failed(#[from] StoreError),
}

type Result<T> = std::result::Result<T, MigrateError>;

/// An arbitrary number that must be the same in every version of Coir: the holder of this advisory lock migrates.
const MIGRATION_LOCK: i64 = 0x0043_4f49_5221;
const LOCK: Sql = Sql::same("SELECT pg_try_advisory_lock($1)");
/// How often a process looks whether the one that it waits for is done.
const LOOK: Duration = Duration::from_millis(250);
/// How often a process says that it waits.
const SAY: Duration = Duration::from_secs(5);
/// How long a step waits for a table that somebody reads. Everybody who comes later waits behind it, so it gives up soon, and
/// tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Migrates the schema. Waits without limit for another process that does the same, and says so in the log.
///
/// # Errors
/// [`MigrateError`].
pub(super) async fn migrate(pools: &Pools) -> Result<()> {
    match &pools.writes {
        Source::Sqlite(pool) => match is_behind(pool).await? {
            true => migrate_sqlite(pool).await,
            false => Ok(()),
        },
        Source::Postgres(opener, _) => migrate_postgres(opener).await,
    }
}

/// Checks that the schema is this version's. Writes nothing.
///
/// # Errors
/// [`MigrateError`].
pub(super) async fn check(db: &DatabaseConnection) -> Result<()> {
    if migration::compare(db).await.map_err(StoreError::from)?.applied == 0 {
        return Err(MigrateError::Empty);
    }
    match is_behind(db).await? {
        true => Err(MigrateError::Older),
        false => Ok(()),
    }
}

/// Checks the schema on PostgreSQL, in a session of its own.
///
/// # Errors
/// [`MigrateError`].
pub(super) async fn check_postgres(opener: &Opener) -> Result<()> {
    let session = opener.pool(Purpose::Schema(LOCK_TIMEOUT)).await.map_err(StoreError::from)?;
    let checked = check(&session).await;
    if let Err(err) = session.close().await {
        tracing::debug!("could not close the session that looks at the schema: {err}");
    }
    checked
}

/// Whether there are steps to run.
async fn is_behind(db: &DatabaseConnection) -> Result<bool> {
    let Comparison { pending, unknown, .. } = migration::compare(db).await.map_err(StoreError::from)?;
    match unknown.into_iter().next() {
        Some(step) => Err(MigrateError::Newer(step)),
        None => Ok(pending > 0),
    }
}

/// Runs the steps in a session of their own, whose statements may take as long as they need.
async fn migrate_postgres(opener: &Opener) -> Result<()> {
    // It has one session, because that owns the advisory lock.
    let session = opener.pool(Purpose::Schema(LOCK_TIMEOUT)).await.map_err(StoreError::from)?;
    let migrated = match is_behind(&session).await {
        Ok(true) => lock_and_run(&session).await,
        Ok(false) => Ok(()),
        Err(err) => Err(err),
    };
    // The end of the session releases the lock.
    if let Err(err) = session.close().await {
        tracing::debug!("could not close the session that migrates: {err}");
    }
    migrated
}

async fn lock_and_run(session: &DatabaseConnection) -> Result<()> {
    let mut waiting = Waiting::default();
    loop {
        let lock = LOCK.bind(session.get_database_backend(), [MIGRATION_LOCK.into()]);
        let row = session.query_one_raw(lock).await.map_err(StoreError::from)?;
        let row = row.map(|row| row.try_get_by_index::<bool>(0)).transpose().map_err(StoreError::from)?;
        if row == Some(true) {
            break;
        }
        waiting.wait("another process migrates the database").await;
    }
    // It may have been a newer version, or have done all there was to do.
    while is_behind(session).await? {
        match Migrator::up(session, None).await.map_err(StoreError::from) {
            Ok(()) => {}
            Err(err) if err.is_lock_timeout() => {
                waiting.wait("another session reads a table that is changed").await
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Runs the steps in one transaction, for which every other writer of the file waits.
async fn migrate_sqlite(db: &DatabaseConnection) -> Result<()> {
    let mut waiting = Waiting::default();
    loop {
        match db.execute_unprepared("BEGIN IMMEDIATE").await.map_err(StoreError::from) {
            Ok(_) => break,
            Err(err) if err.is_lock_timeout() => waiting.wait("another process writes to the database").await,
            Err(err) => return Err(err.into()),
        }
    }
    let migrated = match is_behind(db).await {
        Ok(true) => Migrator::up(db, None).await.map_err(|err| StoreError::from(err).into()),
        Ok(false) => Ok(()),
        Err(err) => Err(err),
    };
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = db.execute_unprepared(end).await;
    migrated.and_then(|()| ended.map(drop).map_err(|err| StoreError::from(err).into()))
}

/// Somebody else is at it. Says so now and then.
#[derive(Default)]
struct Waiting {
    said_at: Option<Instant>,
}

impl Waiting {
    async fn wait(&mut self, why: &str) {
        if self.said_at.is_none_or(|at| at.elapsed() >= SAY) {
            self.said_at = Some(Instant::now());
            tracing::warn!("waiting to migrate the database: {why}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
