//! Projects and keys, as the command line and the first start create them.
//!
//! These functions write to the database themselves, so that they work before a server runs and beside one.

use std::fmt;

use serde_json::json;

use crate::{
    auth::{
        KeyKind, Scopes,
        keys::{generate_key, hash_key, shown_part, stored_key},
    },
    domain::{
        ProjectId, Timestamp,
        audit::{AuditEntry, AuditEvent},
        cursor::Epoch,
    },
    store::{
        Db, Lane, StoreError, WriteTx,
        access::{
            audit,
            keys::{self, StoredKey},
            projects::{self, Project},
        },
    },
};

/// The project that every installation has.
pub const DEFAULT_PROJECT: &str = "default";

/// Why a project or key could not be created or found. The message is for the person who typed the command.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("unknown project `{0}`; `coir projects list` shows the projects")]
    UnknownProject(String),
    #[error("a project `{0}` exists already")]
    ProjectExists(String),
    #[error("a project's name must have 1 to 64 letters, digits, `_` or `-`")]
    BadProjectName,
    #[error("{0}")]
    NoSuchKey(NoSuchKey),
    #[error("the key in {0} is revoked or belongs to another project; choose another key")]
    KeyTaken(&'static str),
    /// A secret that the server signs with is damaged.
    #[error(
        "the secret `{0}` in the table `secrets` must be 32 bytes in base64; delete the row, and the server creates a new one"
    )]
    NoSecret(String),
    #[error("the operating system has no random numbers: {0}")]
    Random(getrandom::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The fewest characters behind `pk_` or `sk_` by which a key can be named.
const MIN_BEGINNING: usize = 8;
/// The fewest characters of a whole key.
const MIN_KEY: usize = 19;
/// The most keys that an error lists.
const MAX_LISTED: usize = 10;

/// A text that names no key, or not one alone.
#[derive(Debug)]
pub struct NoSuchKey {
    /// The beginning of the text.
    typed: String,
    why: Why,
    /// The keys that the text fits.
    fitting: Vec<StoredKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    NoneFits,
    TooShort,
    /// It is longer than what is stored of the key, but not the whole key.
    NotWhole,
    SeveralFit,
    Revoked,
}

impl fmt::Display for NoSuchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = &self.typed;
        match self.why {
            Why::NoneFits => {
                return write!(
                    f,
                    "no key of the project that is not revoked begins with `{typed}`; `coir keys list` shows the keys"
                );
            }
            Why::TooShort => write!(
                f,
                "`{typed}` is too short to name a key: give the id, the whole key, or at least {MIN_BEGINNING} characters behind `pk_` or `sk_`"
            ),
            Why::NotWhole => write!(
                f,
                "the text that begins with `{typed}` is not the whole key that begins so; give the id, the whole key, or only the characters that `coir keys list` shows"
            ),
            Why::SeveralFit => write!(f, "several keys begin with `{typed}`; give the id or the whole key"),
            Why::Revoked => write!(f, "the key `{typed}` is revoked already"),
        }?;
        write!(f, ". It fits:")?;
        for key in self.fitting.iter().take(MAX_LISTED) {
            write!(f, "\n  {}  {}…  {}", key.id, key.prefix, key.kind)?;
        }
        match self.fitting.len().saturating_sub(MAX_LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Gets a project by its name.
///
/// # Errors
/// [`SetupError::UnknownProject`].
pub async fn get_project(db: &Db, name: &str) -> Result<Project, SetupError> {
    let wanted = name.to_owned();
    let found = db.read(Lane::Point, |db| async move { projects::find_by_name(&db, &wanted).await }).await?;
    found.ok_or_else(|| SetupError::UnknownProject(name.to_owned()))
}

/// Creates a project with an empty log. Unless it is open, its collections are for servers until they have rules.
///
/// # Errors
/// [`SetupError::BadProjectName`] and [`SetupError::ProjectExists`].
pub async fn create_project(db: &Db, name: &str, is_open: bool) -> Result<Project, SetupError> {
    let form = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !form {
        return Err(SetupError::BadProjectName);
    }
    let (id, created_at) = (ProjectId::generate(), Timestamp::now());
    let project = Project { id, name: name.to_owned(), created_at, is_open };
    let mut tx = db.begin_write().await?;
    projects::insert(&mut tx, &project, draw_epoch()?);
    match commit(tx, async || is_own_project(db, &project).await).await {
        Ok(()) => Ok(project),
        Err(err) if err.is_unique_violation() => Err(SetupError::ProjectExists(name.to_owned())),
        Err(err) => Err(err.into()),
    }
}

/// Commits. Where the answer of the database is lost, `is_there` finds out whether the commit happened: nobody else can show the
/// keys that it holds.
async fn commit(
    tx: WriteTx,
    is_there: impl AsyncFnOnce() -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    match tx.commit().await {
        Err(err) if err.is_session_error() && is_there().await.unwrap_or(false) => Ok(()),
        committed => committed,
    }
}

/// Whether the database has this project, and not only another one of its name.
async fn is_own_project(db: &Db, project: &Project) -> Result<bool, StoreError> {
    let name = project.name.clone();
    let found = db.read(Lane::Point, |db| async move { projects::find_by_name(&db, &name).await }).await?;
    Ok(found.is_some_and(|found| found.id == project.id))
}

/// Creates a key. Only its hash is stored, so the text cannot be shown again.
pub async fn create_key(db: &Db, stored: &StoredKey) -> Result<(), SetupError> {
    let mut tx = db.begin_write().await?;
    insert_key(&mut tx, stored);
    let id = stored.id.clone();
    let find = db.read(Lane::Point, |db| async move { keys::find(&db, &id).await });
    commit(tx, async || Ok(find.await?.is_some())).await?;
    Ok(())
}

/// Writes a key, and the entry of the audit that says that there is one. Deferred.
fn insert_key(tx: &mut WriteTx, key: &StoredKey) {
    keys::insert(tx, key);
    let made = AuditEntry {
        details: Some(json!({ "key": key.id.as_str(), "kind": key.kind })),
        ..AuditEntry::new(key.project.clone(), AuditEvent::KeyCreated, key.created_at)
    };
    audit::insert_many(tx, &[made]);
}

/// Lists the keys of a project, oldest first, revoked ones too.
pub async fn list_keys(db: &Db, project: &ProjectId) -> Result<Vec<StoredKey>, SetupError> {
    let project = project.clone();
    Ok(db.read(Lane::Point, |db| async move { keys::list(&db, &project).await }).await?)
}

/// Gets the one key that is not revoked and has this id, this text, or this beginning. A beginning has at least 8 characters behind
/// `pk_` or `sk_`, because a shorter one may be a mistake and fit a key that is in use.
///
/// # Errors
/// [`SetupError::NoSuchKey`], which lists the keys that fit.
pub async fn get_key(db: &Db, project: &ProjectId, text: &str) -> Result<StoredKey, SetupError> {
    let hash = hash_key(text);
    let keys = list_keys(db, project).await?;
    let refuse = |why, fitting| {
        // The typed text may be a whole key, so only its beginning is shown.
        let typed = if text.len() < MIN_KEY { text } else { shown_part(text) };
        Err(SetupError::NoSuchKey(NoSuchKey { typed: typed.to_owned(), why, fitting }))
    };
    if let Some(key) = keys.iter().find(|key| key.id.as_str() == text || key.hash == hash) {
        return match key.revoked_at {
            None => Ok(key.clone()),
            Some(_) => refuse(Why::Revoked, vec![key.clone()]),
        };
    }
    let fits = |key: &StoredKey| {
        let (shown, typed) = (key.prefix.as_str(), text);
        key.revoked_at.is_none() && !text.is_empty() && (shown.starts_with(typed) || typed.starts_with(shown))
    };
    let mut fitting: Vec<_> = keys.into_iter().filter(fits).collect();
    let behind_prefix = text.strip_prefix("pk_").or(text.strip_prefix("sk_")).unwrap_or_default();
    match fitting.len() {
        0 => refuse(Why::NoneFits, fitting),
        _ if behind_prefix.len() < MIN_BEGINNING => refuse(Why::TooShort, fitting),
        // The rest of what was typed can't be compared, and may be wrong.
        _ if fitting.iter().all(|key| key.prefix.len() < text.len()) => refuse(Why::NotWhole, fitting),
        1 => Ok(fitting.remove(0)),
        _ => refuse(Why::SeveralFit, fitting),
    }
}

/// The keys that the first start created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKeys {
    pub publishable: String,
    pub secret: String,
}

/// The project `default` and its keys, as this process makes them if they are not there. They are drawn before the first try, so
/// that a later one recognises what an earlier one has committed without hearing of it.
pub struct FirstProject {
    project: Project,
    epoch: Epoch,
    keys: NewKeys,
}

impl FirstProject {
    /// Draws them. The keys are the `given` publishable and secret one, or new ones.
    ///
    /// # Errors
    /// [`SetupError::Random`].
    pub fn draw(given: [Option<&str>; 2]) -> Result<Self, SetupError> {
        let [publishable, secret] = given;
        let key = |given: Option<&str>, kind| match given {
            Some(key) => Ok(key.to_owned()),
            None => generate_key(kind).map_err(SetupError::Random),
        };
        let keys = NewKeys {
            publishable: key(publishable, KeyKind::Publishable)?,
            secret: key(secret, KeyKind::Secret)?,
        };
        let (id, name) = (ProjectId::generate(), DEFAULT_PROJECT.to_owned());
        // The client libraries expect it so.
        let project = Project { id, name, created_at: Timestamp::now(), is_open: true };
        Ok(Self { project, epoch: draw_epoch()?, keys })
    }

    /// Makes sure that the project `default` exists. Returns the keys if it is this one: the process shows them, and no other does.
    pub async fn ensure(&self, db: &Db) -> Result<Option<NewKeys>, SetupError> {
        let is_there = match get_project(db, DEFAULT_PROJECT).await {
            Ok(_) => true,
            Err(SetupError::UnknownProject(_)) => false,
            Err(err) => return Err(err),
        };
        if !is_there {
            self.create(db).await?;
        }
        Ok(is_own_project(db, &self.project).await?.then(|| self.keys.clone()))
    }

    /// Creates the project, unless another process is faster.
    async fn create(&self, db: &Db) -> Result<(), SetupError> {
        let Self { project, epoch, keys: NewKeys { publishable, secret } } = self;
        // One transaction, so that a start that is killed leaves no project without keys.
        let mut tx = db.begin_write().await?;
        projects::insert(&mut tx, project, *epoch);
        for (kind, key) in [(KeyKind::Publishable, publishable), (KeyKind::Secret, secret)] {
            insert_key(&mut tx, &stored_key(&project.id, kind, &Scopes::all(), key));
        }
        match commit(tx, async || is_own_project(db, project).await).await {
            Err(err) if !err.is_unique_violation() => Err(err.into()),
            _ => Ok(()),
        }
    }
}

/// Makes sure that a key from the settings exists in the project `default`. `setting` is the name of its setting.
///
/// # Errors
/// [`SetupError::KeyTaken`] if the key is revoked or belongs to another project.
pub async fn ensure_key(db: &Db, kind: KeyKind, key: &str, setting: &'static str) -> Result<(), SetupError> {
    let project = get_project(db, DEFAULT_PROJECT).await?;
    let hash = hash_key(key);
    let found = db.read(Lane::Point, |db| async move { keys::find_by_hash(&db, &hash).await }).await?;
    match found {
        Some(found) if found.project == project.id && found.revoked_at.is_none() => return Ok(()),
        Some(_) => return Err(SetupError::KeyTaken(setting)),
        None => {}
    }
    let mut tx = db.begin_write().await?;
    insert_key(&mut tx, &stored_key(&project.id, kind, &Scopes::all(), key));
    match tx.commit().await {
        Ok(()) => Ok(()),
        // Another process started with the same setting at the same moment.
        Err(err) if err.is_unique_violation() => Ok(()),
        Err(err) => Err(err.into()),
    }
}

fn draw_epoch() -> Result<Epoch, SetupError> {
    // A damaged epoch in the database reads as 0, so no log may have this one.
    Ok(Epoch(getrandom::u64().map_err(SetupError::Random)?.max(1)))
}
