//! `coir keys` and `coir projects`: administration on the database, also while servers run on it.

use super::{
    error::CliError,
    output::{note, print},
};
use crate::{
    auth::{KeyKind, KeyRing, Scopes},
    service::keys,
    store::{Db, Lane, access::projects, collections::catalog::Catalogs},
    supervision::Supervisor,
    writer::{self, Mutation, Operation, WriterConfig},
};

pub(super) async fn create_key(
    db: &Db,
    project: &str,
    kind: KeyKind,
    scopes: &Scopes,
) -> Result<(), CliError> {
    let project = keys::find_project(db, project).await?;
    print(keys::create_key(db, &project.id, kind, scopes).await?)?;
    note(format_args!(
        "A {} key of the project `{}` ({scopes}). It is shown only once.",
        kind.as_str(),
        project.name
    ));
    Ok(())
}

pub(super) async fn list_keys(db: &Db, project: &str) -> Result<(), CliError> {
    let project = keys::find_project(db, project).await?;
    print(format_args!(
        "{:<36}  {:<11}  {:<11}  {:<24}  {:<8}  scopes",
        "id", "begins with", "kind", "created", "state"
    ))?;
    for key in keys::list_keys(db, &project.id).await? {
        let state = if key.revoked_at.is_some() { "revoked" } else { "good" };
        let scopes = key.scopes.as_deref().unwrap_or("all");
        let created = key.created_at.to_string();
        print(format_args!(
            "{:<36}  {:<11}  {:<11}  {created:<24}  {state:<8}  {scopes}",
            key.id.as_str(),
            key.prefix,
            key.kind
        ))?;
    }
    Ok(())
}

pub(super) async fn revoke_key(db: &Db, project: &str, key: &str) -> Result<(), CliError> {
    let project = keys::find_project(db, project).await?;
    let key = keys::find_key(db, &project.id, key).await?;
    // The server's own writer, without a relay to publish to: running servers read the entry from the log.
    // A revocation writes nothing that has a bound, so every bound may be zero.
    let config = WriterConfig::default();
    let supervisor = Supervisor::default();
    let caches = (Catalogs::new(db.clone()), KeyRing::new(db.clone()));
    let (writer, task) = writer::start(db.clone(), caches, None, config, &supervisor);
    // It ends with its last handle, as it should.
    supervisor.stop();
    let operations = vec![Operation::RevokeKey { key: key.id }];
    let outcome =
        writer.submit(Mutation { project: project.id, caller: None, operations, idempotency: None }).await;
    drop(writer);
    if let Err(err) = task.await {
        tracing::warn!("the writer failed: {err}");
    }
    outcome?;
    print(format_args!("The key {}… is revoked; running servers notice within a second.", key.prefix))?;
    Ok(())
}

pub(super) async fn create_project(db: &Db, name: &str) -> Result<(), CliError> {
    let project = keys::create_project(db, name).await?;
    print(format_args!("The project `{}` has these keys, which are shown only once:", project.name))?;
    for kind in [KeyKind::Publishable, KeyKind::Secret] {
        let key = keys::create_key(db, &project.id, kind, &Scopes::all()).await?;
        print(format_args!("  {:<11}  {key}", kind.as_str()))?;
    }
    Ok(())
}

pub(super) async fn list_projects(db: &Db) -> Result<(), CliError> {
    print(format_args!("{:<36}  {:<24}  name", "id", "created"))?;
    let all = db.read(Lane::Point, |db| async move { projects::list(&db).await }).await;
    for project in all.map_err(keys::SetupError::from)? {
        print(format_args!("{}  {}  {}", project.id, project.created_at, project.name))?;
    }
    Ok(())
}
