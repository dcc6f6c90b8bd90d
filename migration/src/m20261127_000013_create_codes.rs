//! Creates the tables of codes that are good once, and of mails that wait in the outbox.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000013_create_codes"
    }
}

const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS codes (
    hash {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL,
    user_id {text} NOT NULL,
    purpose {text} NOT NULL,
    email {text},
    digits_hash {text},
    tries {int} NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL,
    FOREIGN KEY (project_id, user_id) REFERENCES credentials (project_id, user_id)
) {strict};
CREATE INDEX IF NOT EXISTS codes_by_user ON codes (project_id, user_id);
CREATE INDEX IF NOT EXISTS codes_by_email ON codes (project_id, email) WHERE email IS NOT NULL;
CREATE INDEX IF NOT EXISTS codes_by_expiry ON codes (expires_at);

CREATE TABLE IF NOT EXISTS mails (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL REFERENCES projects (id),
    kind {text} NOT NULL,
    recipient {text} NOT NULL,
    subject {text} NOT NULL,
    body {text} NOT NULL,
    created_at {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS mails_by_project ON mails (project_id, created_at);
CREATE INDEX IF NOT EXISTS mails_by_age ON mails (created_at);
"#;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = match manager.get_database_backend() {
            DbBackend::Postgres => [("{text}", "TEXT COLLATE \"C\""), ("{int}", "BIGINT"), ("{strict}", "")],
            _ => [("{text}", "TEXT"), ("{int}", "INTEGER"), ("{strict}", "STRICT")],
        };
        let sql = words.iter().fold(TABLES.to_owned(), |sql, (mark, word)| sql.replace(mark, word));
        manager.get_connection().execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["mails", "codes"] {
            manager.drop_table(Table::drop().table(Alias::new(table)).to_owned()).await?;
        }
        Ok(())
    }
}
