//! The command line: what can be typed, and what each command does and prints.
//!
//! `serve`, `migrate`, `keys` and `projects` open the database; `import` and `verify` are HTTP clients of a server that
//! runs. Reading order: this file, `serve`, `admin`, `answer`, `import`, `verify` with `comparison`.

mod admin;
mod answer;
mod comparison;
mod import;
mod serve;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    app::{self, StartError},
    auth::{KeyKind, Scopes, principal::UnknownScope},
    config::{Config, ConfigError},
    service::keys::{DEFAULT_PROJECT, SetupError},
    writer::WriteError,
};

/// A realtime document backend in one binary: collections of JSON documents over REST, and every committed change pushed
/// to WebSocket and server-sent event subscribers.
#[derive(Parser)]
#[command(
    name = "coir",
    version,
    after_help = "Without a command it serves, on 127.0.0.1:8080 and from a SQLite file in ./data, and prints what to try \
                  next.\n\nExamples:\n  coir                                    run it\n  coir --listen 127.0.0.1:8081            \
                  on another port\n  DATABASE_URL=postgres://… coir          on PostgreSQL\n  coir keys create secret                 \
                  another key\n  coir import movies movies.json --key sk_…\n\nSettings come from the environment or a file \
                  .env; .env.example lists them all."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Settings that are often typed; each stands for the variable that its help names.
#[derive(Args)]
struct SettingArgs {
    /// Address and port to serve on (COIR_LISTEN)
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Directory of the SQLite file (COIR_DATA_DIR)
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// sqlite://… or postgres://… (DATABASE_URL)
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (what happens without a command)
    Serve,
    /// Bring the database's schema up to date, and end
    Migrate,
    /// Make, list and revoke API keys, also while a server runs
    #[command(subcommand)]
    Keys(KeyCommand),
    /// Make and list projects: tenants with keys, collections and a change log of their own
    #[command(subcommand)]
    Projects(ProjectCommand),
    /// Write the documents of a file into a collection of a server that runs
    Import(ImportArgs),
    /// Follow a collection of a server that runs, through disconnects, and compare what its events tell with its list
    Verify(VerifyArgs),
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key and print it; it is shown this once
    Create {
        /// publishable (pk_…, for apps) or secret (sk_…, for servers)
        kind: KeyKindArg,
        /// The project that it opens
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// Limit it: documents:read, documents:write, collections:write, realtime (comma-separated); users is reserved
        #[arg(long, value_name = "SCOPES")]
        scope: Option<String>,
    },
    /// List a project's keys by their first characters
    List {
        /// The project
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
    /// Revoke a key; running servers notice within a second and end its streams
    Revoke {
        /// The key's id or first characters, as `keys list` shows them, or the whole key
        key: String,
        /// The project
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
}

#[derive(Subcommand)]
enum ProjectCommand {
    /// Make a project with one key of each kind
    Create {
        /// 1 to 64 letters, digits, `_` or `-`
        name: String,
    },
    /// List the projects
    List,
}

#[derive(Args)]
struct ImportArgs {
    /// The collection; it is made if it isn't there
    collection: String,
    /// A JSON array of objects (.json), or one object a line (.ndjson, .jsonl). What an export gives keeps its ids
    file: PathBuf,
    /// Where the server runs
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The API key; better in COIR_API_KEY, where the list of processes doesn't show it
    #[arg(long)]
    key: Option<String>,
    /// Requests at a time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
}

#[derive(Args)]
struct VerifyArgs {
    /// The collection
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Which documents: JSON such as '{"status":"published"}', or terms such as 'status=published&age__gte=18'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// How long: 60s, 5m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = verify::parse_duration)]
    duration: std::time::Duration,
    /// Where the server runs
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The API key; better in COIR_API_KEY, where the list of processes doesn't show it
    #[arg(long)]
    key: Option<String>,
}

/// How the command line spells the kinds of keys.
#[derive(Clone, Copy, ValueEnum)]
enum KeyKindArg {
    Publishable,
    Secret,
}

impl From<KeyKindArg> for KeyKind {
    fn from(kind: KeyKindArg) -> Self {
        match kind {
            KeyKindArg::Publishable => Self::Publishable,
            KeyKindArg::Secret => Self::Secret,
        }
    }
}

/// Why a command failed; a sentence for whoever typed it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A setting.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The log's own setting.
    #[error("COIR_LOG: {0}")]
    Log(String),
    /// The start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A project or key.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A scope.
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    /// A write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An import.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// A verification.
    #[error(transparent)]
    Verify(#[from] verify::VerifyError),
    /// The server ended on its own.
    #[error("the server failed: {0}")]
    Server(std::io::Error),
}

/// Reads the settings and does what was typed.
///
/// # Errors
/// [`CliError`], to be printed.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    let settings = cli.settings;
    let lookup = |name: &str| {
        let typed = match name {
            "COIR_LISTEN" => &settings.listen,
            "COIR_DATA_DIR" => &settings.data_dir,
            "DATABASE_URL" => &settings.database_url,
            _ => &None,
        };
        typed.clone().or_else(|| std::env::var(name).ok())
    };
    if let Some(Command::Import(args)) = cli.command {
        // It talks to a server, whose settings are not ours.
        let key = args.key.clone().or_else(|| lookup("COIR_API_KEY"));
        return Ok(import::run(args, key).await?);
    }
    if let Some(Command::Verify(args)) = cli.command {
        let key = args.key.clone().or_else(|| lookup("COIR_API_KEY"));
        return Ok(verify::run(args, key).await?);
    }
    let config = Config::from_env(lookup)?;
    serve::start_log(&config)?;
    let command = match cli.command {
        None | Some(Command::Serve | Command::Import(_) | Command::Verify(_)) => {
            return serve::run(config).await;
        }
        Some(command) => command,
    };
    if let Command::Migrate = command {
        app::migrate_database(&config).await?.close().await;
        println!("The database's schema is up to date.");
        return Ok(());
    }
    let (db, new_keys) = app::open_database(&config).await?;
    if let Some(keys) = new_keys {
        eprintln!(
            "This database is new. The project `{DEFAULT_PROJECT}` has these keys, which are shown this once:"
        );
        eprintln!("  publishable  {}\n  secret       {}", keys.publishable, keys.secret);
    }
    let outcome = match command {
        Command::Keys(KeyCommand::Create { kind, project, scope }) => {
            let scopes = scope.as_deref().map_or(Ok(Scopes::all()), Scopes::parse)?;
            admin::create_key(&db, &project, kind.into(), &scopes).await
        }
        Command::Keys(KeyCommand::List { project }) => admin::list_keys(&db, &project).await,
        Command::Keys(KeyCommand::Revoke { key, project }) => admin::revoke_key(&db, &project, &key).await,
        Command::Projects(ProjectCommand::Create { name }) => admin::create_project(&db, &name).await,
        Command::Projects(ProjectCommand::List) => admin::list_projects(&db).await,
        Command::Migrate | Command::Serve | Command::Import(_) | Command::Verify(_) => Ok(()),
    };
    db.close().await;
    outcome
}
