//! `coir keys`: the keys of a project, on the database, also while servers run on it.

use std::time::Duration;

use super::{
    admin::run_operations,
    error::CliError,
    output::{note, print},
};
use crate::{
    auth::KeyKind,
    domain::{KeyId, Origins, Timestamp},
    service::{keys, project_keys::WantedKey},
    store::{Db, access::keys::StoredKey, access::projects::Project},
    writer::{
        Operation, Outcome,
        key_operation::{KeyOperation, KeyOperationKind, KeyPatch},
    },
};

/// Makes a key, and prints it.
pub(super) async fn create(db: &Db, project: &str, wanted: WantedKey) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    let (kind, scopes) = (wanted.kind, wanted.scopes.clone());
    let (text, stored) = wanted.draw(&project.id)?;
    keys::create_key(db, &stored).await?;
    print(text)?;
    note(format_args!(
        "A {} key of the project `{}` ({scopes}). It is shown only once.",
        kind.as_str(),
        project.name
    ));
    Ok(())
}

/// Prints a line for each key.
pub(super) async fn list(db: &Db, project: &str) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    print(format_args!(
        "{:<36}  {:<11}  {:<11}  {:<24}  {:<16}  {:<8}  {:<20}  scopes",
        "id", "begins with", "kind", "created", "last used", "state", "name"
    ))?;
    let now = Timestamp::now();
    for key in keys::list_keys(db, &project.id).await? {
        let scopes = key.scopes.as_deref().unwrap_or("all");
        let used = key.last_used_at.map_or("–".to_owned(), minute);
        let (created, state) = (key.created_at.to_string(), state(&key, now));
        print(format_args!(
            "{:<36}  {:<11}  {:<11}  {created:<24}  {used:<16}  {state:<8}  {:<20}  {scopes}",
            key.id.as_str(),
            key.prefix,
            key.kind,
            key.name.as_deref().unwrap_or("–"),
        ))?;
    }
    Ok(())
}

/// Prints all that is known of a key.
pub(super) async fn show(db: &Db, project: &str, key: &str) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    print_key(&keys::get_key(db, &project.id, key).await?)
}

/// Changes a key.
pub(super) async fn change(db: &Db, project: &str, key: &str, patch: KeyPatch) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    let key = keys::get_key(db, &project.id, key).await?;
    let changed = run(db, &project, KeyOperationKind::Change(key.id, patch)).await?;
    print_key(&changed)?;
    note("Running servers notice within a second. Streams end if the key may do something else now.");
    Ok(())
}

/// Makes a successor of a key, and prints it.
pub(super) async fn rotate(db: &Db, project: &str, key: &str, grace: Duration) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    let key = keys::get_key(db, &project.id, key).await?;
    let kind = KeyKind::parse(&key.kind).unwrap_or(KeyKind::Publishable);
    let (text, successor) = WantedKey::of_kind(kind).draw(&project.id)?;
    let (id, prefix) = (key.id.clone(), key.prefix);
    let made = successor.id.clone();
    let rotation = KeyOperationKind::Rotate { key: key.id, successor: Box::new(successor), grace };
    if let Err(err) = run(db, &project, rotation).await {
        // The answer to the commit may be lost. Nobody else can show the key that it has made.
        if keys::get_key(db, &project.id, made.as_str()).await.is_err() {
            return Err(err);
        }
    }
    print(text)?;
    let old = keys::get_key(db, &project.id, id.as_str()).await?;
    let end = old.expires_at.map(|end| end.to_string()).unwrap_or_default();
    note(format_args!("The successor is shown only once. The key {prefix}… is good until {end}."));
    Ok(())
}

/// Revokes a key.
pub(super) async fn revoke(db: &Db, project: &str, key: &str) -> Result<(), CliError> {
    let project = keys::get_project(db, project).await?;
    let key = keys::get_key(db, &project.id, key).await?;
    run(db, &project, KeyOperationKind::Revoke(key.id)).await?;
    print(format_args!("The key {}… is revoked; running servers notice within a second.", key.prefix))?;
    Ok(())
}

/// Does an operation with the rights of an operator.
async fn run(db: &Db, project: &Project, kind: KeyOperationKind) -> Result<StoredKey, CliError> {
    let operation = Operation::Key(Box::new(KeyOperation { grant: None, kind }));
    let outcomes = run_operations(db, vec![(project.id.clone(), vec![operation])]).await?;
    match outcomes.into_iter().next() {
        Some(Outcome::Key(key)) => Ok(StoredKey::clone(&key)),
        // The writer answers an operation on a key with the key.
        _ => Err(keys::SetupError::UnknownProject(project.name.clone()).into()),
    }
}

fn print_key(key: &StoredKey) -> Result<(), CliError> {
    let time = |time: Option<Timestamp>| time.map_or("–".to_owned(), |time| time.to_string());
    let origins = Origins::from_stored(key.origins.as_deref()).into_vec();
    let lines = [
        ("id", key.id.to_string()),
        ("name", key.name.clone().unwrap_or("–".to_owned())),
        ("begins with", key.prefix.clone()),
        ("kind", key.kind.clone()),
        ("state", state(key, Timestamp::now()).to_owned()),
        ("scopes", key.scopes.clone().unwrap_or("all".to_owned())),
        ("origins", if origins.is_empty() { "all".to_owned() } else { origins.join(",") }),
        ("created", key.created_at.to_string()),
        ("expires", time(key.expires_at)),
        ("last used", key.last_used_at.map_or("–".to_owned(), minute)),
        ("successor", key.successor.as_ref().map_or("–".to_owned(), KeyId::to_string)),
    ];
    for (name, value) in lines {
        print(format_args!("{name:<12}  {value}"))?;
    }
    Ok(())
}

fn state(key: &StoredKey, now: Timestamp) -> &'static str {
    match key.revoked_at {
        Some(_) => "revoked",
        None if key.is_good(now) => "good",
        None => "expired",
    }
}

/// Returns a time up to its minute.
fn minute(time: Timestamp) -> String {
    time.to_string().chars().take("2026-01-31T09:30".len()).collect::<String>() + "Z"
}
