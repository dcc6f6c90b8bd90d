//! Creates the table of declared indexes. The database's own indexes are built and dropped in the background to match it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Statistics for the planner of SQLite. Without them it assumes that a collection has ten documents, and walks through all of
/// them in order instead of finding some and sorting them. It only has to know that collections are large.
const STATISTICS: &str = r#"
ANALYZE documents;
DELETE FROM sqlite_stat1 WHERE tbl = 'documents';
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('documents', 'documents_by_age', '1000000 100000 1 1'),
    ('documents', 'sqlite_autoindex_documents_1', '1000000 100000 1');
ANALYZE sqlite_schema;
"#;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261124_000006_create_indexes"
    }
}

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS indexes (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL,
    collection_id {text} NOT NULL,
    fields {text} NOT NULL,
    is_unique {int} NOT NULL,
    state {text} NOT NULL,
    error {text},
    created_at {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS indexes_by_project ON indexes (project_id);
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = match manager.get_database_backend() {
            DbBackend::Postgres => [("{text}", "TEXT COLLATE \"C\""), ("{int}", "BIGINT"), ("{strict}", "")],
            _ => [("{text}", "TEXT"), ("{int}", "INTEGER"), ("{strict}", "STRICT")],
        };
        let sql = words.iter().fold(TABLE.to_owned(), |sql, (mark, word)| sql.replace(mark, word));
        manager.get_connection().execute_unprepared(&sql).await?;
        if manager.get_database_backend() == DbBackend::Sqlite {
            manager.get_connection().execute_unprepared(STATISTICS).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("indexes")).to_owned()).await
    }
}
