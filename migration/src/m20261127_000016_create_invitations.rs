//! Creates the table of accounts that wait for their owners.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000016_create_invitations"
    }
}

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS invitations (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL REFERENCES projects (id),
    hash {text} NOT NULL UNIQUE,
    email {text} NOT NULL,
    password {text},
    roles {text} NOT NULL,
    profile {text} NOT NULL,
    created_at {int} NOT NULL,
    expires_at {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS invitations_by_email ON invitations (project_id, email);
CREATE INDEX IF NOT EXISTS invitations_by_expiry ON invitations (expires_at);
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
        manager.drop_table(Table::drop().table(Alias::new("invitations")).to_owned()).await
    }
}
