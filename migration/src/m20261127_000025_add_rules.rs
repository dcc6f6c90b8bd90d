//! Adds the rules of collections.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000025_add_rules"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // On SQLite a step is not one transaction, and a step that was cut short is run again.
        if manager.has_column("collections", "rules").await? {
            return Ok(());
        }
        let sql = "ALTER TABLE collections ADD COLUMN rules TEXT";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE collections DROP COLUMN rules";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
