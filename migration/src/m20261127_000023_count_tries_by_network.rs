//! Notes who asked for each code, and how many wrong ones were tried elsewhere.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000023_count_tries_by_network"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let count = match manager.get_database_backend() {
            DbBackend::Postgres => "BIGINT NOT NULL DEFAULT 0",
            _ => "INTEGER NOT NULL DEFAULT 0",
        };
        for (column, kind) in [("asked_from", "TEXT"), ("other_tries", count)] {
            if !manager.has_column("codes", column).await? {
                let sql = format!("ALTER TABLE codes ADD COLUMN {column} {kind}");
                manager.get_connection().execute_unprepared(&sql).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["asked_from", "other_tries"] {
            let sql = format!("ALTER TABLE codes DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}
