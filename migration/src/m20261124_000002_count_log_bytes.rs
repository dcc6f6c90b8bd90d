//! Adds the size of each project's change log, so that retention can bound it without adding it up each time.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261124_000002_count_log_bytes"
    }
}

/// The same estimate as the server's: the bytes of the texts, and 100 for the rest of an entry.
const COUNT: &str = "UPDATE heads SET bytes = (SELECT COALESCE(SUM(100 + COALESCE(OCTET_LENGTH(before), 0) \
     + COALESCE(OCTET_LENGTH(after), 0) + COALESCE(OCTET_LENGTH(control), 0)), 0) \
     FROM changes WHERE changes.project_id = heads.project_id)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // On SQLite a step is not one transaction, and a step that was cut short is run again.
        if !manager.has_column("heads", "bytes").await? {
            let add = "ALTER TABLE heads ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0";
            let add = match manager.get_database_backend() {
                sea_orm_migration::sea_orm::DbBackend::Postgres => add.to_owned(),
                // A STRICT table accepts no other word.
                _ => add.replace("BIGINT", "INTEGER"),
            };
            manager.get_connection().execute_unprepared(&add).await?;
        }
        manager.get_connection().execute_unprepared(COUNT).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = "ALTER TABLE heads DROP COLUMN bytes";
        manager.get_connection().execute_unprepared(drop).await.map(|_| ())
    }
}
