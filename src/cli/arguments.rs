//! The command line as it can be typed: the commands and their arguments, which clap reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    duration::parse_duration,
    key_values::{Expiry, parse_days, parse_expiry, parse_origins, parse_scopes},
};
use crate::{
    auth::{KeyKind, Scopes},
    config::arguments::{ServeArgs, SettingArgs},
    domain::{Origins, secrets::SecretName},
    service::keys::DEFAULT_PROJECT,
};

/// A realtime document backend in one binary: collections of JSON documents over REST, and every committed change pushed
/// to WebSocket and server-sent event subscribers.
#[derive(Parser)]
#[command(
    name = "coir",
    version,
    after_help = "Without a command Coir serves on 127.0.0.1:8080 from a SQLite file in ./data, and prints what to try next.\n\n\
                  Examples:\n  coir                                    serve\n  coir --listen 8081                      \
                  on another port\n  DATABASE_URL=postgres://… coir          on PostgreSQL\n  coir keys create secret                 \
                  another key\n  coir import movies movies.json          documents of a file\n\n\
                  `coir serve --help` lists every setting. A setting is a flag, a variable of the environment, or a line of a file .env."
)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Serve the API; the default command. Its help lists every setting
    Serve(ServeArgs),
    /// Migrate the database to this version's schema, and exit
    Migrate,
    /// Create, list, change, rotate and revoke API keys, also while a server runs
    #[command(subcommand)]
    Keys(KeyCommand),
    /// Replace the secrets that the server signs tokens with, also while a server runs
    #[command(subcommand)]
    Secrets(SecretCommand),
    /// Create and list projects: tenants with keys, collections and a change log of their own
    #[command(subcommand)]
    Projects(ProjectCommand),
    /// See what the rules of a running server's collections leave open
    #[command(subcommand)]
    Rules(RuleCommand),
    /// Confirm that the clock is right, after it jumped by more than an hour, or after a server ran with a wrong clock
    AcceptClock,
    /// Check a SQLite file that was copied without its -wal while it was in use, and accept what is in it
    AcceptCopy,
    /// Import the documents of a file into a collection of a running server
    Import(ImportArgs),
    /// Follow a collection of a running server through disconnects, and compare its events with its list
    Verify(VerifyArgs),
}

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Create a key and print it; it is shown only once
    Create {
        /// publishable (pk_…, for apps) or secret (sk_…, for servers)
        kind: KeyKindArg,
        /// The project whose data the key opens
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
        /// By which people know the key
        #[arg(long)]
        name: Option<String>,
        /// Limit the key to these scopes: documents:read, documents:write, collections:write, realtime, users, settings, audit, keys (comma-separated)
        #[arg(long, visible_alias = "scopes", value_name = "SCOPES", value_parser = parse_scopes)]
        scope: Option<Scopes>,
        /// Let only pages of these origins use the key, such as `https://app.example.com,https://*.example.org` (comma-separated)
        #[arg(long, value_name = "ORIGINS", value_parser = parse_origins)]
        origins: Option<Origins>,
        /// When the key expires: a time (2030-01-31T09:00:00Z), a date, or a duration (12h, 90d)
        #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
        expires: Option<Expiry>,
    },
    /// List the keys of a project by their first characters
    List {
        /// The project
        #[arg(long, default_value = DEFAULT_PROJECT)]
        project: String,
    },
    /// Show a key that is not revoked, without its text
    Show {
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Change the name, the scopes, the origins or the expiry of a key; its streams end if it may do something else then
    Change {
        #[command(flatten)]
        key: KeyArgs,
        /// The new name; an empty text takes it away
        #[arg(long)]
        name: Option<String>,
        /// The new scopes (comma-separated), or all
        #[arg(long, visible_alias = "scopes", value_name = "SCOPES", value_parser = parse_scopes)]
        scope: Option<Scopes>,
        /// The new origins (comma-separated), or all
        #[arg(long, value_name = "ORIGINS", value_parser = parse_origins)]
        origins: Option<Origins>,
        /// The new end: a time, a date, a duration from now, or never
        #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
        expires: Option<Expiry>,
    },
    /// Make a successor of a key and print it; the key stays good for a while, and expires then
    Rotate {
        #[command(flatten)]
        key: KeyArgs,
        /// For how long the key stays good: 0s, 60s, 2h, 7d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_days)]
        grace: std::time::Duration,
    },
    /// Revoke a key; running servers notice within a second and end its streams
    Revoke {
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// A key of a project.
#[derive(Args)]
pub(super) struct KeyArgs {
    /// The key's id, the whole key, or its beginning with at least 8 characters behind `pk_` or `sk_`
    pub(super) key: String,
    /// The project
    #[arg(long, default_value = DEFAULT_PROJECT)]
    pub(super) project: String,
}

#[derive(Subcommand)]
pub(super) enum SecretCommand {
    /// Replace a secret, or all of them. Tokens of the one before it stay good for their life; running servers notice within a second
    Rotate {
        /// What the secret signs. Unset: all of them
        secret: Option<SecretArg>,
        /// Drop the secret before it at once, because it may have leaked. All its tokens are good for nothing then
        #[arg(long)]
        revoke_previous: bool,
    },
    /// List the secrets by their names, with the time when each was made
    List,
}

#[derive(Subcommand)]
pub(super) enum ProjectCommand {
    /// Create a project with one key of each kind. It is closed: a collection without rules is for servers only
    Create {
        /// 1 to 64 letters, digits, `_` or `-`
        name: String,
        /// Open the project: everybody with one of its keys reads and writes each collection without rules
        #[arg(long)]
        open: bool,
    },
    /// List the projects
    List,
    /// Open a project to its publishable keys and its users: they read and write each collection without rules
    Open {
        /// The project
        name: String,
    },
    /// Close a project: its collections without rules are for servers with a secret key only, also on open streams
    Close {
        /// The project
        name: String,
    },
}

#[derive(Subcommand)]
pub(super) enum RuleCommand {
    /// Print how much guests and users may do in each collection at most
    Exposure(ExposureArgs),
}

#[derive(Args)]
pub(super) struct ExposureArgs {
    /// Fail if a collection is open to somebody without a secret key, and has no rules that say so
    #[arg(long)]
    pub(super) check: bool,
    /// A collection that is meant to be open without rules; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) allow: Vec<String>,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The collection; the first document creates it
    pub(super) collection: String,
    /// A JSON array of objects (.json), one object per line (.ndjson, .jsonl), or a table (.csv, .tsv). Documents of an export
    /// keep their ids
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The field that has the ids of records that are not in the form of an export. A second import replaces the documents of the
    /// first
    #[arg(long, value_name = "NAME")]
    pub(super) id_field: Option<String>,
    /// Check the file, the server and the key, and write nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Concurrent requests. With more than one, the documents may be created in another order than that of the file
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) concurrency: u16,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The collection
    #[arg(long, value_name = "NAME")]
    pub(super) collection: String,
    /// The documents to follow: JSON such as '{"status":"published"}', or terms such as 'status=published&age__gte=18'
    #[arg(long, value_name = "FILTER")]
    pub(super) filter: Option<String>,
    /// How long to follow: 60s, 5m, 2h
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(super) duration: std::time::Duration,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// The server that a command talks to, and the key that it sends.
#[derive(Args)]
pub(super) struct ServerArgs {
    /// URL of the running server. Unset: the server of this directory
    #[arg(long, env = "COIR_URL", hide_env_values = true)]
    pub(super) url: Option<String>,
    /// The API key. Prefer the variable: other users of the machine can read command lines
    #[arg(long, env = "COIR_KEY", hide_env_values = true)]
    pub(super) key: Option<String>,
}

/// How the command line spells the kinds of keys.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum KeyKindArg {
    Publishable,
    Secret,
}

/// How the command line spells the names of secrets, as the table `secrets` does.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SecretArg {
    /// Access tokens with HS256
    Access,
    /// Access tokens with EdDSA
    AccessEddsa,
    /// Refresh tokens
    Refresh,
    /// Stream tickets
    Tickets,
    /// Sign-ins with other providers that have begun
    Oauth,
}

impl From<SecretArg> for SecretName {
    fn from(secret: SecretArg) -> Self {
        match secret {
            SecretArg::Access => Self::Access,
            SecretArg::AccessEddsa => Self::AccessEddsa,
            SecretArg::Refresh => Self::Refresh,
            SecretArg::Tickets => Self::Tickets,
            SecretArg::Oauth => Self::OAuth,
        }
    }
}

impl From<KeyKindArg> for KeyKind {
    fn from(kind: KeyKindArg) -> Self {
        match kind {
            KeyKindArg::Publishable => Self::Publishable,
            KeyKindArg::Secret => Self::Secret,
        }
    }
}
