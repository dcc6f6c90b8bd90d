//! Projects and keys, as the command line and the first start make them. Runs beside a server as well as before one.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    auth::{
        KeyKind, Scopes,
        keys::{generate_key, hash_key, stored_key},
    },
    domain::{ProjectId, Timestamp, cursor::Epoch},
    store::{
        Db, Lane, StoreError,
        access::{
            keys::{self, StoredKey},
            projects::{self, Project},
            secrets,
        },
    },
};

/// The project that every installation has.
pub const DEFAULT_PROJECT: &str = "default";

/// Why a project or key could not be made; a sentence for whoever typed the command.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No such project.
    #[error("there is no project `{0}`; `coir projects list` shows them")]
    UnknownProject(String),
    /// The name is taken.
    #[error("there is a project `{0}` already")]
    ProjectExists(String),
    /// The name is none.
    #[error("a project's name is 1 to 64 letters, digits, `_` or `-`")]
    BadProjectName,
    /// No such key.
    #[error("no key of the project begins with `{0}`; `coir keys list` shows them")]
    UnknownKey(String),
    /// More than one key.
    #[error("several keys begin with `{0}`; give the key's id, which `coir keys list` shows")]
    AmbiguousKey(String),
    /// A key from the environment opens another project, or is revoked.
    #[error(
        "the key in {0} exists already, but is revoked or belongs to another project; choose another one"
    )]
    KeyTaken(&'static str),
    /// What the server signs with is missing, or damaged.
    #[error(
        "the secret `{0}` in the table `secrets` is not 32 bytes in base64; delete the row to have it made anew"
    )]
    NoSecret(&'static str),
    /// The operating system has no randomness to give.
    #[error("no random numbers are to be had: {0}")]
    Random(getrandom::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds a project by name.
///
/// # Errors
/// [`SetupError::UnknownProject`].
pub async fn find_project(db: &Db, name: &str) -> Result<Project, SetupError> {
    let wanted = name.to_owned();
    let found = db.read(Lane::Point, |db| async move { projects::find_by_name(&db, &wanted).await }).await?;
    found.ok_or_else(|| SetupError::UnknownProject(name.to_owned()))
}

/// Makes a project with an empty log.
///
/// # Errors
/// [`SetupError`].
pub async fn create_project(db: &Db, name: &str) -> Result<Project, SetupError> {
    let form = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !form {
        return Err(SetupError::BadProjectName);
    }
    let project = Project { id: ProjectId::generate(), name: name.to_owned(), created_at: Timestamp::now() };
    let mut tx = db.begin_write().await?;
    projects::insert(&mut tx, &project, draw_epoch()?);
    match tx.commit().await {
        Ok(()) => Ok(project),
        Err(err) if err.is_unique_violation() => Err(SetupError::ProjectExists(name.to_owned())),
        Err(err) => Err(err.into()),
    }
}

/// Makes a key and returns its text, which is stored nowhere.
///
/// # Errors
/// [`SetupError`].
pub async fn create_key(
    db: &Db,
    project: &ProjectId,
    kind: KeyKind,
    scopes: &Scopes,
) -> Result<String, SetupError> {
    let key = generate_key(kind).map_err(SetupError::Random)?;
    let mut tx = db.begin_write().await?;
    keys::insert(&mut tx, &stored_key(project, kind, scopes, &key));
    tx.commit().await?;
    Ok(key)
}

/// The keys of a project, oldest first.
///
/// # Errors
/// The database's own.
pub async fn list_keys(db: &Db, project: &ProjectId) -> Result<Vec<StoredKey>, SetupError> {
    let project = project.clone();
    Ok(db.read(Lane::Point, |db| async move { keys::list(&db, &project).await }).await?)
}

/// Finds the one key that is not revoked and has this id, text, or beginning.
///
/// # Errors
/// [`SetupError::UnknownKey`] and [`SetupError::AmbiguousKey`].
pub async fn find_key(db: &Db, project: &ProjectId, text: &str) -> Result<StoredKey, SetupError> {
    let hash = hash_key(text);
    let is_meant = |key: &StoredKey| {
        key.id.as_str() == text || key.hash == hash || (!text.is_empty() && key.prefix.starts_with(text))
    };
    let keys = list_keys(db, project).await?;
    let mut found = keys.into_iter().filter(|key| key.revoked_at.is_none() && is_meant(key));
    // Shown shortened, and only what was typed: it may be a whole key.
    let shown = || text.chars().take(8).collect::<String>();
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key),
        (None, _) => Err(SetupError::UnknownKey(shown())),
        (Some(_), Some(_)) => Err(SetupError::AmbiguousKey(shown())),
    }
}

