//! Creates the table of states of sign-ins that were used.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000019_create_used_states"
    }
}

const TABLE: &str = r#"
CREATE TABLE IF NOT EXISTS used_states (
    hash {text} NOT NULL PRIMARY KEY,
    expires_at {int} NOT NULL
) {strict};
CREATE INDEX IF NOT EXISTS used_states_by_expiry ON used_states (expires_at);
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
        manager.drop_table(Table::drop().table(Alias::new("used_states")).to_owned()).await
    }
}
