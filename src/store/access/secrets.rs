//! Secrets that the server signs with. They are stored in the database, so that every node has the same.

use sea_orm::{ConnectionTrait, EntityTrait};

use entity::secret;

use crate::{
    domain::Timestamp,
    store::{Result, Sql, WriteTx},
};

const INSERT: Sql = Sql::same(
    "INSERT INTO secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
);

/// Finds a secret by its name.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, name: &str) -> Result<Option<String>> {
    Ok(secret::Entity::find_by_id(name).one(db).await?.map(|row| row.value))
}

/// Adds a secret. If one with this name exists, it stays. Deferred.
pub fn insert(tx: &mut WriteTx, name: &str, value: &str) {
    tx.defer(INSERT, [name.into(), value.into(), Timestamp::now().0.into()]);
}
