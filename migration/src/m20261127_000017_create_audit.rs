//! Creates the table of security events.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000017_create_audit"
    }
}

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS audit (
    id {text} NOT NULL PRIMARY KEY,
    project_id {text} NOT NULL REFERENCES projects (id),
    event {text} NOT NULL,
    user_id {text},
    by_user {text},
    by_key {text},
    address {text},
    device {text},
    count {int} NOT NULL,
    details {text},
    at {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS audit_by_project ON audit (project_id, id);
CREATE INDEX IF NOT EXISTS audit_by_user ON audit (project_id, user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_by_age ON audit (at);
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
        manager.drop_table(Table::drop().table(Alias::new("audit")).to_owned()).await
    }
}
