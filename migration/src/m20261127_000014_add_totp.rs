//! Adds the second factors of users.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000014_add_totp"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column("credentials", "totp").await? {
            return Ok(());
        }
        let sql = "ALTER TABLE credentials ADD COLUMN totp TEXT";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE credentials DROP COLUMN totp";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
