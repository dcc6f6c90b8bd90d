//! SQL beside the server, for what its front door doesn't show or can't do.

use sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};

/// A connection to a test's database that the server knows nothing of.
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

    /// Runs a statement, or several.
    pub async fn execute(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(connection) => connection.execute(sql).await.map(|_| ()).unwrap(),
            Self::Postgres(connection) => connection.execute(sql).await.map(|_| ()).unwrap(),
        }
    }

    /// The first column of every row, which must be a whole number.
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

    /// The first column of every row, which must be text.
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

    /// The sequences of every document's change in a database with one project, in order.
    pub async fn document_sequences(&mut self) -> Vec<i64> {
        self.integers("SELECT sequence FROM changes WHERE collection_id IS NOT NULL ORDER BY sequence").await
    }

    /// Keeps every writer out until [`Sql::unlock`].
    pub async fn lock(&mut self) {
        self.execute(match self {
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN; SELECT head FROM heads FOR UPDATE",
        })
        .await;
    }

    /// Lets the writers in again.
    pub async fn unlock(&mut self) {
        self.execute("ROLLBACK").await;
    }
}
