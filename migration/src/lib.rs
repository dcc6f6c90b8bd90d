//! The schema of Coir's database, one file per step. Every step runs on SQLite and on PostgreSQL.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

mod m20261124_000001_create_tables;
mod m20261124_000002_count_log_bytes;
mod m20261124_000003_create_key_functions;
mod m20261124_000004_create_secrets;
mod m20261124_000005_add_schemas;
mod m20261124_000006_create_indexes;
mod m20261127_000007_count_idempotency_bytes;
mod m20261127_000008_index_removed_collections;

/// Runs the steps in order, and remembers which have run.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_create_tables::Migration),
            Box::new(m20261124_000002_count_log_bytes::Migration),
            Box::new(m20261124_000003_create_key_functions::Migration),
            Box::new(m20261124_000004_create_secrets::Migration),
            Box::new(m20261124_000005_add_schemas::Migration),
            Box::new(m20261124_000006_create_indexes::Migration),
            Box::new(m20261127_000007_count_idempotency_bytes::Migration),
            Box::new(m20261127_000008_index_removed_collections::Migration),
        ]
    }
}
