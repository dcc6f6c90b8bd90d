//! Notes with which key each session began.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000020_add_session_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column("sessions", "key_id").await? {
            return Ok(());
        }
        let sql = "ALTER TABLE sessions ADD COLUMN key_id TEXT";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE sessions DROP COLUMN key_id";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
