//! Creates the table of secrets that the server signs with, so that every node accepts a signature, also after a restart.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261124_000004_create_secrets"
    }
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS secrets (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, created_at BIGINT NOT NULL)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = match manager.get_database_backend() {
            DbBackend::Postgres => TABLE.to_owned(),
            _ => format!("{} STRICT", TABLE.replace("BIGINT", "INTEGER")),
        };
        manager.get_connection().execute_unprepared(&table).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("secrets")).to_owned()).await
    }
}
