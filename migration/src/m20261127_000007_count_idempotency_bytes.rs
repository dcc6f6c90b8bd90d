//! Adds up the bytes that each caller's stored outcomes take, so that they can be bounded without adding them up each time.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000007_count_idempotency_bytes"
    }
}

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS idempotency_sizes (
    project_id {text} NOT NULL,
    caller {text} NOT NULL,
    bytes {int} NOT NULL,
    PRIMARY KEY (project_id, caller)
) {strict};
"#;

/// The same estimate as the server's: the bytes of the texts, and 200 for the rest of a row and its index entries.
const COUNT: &str = "INSERT INTO idempotency_sizes (project_id, caller, bytes) \
     SELECT project_id, caller, \
            CAST(SUM(200 + OCTET_LENGTH(key) + OCTET_LENGTH(request) + OCTET_LENGTH(outcome)) AS BIGINT) \
     FROM idempotency WHERE TRUE GROUP BY project_id, caller \
     ON CONFLICT (project_id, caller) DO UPDATE SET bytes = excluded.bytes";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = match manager.get_database_backend() {
            DbBackend::Postgres => [("{text}", "TEXT COLLATE \"C\""), ("{int}", "BIGINT"), ("{strict}", "")],
            _ => [("{text}", "TEXT"), ("{int}", "INTEGER"), ("{strict}", "STRICT")],
        };
        let sql = words.iter().fold(TABLE.to_owned(), |sql, (mark, word)| sql.replace(mark, word));
        manager.get_connection().execute_unprepared(&sql).await?;
        manager.get_connection().execute_unprepared(COUNT).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("idempotency_sizes")).to_owned()).await
    }
}
