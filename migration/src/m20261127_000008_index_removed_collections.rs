//! Adds an index by which the writer finds removed collections without walking through all others.

use sea_orm_migration::prelude::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000008_index_removed_collections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "CREATE INDEX IF NOT EXISTS collections_removed ON collections (removed_at) \
                   WHERE removed_at IS NOT NULL";
        manager.get_connection().execute_unprepared(sql).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sql = "DROP INDEX collections_removed";
        manager.get_connection().execute_unprepared(sql).await.map(|_| ())
    }
}
