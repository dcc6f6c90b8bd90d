//! Opens the database: data directory, connection, migration, and the default project with its keys.

use std::{io, path::Path, time::Duration};

use super::StartError;
use crate::{
    auth::KeyKind,
    config::Config,
    service::keys::{self, NewKeys},
    store::Db,
};

/// The pause between two tries to reach the database.
const PAUSE: Duration = Duration::from_secs(1);

/// Creates the data directory, connects, and migrates the database to this version's schema.
///
/// # Errors
/// [`StartError`].
pub async fn migrate_database(config: &Config) -> Result<Db, StartError> {
    prepare_directory(config)?;
    connect_and_migrate(config).await
}

fn prepare_directory(config: &Config) -> Result<(), StartError> {
    if let Some(directory) = &config.data_dir {
        std::fs::create_dir_all(directory).map_err(|err| StartError::DataDir(directory.clone(), err))?;
        // SQLite's own message would only say that it cannot open the file.
        check_writable(directory).map_err(|err| StartError::DataDirReadOnly(directory.clone(), err))?;
    }
    Ok(())
}

async fn connect_and_migrate(config: &Config) -> Result<Db, StartError> {
    let db = Db::connect(&config.database_url, config.durability, config.query_limit).await?;
    db.migrate().await?;
    Ok(db)
}

/// Connects and migrates like [`migrate_database`], and waits for a database that is not there yet.
async fn wait_for_database(config: &Config) -> Result<Db, StartError> {
    prepare_directory(config)?;
    loop {
        match connect_and_migrate(config).await {
            Err(err) => {
                let Some(reason) = err.temporary_reason() else { return Err(err) };
                tracing::warn!("waiting for the database: {reason}");
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Opens the database as `serve` does: migrates it, and creates the project `default` with its keys.
///
/// The keys are returned if this call created the project, since they cannot be read again.
///
/// # Errors
/// [`StartError`].
pub async fn open_database(config: &Config) -> Result<(Db, Option<NewKeys>), StartError> {
    fill(migrate_database(config).await?, config).await
}

/// Opens the database like [`open_database`], and waits for one that is not there yet.
///
/// # Errors
/// [`StartError`].
pub(super) async fn open_database_when_there(config: &Config) -> Result<(Db, Option<NewKeys>), StartError> {
    fill(wait_for_database(config).await?, config).await
}

async fn fill(db: Db, config: &Config) -> Result<(Db, Option<NewKeys>), StartError> {
    let configured = [
        (KeyKind::Publishable, &config.publishable_key, "COIR_PUBLISHABLE_KEY"),
        (KeyKind::Secret, &config.api_key, "COIR_API_KEY"),
    ];
    let [publishable, secret] = configured.map(|(_, key, _)| key.as_deref());
    let new_keys = keys::ensure_default_project(&db, [publishable, secret]).await?;
    for (kind, key, setting) in configured {
        if let Some(key) = key {
            keys::ensure_key(&db, kind, key, setting).await?;
        }
    }
    Ok((db, new_keys))
}

/// Creates a file and removes it.
fn check_writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".writable-{}", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(probe)
}
