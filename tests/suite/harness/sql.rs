//! SQL that bypasses the server, for tests of what its API doesn't show or can't do.

use sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};

/// A connection to a test's database that bypasses the server.
pub enum Sql {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Sql {
    /// Connects to the database that a server was started with.
    pub async fn connect(database_url: &str) -> Self {
        if database_url.starts_with("sqlite:") {
            Self::Sqlite(SqliteConnection::connect(database_url).await.unwrap())
        } else {
            Self::Postgres(PgConnection::connect(database_url).await.unwrap())
        }
    }

    /// Runs one or several statements.
    pub async fn execute(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(|_| ()).unwrap(),
            Self::Postgres(connection) => connection.execute(sql).await.map(|_| ()).unwrap(),
        }
    }

    /// Returns the first column of every row, which must be an integer.
    pub async fn integers(&mut self, sql: &str) -> Vec<i64> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => {
                connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(connection) => {
                connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Returns the first column of every row, which must be text.
    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => {
                connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
            Self::Postgres(connection) => {
                connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get(0)).collect()
            }
        }
    }

    /// Returns the sequences of all document changes in order. The database must have one project.
    pub async fn document_sequences(&mut self) -> Vec<i64> {
        self.integers("SELECT sequence FROM changes WHERE collection_id IS NOT NULL ORDER BY sequence").await
    }

    /// Locks the database against writers until [`Sql::unlock`].
    pub async fn lock(&mut self) {
        self.execute(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN; SELECT head FROM heads FOR UPDATE",
        })
        .await;
    }

    /// Ends what [`Sql::lock`] began.
    pub async fn unlock(&mut self) {
        self.execute("ROLLBACK").await;
    }
}
