//! Notes which users have a code by mail as their second factor.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000022_add_mail_factors"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column("credentials", "has_mail_factor").await? {
            return Ok(());
        }
        let kind = match manager.get_database_backend() {
            DbBackend::Postgres => "BIGINT",
            _ => "INTEGER",
        };
        let sql = format!("ALTER TABLE credentials ADD COLUMN has_mail_factor {kind} NOT NULL DEFAULT 0");
        manager.get_connection().execute_unprepared(&sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE credentials DROP COLUMN has_mail_factor";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
