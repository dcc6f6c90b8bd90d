//! API keys. Only their hashes are stored.

use std::collections::HashSet;

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use entity::api_key;

use crate::{
    domain::{KeyChange, KeyId, KeyStates, ProjectId, Timestamp},
    store::{
        Result, Sql, WriteTx,
        db::rows::{Rows, RowsSql},
    },
};

/// A stored key.
#[derive(Clone, Debug)]
pub struct StoredKey {
    pub id: KeyId,
    pub project: ProjectId,
    /// By which people know it.
    pub name: Option<String>,
    /// `publishable` or `secret`.
    pub kind: String,
    /// The first characters of the key.
    pub prefix: String,
    /// The SHA-256 hash of the key, in hexadecimal.
    pub hash: String,
    /// Scopes with commas between them. `None` means all scopes.
    pub scopes: Option<String>,
    /// A JSON array of [`Origins`](crate::domain::Origins). `None` means all origins.
    pub origins: Option<String>,
    pub created_at: Timestamp,
    /// From this moment on the key is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// In whole minutes, written with a delay.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// The key that has replaced it.
    pub successor: Option<KeyId>,
    /// How often it was changed.
    pub revision: u64,
    /// The revision with the last change of its scopes or origins.
    pub rescoped: u64,
}

impl StoredKey {
    /// Whether it authenticates somebody at this time.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }

    /// Returns its state as a change of it is told.
    pub fn to_change(&self) -> KeyChange {
        let (revision, rescoped) = (self.revision, self.rescoped);
        KeyChange { key: self.id.clone(), revision, rescoped, expires_at: self.expires_at }
    }
}

