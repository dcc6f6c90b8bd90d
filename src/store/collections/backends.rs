//! Sessions of PostgreSQL as the database itself sees them: how another connection learns that one has gone silent.

use sea_orm::ConnectionTrait;

use crate::store::{Result, Sql, StoreError};

/// A session on the database's side. Ids of processes come again, so the time of its start belongs to it.
#[derive(Clone, Debug)]
pub struct Backend {
    pid: i32,
    begun: String,
}

const FIND_OWN: Sql =
    Sql::same("SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()");
const IS_ACTIVE: Sql =
    Sql::same("SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2");
const END: Sql = Sql::same(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2",
);

impl Backend {
    /// Finds the backend of this session.
    ///
    /// # Errors
    /// A database failure.
    pub async fn of(session: &impl ConnectionTrait) -> Result<Self> {
        let row = session.query_one_raw(FIND_OWN.bind(session.get_database_backend(), [])).await?;
        let row = row.ok_or_else(|| StoreError::custom("the database doesn't list the session"))?;
        Ok(Self { pid: row.try_get_by_index(0)?, begun: row.try_get_by_index(1)? })
    }

    /// Whether it is running a statement.
    ///
    /// # Errors
    /// A database failure.
    pub async fn is_active(&self, db: &impl ConnectionTrait) -> Result<bool> {
        let row = db.query_one_raw(IS_ACTIVE.bind(db.get_database_backend(), self.values())).await?;
        let is_active = row.map(|row| row.try_get_by_index::<Option<bool>>(0)).transpose()?;
        Ok(is_active.flatten().unwrap_or(false))
    }

    /// Ends it, and gives up its locks. It is no error if it has ended already.
    ///
    /// # Errors
    /// A database failure.
    pub async fn end(&self, db: &impl ConnectionTrait) -> Result<()> {
        Ok(db.query_one_raw(END.bind(db.get_database_backend(), self.values())).await.map(drop)?)
    }

    fn values(&self) -> [sea_orm::Value; 2] {
        [i64::from(self.pid).into(), self.begun.clone().into()]
    }
}
