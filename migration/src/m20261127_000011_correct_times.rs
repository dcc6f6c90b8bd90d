//! Adds up to which entry a project's log has the times of a wrong clock, and when the clock was corrected. These entries grow
//! old from then on.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000011_correct_times"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let word = match manager.get_database_backend() {
            DbBackend::Postgres => "BIGINT",
            _ => "INTEGER",
        };
        for column in ["corrected", "corrected_at"] {
            // On SQLite a step is not one transaction, and a step that was cut short is run again.
            if !manager.has_column("heads", column).await? {
                let add = format!("ALTER TABLE heads ADD COLUMN {column} {word} NOT NULL DEFAULT 0");
                manager.get_connection().execute_unprepared(&add).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["corrected", "corrected_at"] {
            let drop = format!("ALTER TABLE heads DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&drop).await?;
        }
        Ok(())
    }
}
