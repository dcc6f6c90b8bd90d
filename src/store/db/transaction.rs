//! Write transactions, with as few round trips as possible.
//!
//! Each statement costs a hop to SQLite's thread or a round trip to PostgreSQL, which under load takes longer than the
//! statement itself. So a statement whose answer nobody needs is deferred. On SQLite, `BEGIN` travels with the first query
//! and the writes travel with `COMMIT`, so a batch takes two hops. On PostgreSQL the writes become one statement. The
//! transactions of sea-orm can't express this, so [`WriteTx`] speaks to the driver.

use sea_orm::{DbBackend, QueryResult};

use crate::store::{
    db::{
        checkpoints::{Checkpoints, RestartPermit},
        connection::{Connection, IdleConnection, WriteOrder},
        pools::Pools,
        rows::{Rows, RowsSql},
        statement::{BoundStatement, Param, Sql},
        writes_in_progress::WriteInProgress,
    },
    error::{Result, StoreError},
};

/// A write transaction: `BEGIN IMMEDIATE` on SQLite, READ COMMITTED on PostgreSQL. When it is dropped, its connection is
/// closed, which undoes it.
pub struct WriteTx {
    /// `None` once it was given back, or failed.
    connection: Option<Connection>,
    idle: IdleConnection,
    /// Statements to run before the next one whose answer is needed.
    deferred: Vec<BoundStatement>,
    has_begun: bool,
    is_reused: bool,
    order: WriteOrder,
    checkpoints: Option<Checkpoints>,
    _in_progress: WriteInProgress,
}

