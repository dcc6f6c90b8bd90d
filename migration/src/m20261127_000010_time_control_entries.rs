//! Adds the time of each project's last control entry. A database that lost its last commits uses their sequences again, and
//! the time tells such an entry from the one that is lost.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000010_time_control_entries"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // On SQLite a step is not one transaction, and a step that was cut short is run again.
        if manager.has_column("heads", "control_at").await? {
            return Ok(());
        }
        let word = match manager.get_database_backend() {
            DbBackend::Postgres => "BIGINT",
            _ => "INTEGER",
        };
        let add = format!("ALTER TABLE heads ADD COLUMN control_at {word} NOT NULL DEFAULT 0");
        manager.get_connection().execute_unprepared(&add).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = "ALTER TABLE heads DROP COLUMN control_at";
        manager.get_connection().execute_unprepared(drop).await.map(|_| ())
    }
}
