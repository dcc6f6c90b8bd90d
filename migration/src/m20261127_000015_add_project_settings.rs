//! Adds the settings of projects.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000015_add_project_settings"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.has_column("projects", "settings").await? {
            return Ok(());
        }
        let sql = "ALTER TABLE projects ADD COLUMN settings TEXT";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "ALTER TABLE projects DROP COLUMN settings";
        manager.get_connection().execute_unprepared(sql).await.map(drop)
    }
}
