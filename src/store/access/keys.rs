//! API keys. Only their hashes are stored.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};

use entity::api_key;

use crate::{
    domain::{KeyId, ProjectId, Timestamp},
    store::{Result, Sql, WriteTx},
};

/// A stored key.
#[derive(Clone, Debug)]
pub struct StoredKey {
    pub id: KeyId,
    pub project: ProjectId,
    /// `publishable` or `secret`.
    pub kind: String,
    /// The first characters of the key.
    pub prefix: String,
    /// The SHA-256 hash of the key, in hexadecimal.
    pub hash: String,
    /// Scopes with commas between them. `None` means all scopes.
    pub scopes: Option<String>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

const INSERT: Sql = Sql::same(
    "INSERT INTO api_keys (id, project_id, kind, prefix, hash, scopes, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
const FIND_REVOKED: Sql = Sql {
    sqlite: "SELECT id FROM api_keys WHERE id IN (SELECT value FROM json_each(?1)) AND revoked_at IS NOT NULL",
    postgres: "SELECT id FROM api_keys WHERE id IN (SELECT json_array_elements_text($1::json)) AND revoked_at IS NOT NULL",
};
const REVOKE: Sql = Sql::same("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");

/// Finds a key by its hash, revoked or not.
///
/// # Errors
/// A database failure.
pub async fn find_by_hash(db: &impl ConnectionTrait, hash: &str) -> Result<Option<StoredKey>> {
    let row = api_key::Entity::find().filter(api_key::Column::Hash.eq(hash)).one(db).await?;
    Ok(row.map(to_key))
}

/// Finds the keys with these hashes, revoked or not, in no order.
///
/// # Errors
/// A database failure.
pub async fn find_by_hashes(db: &impl ConnectionTrait, hashes: &[String]) -> Result<Vec<StoredKey>> {
    // Few different texts, because the database prepares each.
    let padding = hashes.len().next_power_of_two() - hashes.len();
    let padded = hashes.iter().chain(hashes.iter().take(padding));
    let found = api_key::Entity::find().filter(api_key::Column::Hash.is_in(padded)).all(db).await?;
    Ok(found.into_iter().map(to_key).collect())
}

/// Finds a key by its id, revoked or not.
///
/// # Errors
/// A database failure.
pub async fn find(db: &impl ConnectionTrait, id: &KeyId) -> Result<Option<StoredKey>> {
    Ok(api_key::Entity::find_by_id(id.as_str()).one(db).await?.map(to_key))
}

/// Lists the keys of a project, the oldest first.
///
/// # Errors
/// A database failure.
pub async fn list(db: &impl ConnectionTrait, project: &ProjectId) -> Result<Vec<StoredKey>> {
    let rows = api_key::Entity::find()
        .filter(api_key::Column::ProjectId.eq(project.as_str()))
        .order_by_asc(api_key::Column::CreatedAt)
        .order_by_asc(api_key::Column::Id)
        .all(db)
        .await?;
    Ok(rows.into_iter().map(to_key).collect())
}

/// Finds which of these keys are revoked, in a write transaction.
///
/// # Errors
/// A database failure.
pub async fn find_revoked(tx: &mut WriteTx, ids: &HashSet<KeyId>) -> Result<HashSet<KeyId>> {
    let ids: Vec<_> = ids.iter().map(KeyId::as_str).collect();
    let rows = tx.query(FIND_REVOKED, [serde_json::Value::from(ids).to_string().into()]).await?;
    rows.iter().map(|row| Ok(KeyId::from_stored(&row.try_get_by_index::<String>(0)?))).collect()
}

/// Adds a key. Deferred. A unique violation if a key with this hash exists.
pub fn insert(tx: &mut WriteTx, key: &StoredKey) {
    let values = [
        key.id.as_str().into(),
        key.project.as_str().into(),
        key.kind.as_str().into(),
        key.prefix.as_str().into(),
        key.hash.as_str().into(),
        key.scopes.clone().into(),
        key.created_at.0.into(),
    ];
    tx.defer(INSERT, values);
}

/// Revokes a key, if it is not revoked. Deferred.
pub fn revoke(tx: &mut WriteTx, id: &KeyId, at: Timestamp) {
    tx.defer(REVOKE, [id.as_str().into(), at.0.into()]);
}

fn to_key(row: api_key::Model) -> StoredKey {
    StoredKey {
        id: KeyId::from_stored(&row.id),
        project: ProjectId::from_stored(&row.project_id),
        kind: row.kind,
        prefix: row.prefix,
        hash: row.hash,
        scopes: row.scopes,
        created_at: Timestamp(row.created_at),
        revoked_at: row.revoked_at.map(Timestamp),
    }
}