const INSERT: Sql = Sql::same(
    "INSERT INTO api_keys (id, project_id, kind, prefix, hash, scopes, created_at, name, origins, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);
const CHANGE: Sql = Sql::same(
    "UPDATE api_keys SET name = $2, scopes = $3, origins = $4, expires_at = $5, successor = $6, revision = $7, rescoped = $8 \
     WHERE id = $1",
);
const FIND_STATES: Sql = Sql {
    sqlite: "SELECT id, revoked_at, revision, rescoped, expires_at FROM api_keys \
             WHERE id IN (SELECT value FROM json_each(?1)) AND (revoked_at IS NOT NULL OR revision > 0)",
    postgres: "SELECT id, revoked_at, revision, rescoped, expires_at FROM api_keys \
               WHERE id IN (SELECT json_array_elements_text($1::json)) AND (revoked_at IS NOT NULL OR revision > 0)",
};
const LIST_KEPT: Sql = Sql::same(
    "SELECT id, kind, prefix, hash, scopes, created_at, name, origins, expires_at, last_used_at, successor, revision, rescoped \
     FROM api_keys WHERE project_id = $1 AND revoked_at IS NULL",
);
const REVOKE: Sql = Sql::same("UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");
const NOTE_USES: RowsSql = RowsSql::same(
    "UPDATE api_keys SET last_used_at = column2 FROM {rows} \
     WHERE id = column1 AND (last_used_at IS NULL OR last_used_at < column2)",
);

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

/// Lists at most `limit` keys of a project by their ids, which are in the order of their creation, after the id `after`.
///
/// # Errors
/// A database failure.
pub async fn list_page(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<StoredKey>> {
    let mut select = api_key::Entity::find().filter(api_key::Column::ProjectId.eq(project.as_str()));
    if let Some(after) = after {
        select = select.filter(api_key::Column::Id.gt(after));
    }
    let rows = select.order_by_asc(api_key::Column::Id).limit(limit).all(db).await?;
    Ok(rows.into_iter().map(to_key).collect())
}

/// Lists the keys of a project that are not revoked, in a write transaction.
///
/// # Errors
/// A database failure.
pub async fn list_kept_locked(tx: &mut WriteTx, project: &ProjectId) -> Result<Vec<StoredKey>> {
    let rows = tx.query(LIST_KEPT, [project.as_str().into()]).await?;
    let to_key = |row: &sea_orm::QueryResult| {
        let text = |column| row.try_get_by_index::<String>(column);
        let optional = |column| row.try_get_by_index::<Option<String>>(column);
        let time =
            |column| Ok::<_, sea_orm::DbErr>(row.try_get_by_index::<Option<i64>>(column)?.map(Timestamp));
        let count = |column| {
            Ok::<_, sea_orm::DbErr>(u64::try_from(row.try_get_by_index::<i64>(column)?).unwrap_or(0))
        };
        Ok(StoredKey {
            id: KeyId::from_stored(&text(0)?),
            project: project.clone(),
            kind: text(1)?,
            prefix: text(2)?,
            hash: text(3)?,
            scopes: optional(4)?,
            created_at: Timestamp(row.try_get_by_index(5)?),
            name: optional(6)?,
            origins: optional(7)?,
            expires_at: time(8)?,
            last_used_at: time(9)?,
            revoked_at: None,
            successor: optional(10)?.as_deref().map(KeyId::from_stored),
            revision: count(11)?,
            rescoped: count(12)?,
        })
    };
    rows.iter().map(to_key).collect()
}

/// Finds what has happened to these keys, in a write transaction.
///
/// # Errors
/// A database failure.
pub async fn find_states(tx: &mut WriteTx, ids: &HashSet<KeyId>) -> Result<KeyStates> {
    let ids: Vec<_> = ids.iter().map(KeyId::as_str).collect();
    let rows = tx.query(FIND_STATES, [serde_json::Value::from(ids).to_string().into()]).await?;
    let mut states = KeyStates::default();
    for row in rows {
        let key = KeyId::from_stored(&row.try_get_by_index::<String>(0)?);
        if row.try_get_by_index::<Option<i64>>(1)?.is_some() {
            states.revoked.push(key);
            continue;
        }
        let count = |column| Ok::<_, sea_orm::DbErr>(row.try_get_by_index::<i64>(column)?.unsigned_abs());
        let expires_at = row.try_get_by_index::<Option<i64>>(4)?.map(Timestamp);
        states.changed.push(KeyChange { key, revision: count(2)?, rescoped: count(3)?, expires_at });
    }
    Ok(states)
}

/// Returns what has happened to each of these keys.
pub fn states_of(keys: Vec<StoredKey>) -> KeyStates {
    let (revoked, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.revoked_at.is_some());
    KeyStates {
        revoked: revoked.into_iter().map(|key| key.id).collect(),
        changed: others.iter().filter(|key| key.revision > 0).map(StoredKey::to_change).collect(),
    }
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
        key.name.clone().into(),
        key.origins.clone().into(),
        key.expires_at.map(|end| end.0).into(),
    ];
    tx.defer(INSERT, values);
}

/// Writes what of a key can be changed. Deferred.
pub fn change(tx: &mut WriteTx, key: &StoredKey) {
    let values = [
        key.id.as_str().into(),
        key.name.clone().into(),
        key.scopes.clone().into(),
        key.origins.clone().into(),
        key.expires_at.map(|end| end.0).into(),
        key.successor.as_ref().map(|successor| successor.as_str().to_owned()).into(),
        i64::try_from(key.revision).unwrap_or(i64::MAX).into(),
        i64::try_from(key.rescoped).unwrap_or(i64::MAX).into(),
    ];
    tx.defer(CHANGE, values);
}

/// Revokes a key, if it is not revoked. Deferred.
pub fn revoke(tx: &mut WriteTx, id: &KeyId, at: Timestamp) {
    tx.defer(REVOKE, [id.as_str().into(), at.0.into()]);
}

/// Notes when keys were used last. Deferred.
pub fn note_uses(tx: &mut WriteTx, uses: &[(KeyId, Timestamp)]) {
    let mut rows = Rows::default();
    for (key, at) in uses {
        rows.row().text(key.as_str()).integer(at.0);
    }
    tx.defer_rows(NOTE_USES, rows);
}

fn to_key(row: api_key::Model) -> StoredKey {
    StoredKey {
        id: KeyId::from_stored(&row.id),
        project: ProjectId::from_stored(&row.project_id),
        name: row.name,
        kind: row.kind,
        prefix: row.prefix,
        hash: row.hash,
        scopes: row.scopes,
        origins: row.origins,
        created_at: Timestamp(row.created_at),
        expires_at: row.expires_at.map(Timestamp),
        last_used_at: row.last_used_at.map(Timestamp),
        revoked_at: row.revoked_at.map(Timestamp),
        successor: row.successor.as_deref().map(KeyId::from_stored),
        revision: u64::try_from(row.revision).unwrap_or(0),
        rescoped: u64::try_from(row.rescoped).unwrap_or(0),
    }
}
