//! Write transactions, with as few round trips as can be.
//!
//! Each statement costs a hop to SQLite's thread or a round trip to PostgreSQL, which under load is more than the
//! statement itself. So statements whose answer nobody needs are deferred: on SQLite, `BEGIN` travels with the first
//! query and the writes with `COMMIT`, as one text each, and a batch is two hops; on PostgreSQL the writes are one
//! statement. This is below what sea-orm's
//! transactions can express, so it speaks to the driver.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use sea_orm::{DatabaseConnection, DbBackend, DbErr, QueryResult, RuntimeErr};
use sqlx::{
    Arguments, AssertSqlSafe, Encode, Executor, PgConnection, Postgres, Sqlite, SqliteConnection, Type,
    pool::PoolConnection, postgres::PgArguments, sqlite::SqliteArguments,
};

use crate::store::{
    Result, Sql, StoreError,
    db::rows::{Rows, RowsSql},
};

/// A bound value.
#[derive(Clone, Debug)]
pub(in crate::store) enum Param {
    Text(String),
    OptionalText(Option<String>),
    Integer(i64),
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Param {
    fn from(text: Option<String>) -> Self {
        Self::OptionalText(text)
    }
}

impl From<i64> for Param {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// The writer's connection between its transactions. Kept out of the pool, which would test it each time.
#[derive(Clone, Default)]
pub(in crate::store) struct IdleConnection(Arc<Mutex<Option<Connection>>>);

impl IdleConnection {
    fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, connection: Connection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// Gives it back to its pool, so that the pool can be closed.
    pub(in crate::store) fn release(&self) {
        drop(self.take());
    }
}

/// A write transaction: on SQLite `BEGIN IMMEDIATE`, on PostgreSQL READ COMMITTED. Dropped, it is undone together with
/// its connection.
pub struct WriteTx {
    /// `None` once it has been given back.
    connection: Option<Connection>,
    idle: IdleConnection,
    /// Statements that are still to be run, before anything else is.
    deferred: Vec<(Cow<'static, str>, Vec<Param>)>,
    has_begun: bool,
    is_reused: bool,
    keeps_order: bool,
}

const BEGIN: Sql = Sql { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" };

/// Opens a transaction on the connection that is idle, or on a new one of the pool.
pub(in crate::store) async fn begin(
    pool: &DatabaseConnection,
    backend: DbBackend,
    idle: &IdleConnection,
) -> Result<WriteTx> {
    let reused = idle.take();
    let is_reused = reused.is_some();
    let connection = match reused {
        Some(connection) => connection,
        None if backend == DbBackend::Postgres => {
            Connection::Postgres(pool.get_postgres_connection_pool().acquire().await.map_err(driver_error)?)
        }
        None => Connection::Sqlite(pool.get_sqlite_connection_pool().acquire().await.map_err(driver_error)?),
    };
    let mut tx = WriteTx {
        connection: Some(connection),
        idle: idle.clone(),
        deferred: Vec::new(),
        has_begun: false,
        is_reused,
        keeps_order: false,
    };
    tx.defer(BEGIN, []);
    Ok(tx)
}

impl WriteTx {
    /// Commits. If the error is [of a statement](StoreError::is_statement_error), nothing happened; any other leaves the
    /// outcome unknown, and the log has to be read to know it.
    ///
    /// # Errors
    /// The database's own, also of the statements that were deferred.
    pub async fn commit(mut self) -> Result<()> {
        self.defer(Sql::same("COMMIT"), []);
        match self.flush().await {
            Ok(()) => self.give_back(),
            Err(err) if err.is_statement_error() => {
                self.rollback().await?;
                return Err(err);
            }
            Err(err) => return Err(err),
        }
        Ok(())
    }

    /// Whether its connection was idle before: the database may have gone and come back since, and trying again on a new
    /// one is worth it.
    pub fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Gives everything up.
    ///
    /// # Errors
    /// The database's own; then its connection is given up, too.
    pub async fn rollback(mut self) -> Result<()> {
        self.deferred.clear();
        if self.has_begun {
            self.defer(Sql::same("ROLLBACK"), []);
            self.flush().await?;
        }
        self.give_back();
        Ok(())
    }

    /// Marks a place to which [`WriteTx::rollback_to_savepoint`] returns.
    pub fn savepoint(&mut self) {
        self.defer(Sql::same("SAVEPOINT coir"), []);
    }

    /// Undoes what was written since the last savepoint, and forgets it. Deferred; what was deferred before it has failed.
    pub fn rollback_to_savepoint(&mut self) {
        self.deferred.clear();
        self.defer(Sql::same("ROLLBACK TO SAVEPOINT coir"), []);
        self.release_savepoint();
    }

    /// Forgets the last savepoint and keeps what was written since. Deferred.
    pub fn release_savepoint(&mut self) {
        self.defer(Sql::same("RELEASE SAVEPOINT coir"), []);
    }

    /// Whether the writes to follow are done in their order on PostgreSQL as well, each with a round trip. Joined, they are
    /// not: a document that takes a unique value would come before the one that gives it up.
    pub fn keep_order(&mut self, keeps: bool) {
        self.keeps_order = keeps;
    }

    /// Runs what was deferred.
    ///
    /// # Errors
    /// The database's own; some of the statements may have run.
    pub async fn flush(&mut self) -> Result<()> {
        let deferred = std::mem::take(&mut self.deferred);
        self.run(deferred).await.map(|_| ())
    }

    /// Runs a statement later, but before anything whose answer is waited for.
    pub(in crate::store) fn defer(&mut self, sql: Sql, params: impl IntoIterator<Item = Param>) {
        let text = if self.is_postgres() { sql.postgres } else { sql.sqlite };
        self.deferred.push((text.into(), params.into_iter().collect()));
    }

    /// The same with many rows; without any, nothing is run.
    pub(in crate::store) fn defer_rows(&mut self, sql: RowsSql, rows: Rows) {
        if rows.is_empty() {
            return;
        }
        if self.is_postgres() {
            self.deferred.push((sql.postgres.into(), vec![rows.into_json()]));
        } else {
            let statements = rows.into_values(sql);
            self.deferred.extend(statements.into_iter().map(|(text, params)| (text.into(), params)));
        }
    }

    /// The same, and returns the rows that these statements return.
    pub(in crate::store) async fn query_rows(
        &mut self,
        sql: RowsSql,
        rows: Rows,
    ) -> Result<Vec<QueryResult>> {
        self.defer_rows(sql, rows);
        let deferred = std::mem::take(&mut self.deferred);
        self.run(deferred).await
    }

    /// Runs a statement as it stands, of which nothing is a mark for a value.
    ///
    /// # Errors
    /// The database's own.
    pub(in crate::store) async fn execute_plain(&mut self, text: String) -> Result<()> {
        self.flush().await?;
        let statement = sqlx::raw_sql(AssertSqlSafe(text));
        match &mut self.connection {
            Some(Connection::Sqlite(connection)) => {
                connection.execute(statement).await.map(|_| ()).map_err(driver_error)
            }
            Some(Connection::Postgres(connection)) => {
                connection.execute(statement).await.map(|_| ()).map_err(driver_error)
            }
            None => Err(StoreError::custom("the transaction has ended")),
        }
    }

    fn is_postgres(&self) -> bool {
        matches!(self.connection, Some(Connection::Postgres(_)))
    }

    /// Runs a statement and returns its rows.
    pub(in crate::store) async fn query(
        &mut self,
        sql: Sql,
        params: impl IntoIterator<Item = Param>,
    ) -> Result<Vec<QueryResult>> {
        self.defer(sql, params);
        let deferred = std::mem::take(&mut self.deferred);
        self.run(deferred).await
    }

    /// Runs statements in order and returns the rows of the last; the others have none.
    async fn run(&mut self, statements: Vec<(Cow<'static, str>, Vec<Param>)>) -> Result<Vec<QueryResult>> {
        self.has_begun |= !statements.is_empty();
        match &mut self.connection {
            _ if statements.is_empty() => Ok(Vec::new()),
            Some(Connection::Sqlite(connection)) => run_sqlite(connection, statements).await,
            Some(Connection::Postgres(connection)) => {
                run_postgres(connection, statements, !self.keeps_order).await
            }
            None => Err(StoreError::custom("the transaction has ended")),
        }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.idle.put(connection);
        }
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        // A connection with an open transaction must not reach anyone else: it is taken out of the pool and closed.
        match self.connection.take() {
            Some(Connection::Sqlite(connection)) => drop(connection.detach()),
            Some(Connection::Postgres(connection)) => drop(connection.detach()),
            None => {}
        }
    }
}

/// All statements as one text, which is one hop. Its parts are few, so the texts are, and each is prepared once.
async fn run_sqlite(
    connection: &mut SqliteConnection,
    statements: Vec<(Cow<'static, str>, Vec<Param>)>,
) -> Result<Vec<QueryResult>> {
    let (mut text, mut arguments) = (String::new(), SqliteArguments::default());
    for (statement, params) in statements {
        let params = append_unnumbered(&mut text, &statement, params);
        text.push(';');
        params.into_iter().try_for_each(|param| bind(&mut arguments, param))?;
    }
    let rows =
        connection.fetch_all(sqlx::query_with(AssertSqlSafe(text), arguments)).await.map_err(driver_error)?;
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

fn bind<A: Arguments>(arguments: &mut A, param: Param) -> Result<()>
where
    String: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    Option<String>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    i64: for<'q> Encode<'q, A::Database> + Type<A::Database>,
{
    match param {
        Param::Text(value) => arguments.add(value),
        Param::OptionalText(value) => arguments.add(value),
        Param::Integer(value) => arguments.add(value),
    }
    .map_err(|err| driver_error(sqlx::Error::Encode(err)))
}

/// Neighbouring writes as one statement, which is one round trip: none of them looks at what another does, and a unique
/// index that takes offence at their order has the batch done again, in parts and in order.
async fn run_postgres(
    connection: &mut PgConnection,
    statements: Vec<(Cow<'static, str>, Vec<Param>)>,
    joins: bool,
) -> Result<Vec<QueryResult>> {
    let is_write = |text: &str| ["INSERT", "UPDATE", "DELETE"].iter().any(|verb| text.starts_with(verb));
    let is_mark =
        |text: &str| ["SAVEPOINT", "RELEASE", "ROLLBACK TO"].iter().any(|verb| text.starts_with(verb));
    let mut rows = Vec::new();
    let mut statements = statements.into_iter().peekable();
    while statements.peek().is_some() {
        let mut marks = Vec::new();
        while let Some((mark, _)) = statements.next_if(|(text, _)| is_mark(text)) {
            marks.push(mark);
        }
        if !marks.is_empty() {
            let marks = sqlx::raw_sql(AssertSqlSafe(marks.join(";")));
            connection.execute(marks).await.map_err(driver_error)?;
            continue;
        }
        let (mut text, mut arguments, mut bound, mut joined) = (String::new(), PgArguments::default(), 0, 0);
        while let Some((statement, params)) = statements.next() {
            let is_last = !joins
                || !is_write(&statement)
                || statements.peek().is_none_or(|(following, _)| !is_write(following));
            if is_last {
                text.push(' ');
                append_renumbered(&mut text, &statement, bound);
            } else {
                text.push_str(if joined == 0 { "WITH " } else { ", " });
                text.push_str(&format!("w{joined} AS ("));
                append_renumbered(&mut text, &statement, bound);
                text.push(')');
                joined += 1;
            }
            bound += params.len();
            params.into_iter().try_for_each(|param| bind(&mut arguments, param))?;
            if is_last {
                break;
            }
        }
        rows = connection
            .fetch_all(sqlx::query_with(AssertSqlSafe(text), arguments))
            .await
            .map_err(driver_error)?;
    }
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

/// Appends a statement for SQLite with every parameter as `?`, and returns the values in the order of their places.
///
/// Numbers would have to go on from statement to statement. But a statement that begins at `?7` has seven parameters for
/// SQLite, of which the driver takes six for some without number, and leaves others unbound, which is `NULL`.
fn append_unnumbered(text: &mut String, statement: &str, params: Vec<Param>) -> Vec<Param> {
    let (mut rest, mut placed) = (statement, Vec::new());
    while let Some(place) = rest.find(PARAMETER_MARKS) {
        let (before, number, after) = split_parameter(rest, place);
        text.push_str(before);
        match number {
            Some(number) => {
                text.push('?');
                placed.extend(params.get(number - 1).cloned());
            }
            // One of many rows, which has no number; or a JSON path in quotes.
            None => text.push_str(&rest[place..=place]),
        }
        rest = after;
    }
    text.push_str(rest);
    // A statement has either numbers or none.
    if placed.is_empty() { params } else { placed }
}

/// Appends a statement for PostgreSQL whose parameters begin after those that are bound already.
fn append_renumbered(text: &mut String, statement: &str, bound: usize) {
    let mut rest = statement;
    while let Some(place) = rest.find(PARAMETER_MARKS) {
        let (before, number, after) = split_parameter(rest, place);
        text.push_str(before);
        match number {
            Some(number) => text.push_str(&format!("${}", number + bound)),
            None => text.push_str(&rest[place..=place]),
        }
        rest = after;
    }
    text.push_str(rest);
}

const PARAMETER_MARKS: [char; 2] = ['?', '$'];

/// What stands before a mark, the number behind it (from 1), and the rest.
fn split_parameter(text: &str, place: usize) -> (&str, Option<usize>, &str) {
    let (before, after) = text.split_at(place);
    let after = &after[1..];
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    (before, after[..digits].parse().ok().filter(|number| *number > 0), &after[digits..])
}

fn driver_error(err: sqlx::Error) -> StoreError {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(err))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_joined_without_mixing_their_parameters_up() {
        for (statement, sqlite, postgres) in [
            ("SELECT ?1, ?12", "SELECT ?, ?", "SELECT $3, $14"),
            ("SELECT $2, $1", "SELECT ?, ?", "SELECT $4, $3"),
            ("VALUES (?,?)", "VALUES (?,?)", "VALUES (?,?)"),
            ("jsonb_extract(value, '$[6]')", "jsonb_extract(value, '$[6]')", "jsonb_extract(value, '$[6]')"),
            ("COMMIT", "COMMIT", "COMMIT"),
        ] {
            let (mut for_sqlite, mut for_postgres) = (String::new(), String::new());
            append_unnumbered(&mut for_sqlite, statement, Vec::new());
            append_renumbered(&mut for_postgres, statement, 2);
            assert_eq!((for_sqlite.as_str(), for_postgres.as_str()), (sqlite, postgres));
        }
    }

    #[test]
    fn values_follow_the_order_of_their_places() {
        let params = vec![Param::Integer(1), Param::Integer(2)];
        let placed = append_unnumbered(&mut String::new(), "SELECT $2, $1, $2", params);
        let numbers: Vec<_> = placed.iter().map(|param| format!("{param:?}")).collect();
        assert_eq!(numbers, ["Integer(2)", "Integer(1)", "Integer(2)"]);
    }
}
