//! Creates the table of users' identities at other providers.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000018_create_identities"
    }
}

/// The subject stands before the issuer, so that identities are found by their subjects.
const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS identities (
    project_id {text} NOT NULL,
    subject {text} NOT NULL,
    issuer {text} NOT NULL,
    user_id {text} NOT NULL,
    provider {text} NOT NULL,
    email {text},
    created_at {int} NOT NULL,
    PRIMARY KEY (project_id, subject, issuer),
    FOREIGN KEY (project_id, user_id) REFERENCES credentials (project_id, user_id)
) {strict};
CREATE INDEX IF NOT EXISTS identities_by_user ON identities (project_id, user_id);
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = match manager.get_database_backend() {
            DbBackend::Postgres => [("{text}", "TEXT COLLATE \"C\""), ("{int}", "BIGINT"), ("{strict}", "")],
            _ => [("{text}", "TEXT"), ("{int}", "INTEGER"), ("{strict}", "STRICT")],
        };
        let sql = words.iter().fold(TABLE.to_owned(), |sql, (mark, word)| sql.replace(mark, word));
        manager.get_connection().execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("identities")).to_owned()).await
    }
}
