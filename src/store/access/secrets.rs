//! Secrets that the server signs with. They are stored in the database, so that every node has the same.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use entity::secret;

use crate::{
    domain::{Timestamp, secrets::SecretName},
    store::{Result, Sql, WriteTx},
};

/// A secret that takes the place of the current one.
#[derive(Clone)]
pub struct SecretRotation {
    pub name: SecretName,
    /// Random bytes in base64.
    pub value: String,
    /// Whether tokens of the current secret stay good for their life.
    pub keeps_previous: bool,
}

/// It has no secret in it.
impl std::fmt::Debug for SecretRotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretRotation({}, keeps previous: {})", self.name.as_str(), self.keeps_previous)
    }
}

// A batch may be written again after its commit was not heard of, so each statement changes nothing the second time.
const KEEP: Sql = Sql::same(
    "INSERT INTO secrets (name, value, created_at) SELECT $1, value, created_at FROM secrets \
     WHERE name = $2 AND value <> $3 \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, created_at = excluded.created_at",
);
const DELETE: Sql = Sql::same("DELETE FROM secrets WHERE name = $1");
const REPLACE: Sql = Sql::same(
    "INSERT INTO secrets (name, value, created_at) VALUES ($1, $2, $3) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value, created_at = excluded.created_at",
);
const INSERT: Sql = Sql::same(
    "INSERT INTO secrets (name, value, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
);

/// A stored secret.
#[derive(Clone)]
pub struct StoredSecret {
    /// Random bytes in base64.
    pub value: String,
    pub created_at: Timestamp,
}

/// Finds a secret, and the one before it.
///
/// # Errors
/// A database failure.
pub async fn find(
    db: &impl ConnectionTrait,
    name: SecretName,
) -> Result<(Option<StoredSecret>, Option<StoredSecret>)> {
    // One statement, so that a rotation is seen whole or not at all.
    let (current, previous) = (name.as_str().to_owned(), previous_of(name));
    let wanted = [current.as_str(), previous.as_str()];
    let rows = secret::Entity::find().filter(secret::Column::Name.is_in(wanted)).all(db).await?;
    let of = |name: &str| {
        rows.iter()
            .find(|row| row.name == name)
            .map(|row| StoredSecret { value: row.value.clone(), created_at: Timestamp(row.created_at) })
    };
    Ok((of(&current), of(&previous)))
}

/// Makes a new secret the current one. Deferred.
pub fn rotate(tx: &mut WriteTx, rotation: &SecretRotation) {
    let (name, previous) = (rotation.name.as_str(), previous_of(rotation.name));
    match rotation.keeps_previous {
        true => tx.defer(KEEP, [previous.into(), name.into(), rotation.value.as_str().into()]),
        false => tx.defer(DELETE, [previous.into()]),
    }
    tx.defer(REPLACE, [name.into(), rotation.value.as_str().into(), Timestamp::now().0.into()]);
}

fn previous_of(name: SecretName) -> String {
    format!("{}.previous", name.as_str())
}

/// Adds a secret. If one with this name exists, it stays. Deferred.
pub fn insert(tx: &mut WriteTx, name: SecretName, value: &str) {
    tx.defer(INSERT, [name.as_str().into(), value.into(), Timestamp::now().0.into()]);
}