/// What the first start made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeys {
    /// For apps.
    pub publishable: String,
    /// For servers.
    pub secret: String,
}

/// Makes sure that there is the project `default`. The first time it gets one key of each kind, publishable and secret:
/// those that are given, or new ones. They are returned if it was the first time.
///
/// # Errors
/// [`SetupError`].
pub async fn ensure_default_project(
    db: &Db,
    given: [Option<&str>; 2],
) -> Result<Option<NewKeys>, SetupError> {
    match find_project(db, DEFAULT_PROJECT).await {
        Ok(_) => return Ok(None),
        Err(SetupError::UnknownProject(_)) => {}
        Err(err) => return Err(err),
    }
    let [publishable, secret] = given;
    let key = |given: Option<&str>, kind| match given {
        Some(key) => Ok(key.to_owned()),
        None => generate_key(kind).map_err(SetupError::Random),
    };
    let new_keys = NewKeys {
        publishable: key(publishable, KeyKind::Publishable)?,
        secret: key(secret, KeyKind::Secret)?,
    };
    let project =
        Project { id: ProjectId::generate(), name: DEFAULT_PROJECT.to_owned(), created_at: Timestamp::now() };
    // All in one transaction: a start that is cut short leaves no project without keys.
    let mut tx = db.begin_write().await?;
    projects::insert(&mut tx, &project, draw_epoch()?);
    for (kind, key) in [(KeyKind::Publishable, &new_keys.publishable), (KeyKind::Secret, &new_keys.secret)] {
        keys::insert(&mut tx, &stored_key(&project.id, kind, &Scopes::all(), key));
    }
    match tx.commit().await {
        Ok(()) => Ok(Some(new_keys)),
        // Another process was faster, and prints the keys.
        Err(err) if err.is_unique_violation() => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Makes sure that a key which the settings name exists in the project `default`; `setting` is where it stands.
///
/// # Errors
/// [`SetupError::KeyTaken`] if it is there, but revoked or of another project.
pub async fn ensure_key(db: &Db, kind: KeyKind, key: &str, setting: &'static str) -> Result<(), SetupError> {
    let project = find_project(db, DEFAULT_PROJECT).await?;
    let hash = hash_key(key);
    let found = db.read(Lane::Point, |db| async move { keys::find_by_hash(&db, &hash).await }).await?;
    match found {
        Some(found) if found.project == project.id && found.revoked_at.is_none() => return Ok(()),
        Some(_) => return Err(SetupError::KeyTaken(setting)),
        None => {}
    }
    let mut tx = db.begin_write().await?;
    keys::insert(&mut tx, &stored_key(&project.id, kind, &Scopes::all(), key));
    match tx.commit().await {
        Ok(()) => Ok(()),
        // Another process started with the same setting at the same moment.
        Err(err) if err.is_unique_violation() => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// The secret of this name, which is made if the database has none yet.
///
/// # Errors
/// The database's own, or that there is no randomness to be had.
pub async fn ensure_secret(db: &Db, name: &'static str) -> Result<Vec<u8>, SetupError> {
    let find = || db.read(Lane::Point, move |db| async move { secrets::find(&db, name).await });
    let stored = match find().await? {
        Some(stored) => stored,
        None => {
            let mut drawn = [0; 32];
            getrandom::fill(&mut drawn).map_err(SetupError::Random)?;
            let mut tx = db.begin_write().await?;
            secrets::insert(&mut tx, name, &STANDARD.encode(drawn));
            tx.commit().await?;
            // Another process may have been faster, and then it is its.
            find().await?.ok_or(SetupError::NoSecret(name))?
        }
    };
    STANDARD.decode(stored).ok().filter(|secret| secret.len() >= 32).ok_or(SetupError::NoSecret(name))
}

fn draw_epoch() -> Result<Epoch, SetupError> {
    // 0 is the epoch that no cursor has.
    Ok(Epoch(getrandom::u64().map_err(SetupError::Random)?.max(1)))
}
