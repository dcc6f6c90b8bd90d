//! Opens the database: data directory, connection, migration, and the default project with its keys.

use std::{io, path::Path, time::Duration};

use super::StartError;
use crate::{
    auth::KeyKind,
    config::Config,
    service::keys::{self, FirstProject, NewKeys, SetupError},
    store::{Db, MigrateError, OpenExistingError},
};

/// The pause between two tries to reach the database.
const PAUSE: Duration = Duration::from_secs(1);

/// Creates the data directory, connects, and migrates the database to this version's schema.
///
/// # Errors
/// [`StartError`].
async fn migrate_database(config: &Config) -> Result<Db, StartError> {
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

/// Does a step of the start again and again while the database is away, and says so in the log.
///
/// # Errors
/// Those of the step that time does not mend.
pub(super) async fn when_there<T, E: Into<StartError>>(
    step: impl AsyncFn() -> Result<T, E>,
) -> Result<T, StartError> {
    loop {
        match step().await.map_err(Into::into) {
            Err(err) => {
                let Some(reason) = err.temporary_reason() else { return Err(err) };
                tracing::warn!("waiting for the database: {reason}");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Migrates the database, and creates the project `default` with its keys, as the first start does.
///
/// The keys are returned if this call created the project, since they cannot be read again. A configured key that is revoked is
/// no error here: nobody is served with it.
///
/// # Errors
/// [`StartError`].
pub async fn prepare_database(config: &Config) -> Result<Option<NewKeys>, StartError> {
    let db = migrate_database(config).await?;
    let prepared = match fill(&db, config).await {
        Err(StartError::Setup(SetupError::KeyTaken(_))) => Ok(None),
        prepared => prepared,
    };
    db.close().await;
    prepared
}

/// Opens a database that a server has made. Creates and changes nothing.
///
/// # Errors
/// [`StartError`]; [`StartError::NoDatabase`] says where was looked.
pub async fn open_database(config: &Config) -> Result<Db, StartError> {
    let opened = Db::open_existing(&config.database_url, config.durability, config.query_limit).await;
    opened.map_err(|err| match err {
        OpenExistingError::Missing => StartError::NoDatabase(config.database_url.to_string()),
        OpenExistingError::Schema(MigrateError::Empty) => {
            StartError::NoTables(config.database_url.to_string())
        }
        OpenExistingError::Schema(err) => err.into(),
        OpenExistingError::Connect(err) => err.into(),
    })
}

/// Makes sure of the project `default` and of the keys of the settings. Returns the keys if the project is new.
async fn fill(db: &Db, config: &Config) -> Result<Option<NewKeys>, StartError> {
    let [publishable, secret] = configured_keys(config).map(|(_, key, _)| key);
    let new_keys = FirstProject::draw([publishable, secret])?.ensure(db).await?;
    for (kind, key, setting) in configured_keys(config) {
        if let Some(key) = key {
            keys::ensure_key(db, kind, key, setting).await?;
        }
    }
    Ok(new_keys)
}

/// Opens the database as `serve` does: migrates it, creates the project `default` with its keys, and waits for a database that
/// is not there yet, or goes away meanwhile.
///
/// # Errors
/// [`StartError`].
pub(super) async fn open_database_when_there(config: &Config) -> Result<(Db, Option<NewKeys>), StartError> {
    prepare_directory(config)?;
    let db = when_there(async || connect_and_migrate(config).await).await?;
    let [publishable, secret] = configured_keys(config).map(|(_, key, _)| key);
    // Once for all tries.
    let first = FirstProject::draw([publishable, secret])?;
    let new_keys = when_there(async || first.ensure(&db).await).await?;
    for (kind, key, setting) in configured_keys(config) {
        if let Some(key) = key {
            when_there(async || keys::ensure_key(&db, kind, key, setting).await).await?;
        }
    }
    Ok((db, new_keys))
}

/// Returns the keys of the settings, with the names of their settings.
fn configured_keys(config: &Config) -> [(KeyKind, Option<&str>, &'static str); 2] {
    [
        (KeyKind::Publishable, config.publishable_key.as_deref(), "COIR_PUBLISHABLE_KEY"),
        (KeyKind::Secret, config.api_key.as_deref(), "COIR_API_KEY"),
    ]
}

/// Creates a file and removes it.
fn check_writable(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".writable-{}", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(probe)
}
