//! The schema of Coir's database, one file per step. Every step runs on SQLite and on PostgreSQL.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DatabaseConnection},
};

mod m20261124_000001_create_tables;
mod m20261124_000002_count_log_bytes;
mod m20261124_000003_create_key_functions;
mod m20261124_000004_create_secrets;
mod m20261124_000005_add_schemas;
mod m20261124_000006_create_indexes;
mod m20261127_000007_count_idempotency_bytes;
mod m20261127_000008_index_removed_collections;
mod m20261127_000009_find_orphans;
mod m20261127_000010_time_control_entries;
mod m20261127_000011_correct_times;
mod m20261127_000012_create_users;
mod m20261127_000013_create_codes;
mod m20261127_000014_add_totp;
mod m20261127_000015_add_project_settings;
mod m20261127_000016_create_invitations;
mod m20261127_000017_create_audit;
mod m20261127_000018_create_identities;
mod m20261127_000019_create_used_states;
mod m20261127_000020_add_session_keys;
mod m20261127_000021_protect_accounts;
mod m20261127_000022_add_mail_factors;
mod m20261127_000023_count_tries_by_network;
mod m20261127_000025_add_rules;
mod m20261127_000026_extend_keys;

/// The table in which the steps that have run are remembered.
const APPLIED: &str = "seaql_migrations";

/// How the schema of a database compares with this version's.
pub struct Comparison {
    /// How many steps have run; 0 in a database that is not of Coir.
    pub applied: usize,
    /// How many steps are still to run.
    pub pending: usize,
    /// The names of steps that only a newer version knows, in order.
    pub unknown: Vec<String>,
}

/// Compares the schema of a database with this version's. Writes nothing.
///
/// # Errors
/// A database failure.
pub async fn compare(db: &DatabaseConnection) -> Result<Comparison, DbErr> {
    let mut applied: Vec<String> = Vec::new();
    if SchemaManager::new(db).has_table(APPLIED).await? {
        let select = Query::select().column("version").from(APPLIED).order_by("version", Order::Asc).take();
        for row in db.query_all(&select).await? {
            applied.push(row.try_get_by_index(0)?);
        }
    }
    let known: Vec<_> = Migrator::migrations().iter().map(|step| step.name().to_owned()).collect();
    let pending = known.iter().filter(|step| !applied.contains(step)).count();
    let count = applied.len();
    applied.retain(|step| !known.contains(step));
    Ok(Comparison { applied: count, pending, unknown: applied })
}

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
            Box::new(m20261127_000009_find_orphans::Migration),
            Box::new(m20261127_000010_time_control_entries::Migration),
            Box::new(m20261127_000011_correct_times::Migration),
            Box::new(m20261127_000012_create_users::Migration),
            Box::new(m20261127_000013_create_codes::Migration),
            Box::new(m20261127_000014_add_totp::Migration),
            Box::new(m20261127_000015_add_project_settings::Migration),
            Box::new(m20261127_000016_create_invitations::Migration),
            Box::new(m20261127_000017_create_audit::Migration),
            Box::new(m20261127_000018_create_identities::Migration),
            Box::new(m20261127_000019_create_used_states::Migration),
            Box::new(m20261127_000020_add_session_keys::Migration),
            Box::new(m20261127_000021_protect_accounts::Migration),
            Box::new(m20261127_000022_add_mail_factors::Migration),
            Box::new(m20261127_000023_count_tries_by_network::Migration),
            Box::new(m20261127_000025_add_rules::Migration),
            Box::new(m20261127_000026_extend_keys::Migration),
        ]
    }
}
