//! Gives keys a name, origins, an expiry, the time of their last use, a successor and a count of their changes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

pub struct Migration;

const COLUMNS: [(&str, &str); 7] = [
    ("name", "TEXT"),
    ("origins", "TEXT"),
    ("expires_at", "BIGINT"),
    ("last_used_at", "BIGINT"),
    ("successor", "TEXT"),
    ("revision", "BIGINT NOT NULL DEFAULT 0"),
    ("rescoped", "BIGINT NOT NULL DEFAULT 0"),
];

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261127_000026_extend_keys"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let is_sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        for (column, kind) in COLUMNS {
            // Its tables are strict and know no other integers.
            let kind = if is_sqlite { kind.replace("BIGINT", "INTEGER") } else { kind.to_owned() };
            // On SQLite a step is not one transaction, and a step that was cut short is run again.
            if !manager.has_column("api_keys", column).await? {
                let sql = format!("ALTER TABLE api_keys ADD COLUMN {column} {kind}");
                manager.get_connection().execute_unprepared(&sql).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (column, _) in COLUMNS {
            let sql = format!("ALTER TABLE api_keys DROP COLUMN {column}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }
}
