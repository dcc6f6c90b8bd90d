//! The connection of a write transaction: how it runs several statements with one hop or round trip.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{DatabaseConnection, DbBackend, QueryResult};
use sqlx::{
    Arguments, AssertSqlSafe, Encode, Executor, PgConnection, Sqlite, SqliteConnection, Type,
    pool::PoolConnection, postgres::PgArguments, sqlite::SqliteArguments,
};

use crate::store::{
    db::{
        placeholders::{append_renumbered, append_unnumbered},
        postgres::{
            session::{Opener, Session},
            settings::{Purpose, STATEMENT_TIMEOUT},
        },
        statement::{BoundStatement, Param},
    },
    error::{Result, StoreError},
};

/// Where the writer's connection comes from.
#[derive(Clone)]
pub(super) enum Source {
    /// A pool of one.
    Sqlite(DatabaseConnection),
    Postgres(Opener, Purpose),
}

/// The writer's connection.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(Session),
}

/// How long a statement of PostgreSQL is waited for. The server ends it before that, unless it is out of reach.
const ANSWER_TIMEOUT: Duration = STATEMENT_TIMEOUT.saturating_add(Duration::from_secs(2));

/// Whether PostgreSQL may run neighbouring writes as one statement, in no particular order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOrder {
    /// One round trip for all of them. A document that takes a unique value may come before the one that gives it up.
    Any,
    /// One round trip for each, in the order in which they were deferred.
    Kept,
}

/// The writer's connection between its transactions.
#[derive(Clone, Default)]
pub(super) struct IdleConnection(Arc<Mutex<Option<Connection>>>);

impl IdleConnection {
    pub(super) fn take(&self) -> Option<Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether no transaction has the connection.
    pub(super) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn put(&self, connection: Connection) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
}

impl Source {
    /// Opens a connection.
    pub(super) async fn open(&self) -> Result<Connection> {
        Ok(match self {
            Self::Sqlite(pool) => Connection::Sqlite(pool.get_sqlite_connection_pool().acquire().await?),
            Self::Postgres(opener, purpose) => Connection::Postgres(opener.open(*purpose).await?),
        })
    }

    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(..) => DbBackend::Postgres,
        }
    }
}

impl Connection {
    /// Whether the connection may be used for another transaction.
    pub(super) async fn is_good(&mut self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(session) => session.is_good().await,
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::Sqlite(_) => DbBackend::Sqlite,
            Self::Postgres(_) => DbBackend::Postgres,
        }
    }

    /// Runs statements in order, and returns the rows of the last. The others must have none.
    pub(super) async fn run(
        &mut self,
        statements: Vec<BoundStatement>,
        order: WriteOrder,
    ) -> Result<Vec<QueryResult>> {
        match self {
            Self::Sqlite(connection) => run_sqlite(connection, statements).await,
            Self::Postgres(session) => {
                let work = run_postgres(&mut session.connection, statements, order);
                let rows = work.await?;
                session.note_use();
                Ok(rows)
            }
        }
    }

    /// Runs a text in which nothing stands for a value.
    pub(super) async fn execute(&mut self, text: String) -> Result<()> {
        let statement = sqlx::raw_sql(AssertSqlSafe(text));
        match self {
            Self::Sqlite(connection) => connection.execute(statement).await.map(drop)?,
            Self::Postgres(session) => in_time(session.connection.execute(statement)).await.map(drop)?,
        }
        Ok(())
    }

    /// Closes the connection, which undoes its transaction.
    pub(super) fn close(self) {
        match self {
            Self::Sqlite(connection) => drop(connection.detach()),
            Self::Postgres(session) => drop(session),
        }
    }

    /// Closes a connection that failed.
    pub(super) fn give_up(self) {
        match self {
            Self::Sqlite(connection) => drop(connection.detach()),
            Self::Postgres(session) => session.give_up(),
        }
    }

    /// Gives up a connection without an open transaction, at the end of the process.
    pub(super) async fn release(self) {
        match self {
            // Returns to its pool.
            Self::Sqlite(connection) => drop(connection),
            Self::Postgres(session) => session.close().await,
        }
    }
}

/// Waits for an answer of PostgreSQL.
async fn in_time<T>(work: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    Ok(answer.map_err(|_| StoreError::no_answer())??)
}

