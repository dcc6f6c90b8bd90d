//! The command line: what can be typed, and what each command does and prints.
//!
//! `serve` and `migrate` make the database, and `keys`, `secrets`, `projects` and `accept-clock` open one that is there. `import`,
//! `verify` and `rules` are HTTP clients of a running server.
//!
//! Reading order: [`arguments`] with `duration` and `key_values`, this file, [`logging`], `output`, `serve` with `address` and `server_note`,
//! `admin`, `keys`, `target` with `answer`, `import`, `verify` with `comparison`, `exposure`, [`error`].

mod address;
mod admin;
mod answer;
pub mod arguments;
mod comparison;
mod duration;
pub mod error;
mod exposure;
mod import;
mod key_values;
mod keys;
pub mod logging;
mod output;
mod serve;
mod server_note;
mod target;
mod verify;

pub use arguments::Cli;
use arguments::{Command, KeyCommand, ProjectCommand, RuleCommand, SecretCommand};
pub use error::CliError;

use crate::{
    app,
    auth::Scopes,
    config::{self, Config, Given, unknown::find_unknown},
    service::{
        keys::DEFAULT_PROJECT,
        project_keys::{WantedKey, check_name},
    },
    store::Db,
    writer::key_operation::KeyPatch,
};

/// Reads the settings and runs the command.
///
/// # Errors
/// [`CliError`], to be printed.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    let given = cli.settings.0;
    match cli.command {
        // These talk to a server. Of its settings they read where it is, and nothing else.
        Some(Command::Import(args)) => Ok(import::run(args, &given).await?),
        Some(Command::Verify(args)) => Ok(verify::run(args, &given).await?),
        Some(Command::Rules(RuleCommand::Exposure(args))) => Ok(exposure::run(args, &given).await?),
        None => serve::run(start_serving(&given)?).await,
        Some(Command::Serve(args)) => serve::run(start_serving(&given.with_flags_of(args.0))?).await,
        Some(Command::Migrate) => {
            if let Some(keys) = app::prepare_database(&start(&given)?).await? {
                output::print(format_args!(
                    "This database is new. The project `{DEFAULT_PROJECT}` has these keys, which are shown only once:"
                ))?;
                output::print(format_args!(
                    "  publishable  {}\n  secret       {}",
                    keys.publishable, keys.secret
                ))?;
            }
            Ok(output::print("The database's schema is up to date.")?)
        }
        Some(Command::Keys(command)) => run_on_database(&start(&given)?, Administration::Keys(command)).await,
        Some(Command::Secrets(command)) => {
            run_on_database(&start(&given)?, Administration::Secrets(command)).await
        }
        Some(Command::Projects(command)) => {
            run_on_database(&start(&given)?, Administration::Projects(command)).await
        }
        Some(Command::AcceptCopy) => admin::accept_copy(&start(&given)?).await,
        Some(Command::AcceptClock) => run_on_database(&start(&given)?, Administration::AcceptClock).await,
    }
}

/// Checks the settings and starts the log, which then warns of variables that are no settings.
fn start(given: &Given) -> Result<Config, CliError> {
    let config = Config::read(given)?;
    logging::start(&config, given)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for unknown in find_unknown(names) {
        let (name, nearest) = (unknown.name, unknown.nearest);
        tracing::warn!(variable = %name, "unknown setting `{name}` is ignored; did you mean `{nearest}`?");
    }
    Ok(config)
}

/// The same for `serve`, which also warns of the variable by which some platforms tell the port.
fn start_serving(given: &Given) -> Result<Config, CliError> {
    let config = start(given)?;
    if std::env::var_os("PORT").is_some() && !config::listen_of(given)?.1 {
        tracing::warn!("the variable PORT is not read; COIR_LISTEN=0.0.0.0:$PORT listens there");
    }
    Ok(config)
}

/// The commands that work on the database of a server, also while it runs.
enum Administration {
    Keys(KeyCommand),
    Secrets(SecretCommand),
    Projects(ProjectCommand),
    AcceptClock,
}

async fn run_on_database(config: &Config, command: Administration) -> Result<(), CliError> {
    let db = app::open_database(config).await?;
    let outcome = match command {
        Administration::Keys(command) => run_on_keys(&db, command).await,
        Administration::Secrets(SecretCommand::Rotate { secret, revoke_previous }) => {
            admin::rotate_secrets(&db, secret.map(Into::into), revoke_previous).await
        }
        Administration::Secrets(SecretCommand::List) => admin::list_secrets(&db).await,
        Administration::Projects(ProjectCommand::Create { name, open }) => {
            admin::create_project(&db, &name, open).await
        }
        Administration::Projects(ProjectCommand::Open { name }) => {
            admin::open_project(&db, &name, true).await
        }
        Administration::Projects(ProjectCommand::Close { name }) => {
            admin::open_project(&db, &name, false).await
        }
        Administration::Projects(ProjectCommand::List) => admin::list_projects(&db).await,
        Administration::AcceptClock => admin::accept_clock(&db).await,
    };
    db.close().await;
    outcome
}

async fn run_on_keys(db: &Db, command: KeyCommand) -> Result<(), CliError> {
    match command {
        KeyCommand::Create { kind, project, name, scope, origins, expires } => {
            let name = name.filter(|name| !name.is_empty());
            name.as_deref().map(check_name).transpose().map_err(CliError::BadName)?;
            let wanted = WantedKey {
                name,
                scopes: scope.unwrap_or(Scopes::all()),
                origins: origins.unwrap_or_default(),
                expires_at: expires.and_then(|end| end.0),
                ..WantedKey::of_kind(kind.into())
            };
            keys::create(db, &project, wanted).await
        }
        KeyCommand::List { project } => keys::list(db, &project).await,
        KeyCommand::Show { key } => keys::show(db, &key.project, &key.key).await,
        KeyCommand::Change { key, name, scope, origins, expires } => {
            let name = name.map(|name| Some(name).filter(|name| !name.is_empty()));
            name.iter()
                .flatten()
                .try_for_each(|name| check_name(name).map(drop))
                .map_err(CliError::BadName)?;
            let patch = KeyPatch { name, scopes: scope, origins, expires_at: expires.map(|end| end.0) };
            if patch.members().is_empty() {
                return Err(CliError::NoChange);
            }
            keys::change(db, &key.project, &key.key, patch).await
        }
        KeyCommand::Rotate { key, grace } => keys::rotate(db, &key.project, &key.key, grace).await,
        KeyCommand::Revoke { key } => keys::revoke(db, &key.project, &key.key).await,
    }
}
