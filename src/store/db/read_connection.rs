//! The connection that one read has, on either database.

use std::{ops::ControlFlow, sync::Arc};

use futures_util::TryStreamExt;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    StatementBuilder, StreamTrait, prelude::async_trait::async_trait,
};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, query::Query};
use tokio::sync::Mutex;

use crate::store::{
    db::postgres::{
        session::{Opener, Session},
        settings::Purpose,
    },
    error::{Result, is_session_error, of_driver},
};

/// The connection that one read borrows. Cheap to clone.
///
/// On PostgreSQL, a statement whose session was ended by the server is run once more on a new one, so that a restart or an
/// administrator does not fail a request. A future that is dropped while a statement runs takes the session with it.
#[derive(Clone)]
pub struct ReadConnection(Kind);

#[derive(Clone)]
enum Kind {
    Sqlite(DatabaseConnection),
    Postgres(Arc<PostgresReader>),
}

struct PostgresReader {
    /// `None` while a statement runs, and after its session failed.
    session: Mutex<Option<Session>>,
    /// How a new session is opened; `None` if this one holds something that another one would not have.
    renewal: Option<(Opener, Purpose)>,
}

/// The work of one call on a session.
enum Work<'a> {
    /// All rows of a statement.
    All(&'a Statement),
    /// The first row of a statement.
    First(&'a Statement),
    /// How many rows a statement changed.
    Execute(&'a Statement),
    /// The same for a text that is not prepared.
    Unprepared(&'a str),
}

/// What came of [`Work`].
enum Done {
    Rows(Vec<QueryResult>),
    Executed(ExecResult),
}

impl ReadConnection {
    pub(in crate::store) fn sqlite(connection: DatabaseConnection) -> Self {
        Self(Kind::Sqlite(connection))
    }

    /// Takes a session that is replaced if it fails.
    pub(in crate::store) fn postgres(session: Session, opener: Opener, purpose: Purpose) -> Self {
        Self(Kind::Postgres(Arc::new(PostgresReader {
            session: Mutex::new(Some(session)),
            renewal: Some((opener, purpose)),
        })))
    }

    /// Takes a session that is not replaced, because it holds a lock.
    pub(in crate::store) fn irreplaceable(session: Session) -> Self {
        Self(Kind::Postgres(Arc::new(PostgresReader { session: Mutex::new(Some(session)), renewal: None })))
    }

    /// Takes the session of PostgreSQL out, if it is good and no statement runs on it.
    pub(in crate::store) fn take_session(&self) -> Option<Session> {
        match &self.0 {
            Kind::Sqlite(_) => None,
            Kind::Postgres(reader) => reader.session.try_lock().ok()?.take(),
        }
    }

    /// Hands each row of a statement to `take`, until that breaks or fails. No row is kept.
    ///
    /// # Errors
    /// A database failure, or that of `take`.
    pub async fn visit<S: StatementBuilder + Sync>(
        &self,
        statement: &S,
        mut take: impl FnMut(QueryResult) -> Result<ControlFlow<()>> + Send,
    ) -> Result<()> {
        match &self.0 {
            Kind::Sqlite(connection) => {
                let mut rows = connection.stream(statement).await?;
                while let Some(row) = rows.try_next().await? {
                    if take(row)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Kind::Postgres(reader) => reader.visit(&DbBackend::Postgres.build(statement), &mut take).await,
        }
    }
}

impl PostgresReader {
    async fn run(&self, work: Work<'_>) -> std::result::Result<Done, DbErr> {
        let mut place = self.session.lock().await;
        let mut may_retry = self.renewal.is_some();
        loop {
            let mut session = self.take_or_open(&mut place).await?;
            match work.run(&mut session.connection).await {
                Ok(done) => {
                    session.note_use();
                    *place = Some(session);
                    return Ok(done);
                }
                Err(err) if !is_session_error(&err) => {
                    *place = Some(session);
                    return Err(of_driver(err));
                }
                Err(err) if !std::mem::take(&mut may_retry) => return Err(of_driver(err)),
                Err(err) => tracing::debug!("a statement runs again on a new session: {err}"),
            }
        }
    }

    async fn visit(
        &self,
        statement: &Statement,
        take: &mut (impl FnMut(QueryResult) -> Result<ControlFlow<()>> + Send),
    ) -> Result<()> {
        let mut place = self.session.lock().await;
        let mut may_retry = self.renewal.is_some();
        loop {
            let mut session = self.take_or_open(&mut place).await?;
            let mut rows = session.connection.fetch(query(statement));
            let err = loop {
                match rows.try_next().await {
                    Ok(Some(row)) => {
                        // A row was taken, so the statement cannot run again.
                        may_retry = false;
                        if take(row.into())?.is_break() {
                            // The rows that are under way would have to be read before the next statement.
                            return Ok(());
                        }
                    }
                    Ok(None) => break None,
                    Err(err) => break Some(err),
                }
            };
            drop(rows);
            match err {
                Some(err) if is_session_error(&err) => {
                    if !std::mem::take(&mut may_retry) {
                        return Err(err.into());
                    }
                }
                err => {
                    session.note_use();
                    *place = Some(session);
                    return err.map_or(Ok(()), |err| Err(err.into()));
                }
            }
        }
    }

    async fn take_or_open(&self, place: &mut Option<Session>) -> std::result::Result<Session, DbErr> {
        if let Some(session) = place.take() {
            return Ok(session);
        }
        match &self.renewal {
            Some((opener, purpose)) => Ok(opener.open(*purpose).await?),
            None => Err(DbErr::Custom("the session has ended".to_owned())),
        }
    }
}

impl Work<'_> {
    async fn run(&self, connection: &mut PgConnection) -> std::result::Result<Done, sqlx::Error> {
        Ok(match self {
            Self::All(statement) => {
                let rows = connection.fetch_all(query(statement)).await?;
                Done::Rows(rows.into_iter().map(QueryResult::from).collect())
            }
            Self::First(statement) => {
                let row = connection.fetch_optional(query(statement)).await?;
                Done::Rows(row.map(QueryResult::from).into_iter().collect())
            }
            Self::Execute(statement) => Done::Executed(connection.execute(query(statement)).await?.into()),
            Self::Unprepared(text) => {
                let text = sqlx::raw_sql(AssertSqlSafe((*text).to_owned()));
                Done::Executed(connection.execute(text).await?.into())
            }
        })
    }
}

fn query(statement: &Statement) -> Query<'_, Postgres, SqlxValues> {
    let values = statement.values.clone().unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql.as_str()), SqlxValues(values))
}

impl Done {
    fn rows(self) -> Vec<QueryResult> {
        match self {
            Self::Rows(rows) => rows,
            Self::Executed(_) => Vec::new(),
        }
    }

    fn executed(self) -> std::result::Result<ExecResult, DbErr> {
        match self {
            Self::Executed(result) => Ok(result),
            Self::Rows(_) => Err(DbErr::Custom("the statement returned rows".to_owned())),
        }
    }
}

#[async_trait]
impl ConnectionTrait for ReadConnection {
    fn get_database_backend(&self) -> DbBackend {
        match &self.0 {
            Kind::Sqlite(_) => DbBackend::Sqlite,
            Kind::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> std::result::Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(connection) => connection.execute_raw(statement).await,
            Kind::Postgres(reader) => reader.run(Work::Execute(&statement)).await?.executed(),
        }
    }

    async fn execute_unprepared(&self, text: &str) -> std::result::Result<ExecResult, DbErr> {
        match &self.0 {
            Kind::Sqlite(connection) => connection.execute_unprepared(text).await,
            Kind::Postgres(reader) => reader.run(Work::Unprepared(text)).await?.executed(),
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> std::result::Result<Option<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite(connection) => connection.query_one_raw(statement).await,
            Kind::Postgres(reader) => Ok(reader.run(Work::First(&statement)).await?.rows().pop()),
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> std::result::Result<Vec<QueryResult>, DbErr> {
        match &self.0 {
            Kind::Sqlite(connection) => connection.query_all_raw(statement).await,
            Kind::Postgres(reader) => Ok(reader.run(Work::All(&statement)).await?.rows()),
        }
    }
}
