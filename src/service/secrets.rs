//! The secrets that the server signs with, as it starts and as the command line replaces them.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::keys::SetupError;
use crate::{
    domain::secrets::{SecretName, Secrets},
    store::{
        Db, Lane, StoreError,
        access::secrets::{self, SecretRotation, StoredSecret},
    },
};

/// Bytes of a new secret. An Ed25519 private key has as many.
const BYTES: usize = 32;

/// Gets a secret and the one before it. Creates one if the database has none.
///
/// # Errors
/// [`SetupError::NoSecret`] if one of them is damaged.
pub async fn ensure_secrets(db: &Db, name: SecretName) -> Result<Secrets, SetupError> {
    if let Some(found) = read_secrets(db, name).await? {
        return Ok(found);
    }
    let mut tx = db.begin_write().await?;
    secrets::insert(&mut tx, name, &draw()?);
    tx.commit().await?;
    // Another process may have been faster; its secret is the one that counts.
    read_secrets(db, name).await?.ok_or_else(|| damaged(name.as_str()))
}

/// Gets a secret and the one before it, if there is one.
///
/// # Errors
/// [`SetupError::NoSecret`] if one of them is damaged.
pub async fn read_secrets(db: &Db, name: SecretName) -> Result<Option<Secrets>, SetupError> {
    let (current, previous) = find(db, name).await?;
    let Some(current) = current else { return Ok(None) };
    let previous = previous.map(|previous| decode(&format!("{}.previous", name.as_str()), &previous));
    Ok(Some(Secrets::new(decode(name.as_str(), &current)?, previous.transpose()?)))
}

/// Gets a secret and the one before it, as they are stored.
///
/// # Errors
/// A database failure.
pub async fn find(
    db: &Db,
    name: SecretName,
) -> Result<(Option<StoredSecret>, Option<StoredSecret>), StoreError> {
    db.read(Lane::Point, move |db| async move { secrets::find(&db, name).await }).await
}

/// Draws a secret that takes the place of the current one.
///
/// # Errors
/// [`SetupError::Random`].
pub fn draw_rotation(name: SecretName, keeps_previous: bool) -> Result<SecretRotation, SetupError> {
    Ok(SecretRotation { name, value: draw()?, keeps_previous })
}

fn draw() -> Result<String, SetupError> {
    let mut drawn = [0; BYTES];
    getrandom::fill(&mut drawn).map_err(SetupError::Random)?;
    Ok(STANDARD.encode(drawn))
}

fn decode(name: &str, stored: &StoredSecret) -> Result<Vec<u8>, SetupError> {
    let bytes = STANDARD.decode(&stored.value).ok();
    bytes.filter(|secret| secret.len() >= BYTES).ok_or_else(|| damaged(name))
}

fn damaged(name: &str) -> SetupError {
    SetupError::NoSecret(name.to_owned())
}
