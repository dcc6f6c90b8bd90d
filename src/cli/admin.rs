//! `coir secrets`, `coir projects` and `coir accept-clock`: administration on the database, also while servers run on it.

use super::{
    error::CliError,
    output::{note, print},
};
use crate::{
    app::StartError,
    auth::{KeyKind, KeyRing, Sessions},
    config::Config,
    domain::{ProjectId, Timestamp, secrets::SecretName},
    service::{keys, project_keys::WantedKey, secrets},
    store::{self, Db, Lane, access::projects, collections::catalog::Catalogs, log::ends},
    supervision::Supervisor,
    writer::{self, Mutation, Operation, Outcome, WriterConfig},
};

/// How far a log may be ahead of the clock, in milliseconds: writes go on meanwhile.
const MINUTE: i64 = 60_000;
const OPEN: &str =
    "The project is open: everybody with one of its keys reads and writes each collection without rules.";
const CLOSED: &str =
    "The project is closed: each collection without rules is for servers only, with a secret key.";

pub(super) async fn rotate_secrets(
    db: &Db,
    only: Option<SecretName>,
    revoke_previous: bool,
) -> Result<(), CliError> {
    // The secrets are those of the whole server. One log is enough to tell every node.
    let project = keys::get_project(db, keys::DEFAULT_PROJECT).await?;
    let names = SecretName::ALL.into_iter().filter(|name| only.is_none_or(|only| only == *name));
    let mut rotations = Vec::new();
    for name in names.clone() {
        rotations.push(Operation::RotateSecret(secrets::draw_rotation(name, !revoke_previous)?));
    }
    // One mutation, so that all of them are replaced or none.
    write_together(db, vec![(project.id, rotations)]).await?;
    for name in names {
        let name = name.as_str();
        match revoke_previous {
            false => print(format_args!(
                "The secret `{name}` is replaced. Tokens of the one before it stay good for their life."
            ))?,
            true => print(format_args!(
                "The secret `{name}` is replaced. Tokens of those before it are good for nothing now."
            ))?,
        }
    }
    note("Running servers notice within a second.");
    Ok(())
}

pub(super) async fn list_secrets(db: &Db) -> Result<(), CliError> {
    print(format_args!("{:<12}  {:<24}  previous", "secret", "current"))?;
    for name in SecretName::ALL {
        let (current, previous) = secrets::find(db, name).await.map_err(keys::SetupError::from)?;
        let [current, previous] = [current, previous].map(|secret| match secret {
            Some(secret) => secret.created_at.to_string(),
            None => "–".to_owned(),
        });
        print(format_args!("{:<12}  {current:<24}  {previous}", name.as_str()))?;
    }
    Ok(())
}

pub(super) async fn accept_copy(config: &Config) -> Result<(), CliError> {
    store::accept_copy(&config.database_url).await.map_err(StartError::from)?;
    print("The database is whole, and is accepted as it is.")?;
    Ok(())
}

/// Appends an entry with the clock's time to each log that ends later, and to one log in any case.
pub(super) async fn accept_clock(db: &Db) -> Result<(), CliError> {
    let mut tx = db.begin_write().await.map_err(keys::SetupError::from)?;
    let read = ends::last_time(&mut tx).await;
    tx.rollback().await.map_err(keys::SetupError::from)?;
    let (_, database) = read.map_err(keys::SetupError::from)?;
    let now = database.unwrap_or_else(Timestamp::now);
    let all = db.read(Lane::Point, |db| async move { ends::list(&db).await }).await;
    let all = all.map_err(keys::SetupError::from)?;
    let mut wrong: Vec<_> = all.ends.iter().filter(|ends| ends.last.at.0 > now.0 + MINUTE).collect();
    let count = wrong.len();
    if wrong.is_empty() {
        wrong.extend(all.ends.first());
    }
    write(db, wrong.into_iter().map(|ends| (ends.project.clone(), Operation::AcceptClock)).collect()).await?;
    print(format_args!(
        "The clock says {now}, which is confirmed. Running servers write again within seconds."
    ))?;
    if count > 0 {
        print(format_args!("{count} change logs ended later. What is written from now on has right times."))?;
    }
    Ok(())
}

/// Writes each operation as a mutation of its own.
async fn write(db: &Db, operations: Vec<(ProjectId, Operation)>) -> Result<(), CliError> {
    let alone = |(project, operation)| (project, vec![operation]);
    write_together(db, operations.into_iter().map(alone).collect()).await
}

/// Writes several mutations.
async fn write_together(db: &Db, mutations: Vec<(ProjectId, Vec<Operation>)>) -> Result<(), CliError> {
    run_operations(db, mutations).await.map(drop)
}

/// Writes several mutations, and returns the outcomes of their operations.
pub(super) async fn run_operations(
    db: &Db,
    mutations: Vec<(ProjectId, Vec<Operation>)>,
) -> Result<Vec<Outcome>, CliError> {
    // The server's own writer, without a relay to publish to: running servers read the entry from the log.
    // These operations write nothing that has a bound, so every bound may be zero.
    let config = WriterConfig::default();
    let supervisor = Supervisor::default();
    let caches = (Catalogs::new(db.clone()), KeyRing::new(db.clone()), Sessions::new(db.clone()));
    let (writer, task) = writer::start(db.clone(), caches, None, config, &supervisor);
    // It ends with its last handle, as it should.
    supervisor.stop();
    let (mut outcomes, mut failure) = (Vec::new(), None);
    for (project, operations) in mutations {
        let mutation = Mutation {
            project,
            caller: None,
            session: None,
            author: None,
            operations,
            idempotency: None,
            seen: None,
        };
        match writer.submit(mutation).await {
            Ok(committed) => outcomes.extend(committed.outcomes),
            Err(err) => failure = failure.or(Some(err.without_place())),
        }
    }
    drop(writer);
    if let Err(err) = task.await {
        tracing::warn!("the writer failed: {err}");
    }
    match failure {
        Some(err) => Err(err.into()),
        None => Ok(outcomes),
    }
}

pub(super) async fn create_project(db: &Db, name: &str, is_open: bool) -> Result<(), CliError> {
    let project = keys::create_project(db, name, is_open).await?;
    print(format_args!("The project `{}` has these keys, which are shown only once:", project.name))?;
    for kind in [KeyKind::Publishable, KeyKind::Secret] {
        let (key, stored) = WantedKey::of_kind(kind).draw(&project.id)?;
        keys::create_key(db, &stored).await?;
        print(format_args!("  {:<11}  {key}", kind.as_str()))?;
    }
    note(if is_open { OPEN } else { CLOSED });
    Ok(())
}

/// Opens a project, or closes it.
pub(super) async fn open_project(db: &Db, name: &str, is_open: bool) -> Result<(), CliError> {
    let project = keys::get_project(db, name).await?;
    let change = serde_json::Map::from_iter([("open".to_owned(), is_open.into())]);
    write(db, vec![(project.id, Operation::ChangeSettings(change))]).await?;
    print(if is_open { OPEN } else { CLOSED })?;
    note("Running servers notice within a second, and streams that are open too.");
    Ok(())
}

pub(super) async fn list_projects(db: &Db) -> Result<(), CliError> {
    print(format_args!("{:<36}  {:<24}  {:<6}  name", "id", "created", "access"))?;
    let all = db.read(Lane::Point, |db| async move { projects::list(&db).await }).await;
    for project in all.map_err(keys::SetupError::from)? {
        let access = if project.is_open { "open" } else { "closed" };
        print(format_args!("{}  {}  {access:<6}  {}", project.id, project.created_at, project.name))?;
    }
    Ok(())
}