const BEGIN: Sql = Sql { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" };

/// Opens a transaction on the idle connection, or on a new one.
pub(super) async fn begin(pools: &Pools) -> Result<WriteTx> {
    let in_progress = pools.in_progress.begin();
    let mut reused = pools.idle.take();
    if let Some(connection) = &mut reused
        && !connection.is_good().await
    {
        reused = None;
    }
    let is_reused = reused.is_some();
    let connection = match reused {
        Some(connection) => connection,
        None => pools.writes.open().await?,
    };
    let mut tx = WriteTx {
        connection: Some(connection),
        idle: pools.idle.clone(),
        deferred: Vec::new(),
        has_begun: false,
        is_reused,
        order: WriteOrder::Any,
        checkpoints: pools.checkpoints.clone(),
        _in_progress: in_progress,
    };
    if let Some(_permit) = pools.checkpoints.as_ref().and_then(Checkpoints::restart) {
        // The transaction has the connection already: if this fails or is given up, no other one gets it with this setting.
        tx.connection()?.execute(RestartPermit::statements()).await?;
    }
    tx.defer(BEGIN, []);
    Ok(tx)
}

impl WriteTx {
    /// Commits. After a [statement error](StoreError::is_statement_error) nothing was written. After any other error the
    /// outcome is unknown, and only the log can tell it.
    ///
    /// # Errors
    /// A database failure, also of the deferred statements.
    pub async fn commit(mut self) -> Result<()> {
        self.defer(Sql::same("COMMIT"), []);
        match self.flush().await {
            Ok(()) => {
                self.give_back();
                if let Some(checkpoints) = &self.checkpoints {
                    checkpoints.note_commit();
                }
            }
            Err(err) if err.is_statement_error() => {
                self.rollback().await?;
                return Err(err);
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Whether the connection was idle before. The database may have restarted meanwhile, so a retry on a new connection
    /// may succeed.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Runs the statements that would go before the commit, where they take a message of their own, so that the outcome of the
    /// transaction is unknown only if the commit itself fails. After an error nothing was written.
    ///
    /// # Errors
    /// A database failure.
    pub async fn settle(&mut self) -> Result<()> {
        match self.backend() {
            DbBackend::Postgres => self.flush().await,
            _ => Ok(()),
        }
    }

    /// Allows this process to compute for ten seconds between two statements, where PostgreSQL else takes it for asleep and ends
    /// the transaction. Must come before any other statement. Deferred.
    pub fn allow_long_pause(&mut self) {
        if self.backend() == DbBackend::Postgres {
            self.defer(Sql::same("SET LOCAL idle_in_transaction_session_timeout = '10s'"), []);
        }
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// A database failure. Then the connection is closed.
    pub async fn rollback(mut self) -> Result<()> {
        self.deferred.clear();
        // A connection that failed is closed already.
        if self.has_begun && self.connection.is_some() {
            self.defer(Sql::same("ROLLBACK"), []);
            self.flush().await?;
        }
        self.give_back();
        Ok(())
    }

    /// Sets a savepoint, to which [`WriteTx::rollback_to_savepoint`] returns.
    pub fn savepoint(&mut self) {
        self.defer(Sql::same("SAVEPOINT coir"), []);
    }

    /// Undoes what was written since the last savepoint, and forgets the savepoint. Statements that are still deferred are
    /// dropped. The rollback itself is deferred.
    pub fn rollback_to_savepoint(&mut self) {
        self.deferred.clear();
        self.defer(Sql::same("ROLLBACK TO SAVEPOINT coir"), []);
        self.release_savepoint();
    }

    /// Forgets the last savepoint and keeps what was written since. Deferred.
    pub fn release_savepoint(&mut self) {
        self.defer(Sql::same("RELEASE SAVEPOINT coir"), []);
    }

    /// Sets in which order PostgreSQL runs the writes to come.
    pub fn set_write_order(&mut self, order: WriteOrder) {
        self.order = order;
    }

    /// Runs the deferred statements.
    ///
    /// # Errors
    /// A database failure. Some of the statements may have run.
    pub async fn flush(&mut self) -> Result<()> {
        self.run_deferred().await.map(drop)
    }

    /// Runs a statement later, but before the next one whose answer is needed.
    pub(in crate::store) fn defer(&mut self, sql: Sql, params: impl IntoIterator<Item = Param>) {
        let text = sql.text(self.backend()).into();
        self.deferred.push(BoundStatement { text, params: params.into_iter().collect() });
    }

    /// Runs a statement over many rows later. Without rows, nothing is run.
    pub(in crate::store) fn defer_rows(&mut self, sql: RowsSql, rows: Rows) {
        if rows.is_empty() {
            return;
        }
        if self.backend() == DbBackend::Postgres {
            self.deferred.push(rows.into_statement(sql));
        } else {
            self.deferred.extend(rows.into_statements(sql));
        }
    }

    /// Runs a statement over many rows, and returns the rows that it returns.
    pub(in crate::store) async fn query_rows(
        &mut self,
        sql: RowsSql,
        rows: Rows,
    ) -> Result<Vec<QueryResult>> {
        self.defer_rows(sql, rows);
        self.run_deferred().await
    }

    /// Runs a text in which nothing stands for a value, such as `CREATE INDEX`.
    ///
    /// # Errors
    /// A database failure.
    pub(in crate::store) async fn execute_plain(&mut self, text: String) -> Result<()> {
        self.flush().await?;
        let outcome = self.connection()?.execute(text).await;
        self.close_if_lost(outcome)
    }

    /// Closes a connection that is gone, or that does not answer, so that nobody waits for it again.
    fn close_if_lost<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(err) = &outcome
            && err.is_session_error()
            && let Some(connection) = self.connection.take()
        {
            connection.give_up();
        }
        outcome
    }

    /// Runs a statement and returns its rows.
    pub(in crate::store) async fn query(
        &mut self,
        sql: Sql,
        params: impl IntoIterator<Item = Param>,
    ) -> Result<Vec<QueryResult>> {
        self.defer(sql, params);
        self.run_deferred().await
    }

    async fn run_deferred(&mut self) -> Result<Vec<QueryResult>> {
        let statements = std::mem::take(&mut self.deferred);
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        self.has_begun = true;
        let order = self.order;
        let outcome = self.connection()?.run(statements, order).await;
        self.close_if_lost(outcome)
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| StoreError::custom("the transaction has ended"))
    }

    fn backend(&self) -> DbBackend {
        self.connection.as_ref().map_or(DbBackend::Sqlite, Connection::backend)
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.put(connection);
        }
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        // A connection with an open transaction must not reach anyone else.
        if let Some(connection) = self.connection.take() {
            connection.close();
        }
    }
}