/// Runs all statements as one text, which is one hop to SQLite's thread. There are few different texts, because there are
/// few different parts, and each is prepared once.
async fn run_sqlite(
    connection: &mut SqliteConnection,
    statements: Vec<BoundStatement>,
) -> Result<Vec<QueryResult>> {
    let (mut text, mut arguments) = (String::new(), SqliteArguments::default());
    for BoundStatement { text: statement, params } in statements {
        let params = append_unnumbered(&mut text, &statement, params);
        text.push(';');
        params.into_iter().try_for_each(|param| bind(&mut arguments, param))?;
    }
    let rows = connection.fetch_all(sqlx::query_with(AssertSqlSafe(text), arguments)).await?;
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

/// Runs neighbouring writes as one statement, which is one round trip. No write reads what another writes. If a unique
/// index rejects their order, the writer retries the batch in parts and in order.
async fn run_postgres(
    connection: &mut PgConnection,
    statements: Vec<BoundStatement>,
    order: WriteOrder,
) -> Result<Vec<QueryResult>> {
    let mut rows = Vec::new();
    let mut statements = statements.into_iter().peekable();
    while statements.peek().is_some() {
        let mut savepoints = Vec::new();
        while let Some(statement) = statements.next_if(|next| is_savepoint(&next.text)) {
            savepoints.push(statement.text);
        }
        if !savepoints.is_empty() {
            in_time(connection.execute(sqlx::raw_sql(AssertSqlSafe(savepoints.join(";"))))).await?;
            continue;
        }
        let joined = join_writes(&mut statements, order)?;
        let query = sqlx::query_with(AssertSqlSafe(joined.text), joined.arguments);
        rows = in_time(connection.fetch_all(query)).await?;
    }
    Ok(rows.into_iter().map(QueryResult::from).collect())
}

/// A statement of PostgreSQL that is ready to run.
struct Joined {
    text: String,
    arguments: PgArguments,
}

/// Joins the next statement with the writes behind it: `WITH w0 AS (…), w1 AS (…) …`.
fn join_writes(
    statements: &mut std::iter::Peekable<impl Iterator<Item = BoundStatement>>,
    order: WriteOrder,
) -> Result<Joined> {
    let mut joined = Joined { text: String::new(), arguments: PgArguments::default() };
    let (mut bound, mut count) = (0, 0);
    while let Some(statement) = statements.next() {
        let is_last = order == WriteOrder::Kept
            || !is_write(&statement.text)
            || statements.peek().is_none_or(|following| !is_write(&following.text));
        if is_last {
            joined.text.push(' ');
            append_renumbered(&mut joined.text, &statement.text, bound);
        } else {
            joined.text.push_str(if count == 0 { "WITH " } else { ", " });
            joined.text.push_str(&format!("w{count} AS ("));
            append_renumbered(&mut joined.text, &statement.text, bound);
            joined.text.push(')');
            count += 1;
        }
        bound += statement.params.len();
        statement.params.into_iter().try_for_each(|param| bind_postgres(&mut joined.arguments, param))?;
        if is_last {
            break;
        }
    }
    Ok(joined)
}

fn is_write(text: &str) -> bool {
    ["INSERT", "UPDATE", "DELETE"].iter().any(|verb| text.starts_with(verb))
}

fn is_savepoint(text: &str) -> bool {
    ["SAVEPOINT", "RELEASE", "ROLLBACK TO"].iter().any(|verb| text.starts_with(verb))
}

fn bind_postgres(arguments: &mut PgArguments, param: Param) -> Result<()> {
    let bound = match param {
        Param::Texts(values) => arguments.add(values),
        Param::Integers(values) => arguments.add(values),
        single => return bind(arguments, single),
    };
    Ok(bound.map_err(sqlx::Error::Encode)?)
}

fn bind<A: Arguments>(arguments: &mut A, param: Param) -> Result<()>
where
    String: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    Option<String>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    i64: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    Option<i64>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
{
    let bound = match param {
        Param::Text(value) => arguments.add(value),
        Param::OptionalText(value) => arguments.add(value),
        Param::OptionalInteger(value) => arguments.add(value),
        Param::Integer(value) => arguments.add(value),
        Param::Texts(_) | Param::Integers(_) => {
            return Err(StoreError::custom("this database takes many rows as single values"));
        }
    };
    Ok(bound.map_err(sqlx::Error::Encode)?)
}
