//! Why the server cannot start, told to the person who starts it.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    auth::PasswordError,
    hub::relay::LogError,
    service::keys::SetupError,
    store::{ConnectError, MigrateError, StoreError},
};

/// Why the server cannot start. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the data directory `{0}` cannot be created: {1}; choose another one with --data-dir (COIR_DATA_DIR)"
    )]
    DataDir(PathBuf, io::Error),
    /// The directory exists, but no file can be created in it.
    #[error(
        "the data directory `{0}` is not writable: {1}; give the user that runs Coir the right to write there, or choose another directory with --data-dir (COIR_DATA_DIR)"
    )]
    DataDirReadOnly(PathBuf, io::Error),
    #[error(
        "the directory `{0}` does not exist; --public (COIR_PUBLIC) must name the directory of an app's files"
    )]
    NoPublic(PathBuf),
    /// Told by commands that make no database.
    #[error(
        "there is no database at {0}, and this command makes none; type it in the server's directory, or name the server's data with --data-dir (COIR_DATA_DIR) or --database-url (DATABASE_URL). `coir serve` makes a new database"
    )]
    NoDatabase(String),
    /// A database that has never been one of Coir.
    #[error(
        "{0} has no tables of Coir, and this command makes none; name the server's data with --data-dir (COIR_DATA_DIR) or --database-url (DATABASE_URL). `coir serve` or `coir migrate` makes the tables"
    )]
    NoTables(String),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    #[error("the database cannot be read: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("the change log cannot be read: {0}")]
    Log(#[from] LogError),
    #[error(
        "{0} is in use: another program listens there, perhaps another Coir; stop it, or choose another port, such as --listen {next} (COIR_LISTEN)",
        next = next_port(.0)
    )]
    AddressInUse(SocketAddr),
    #[error(
        "cannot listen on {0}: {1}; choose an address of this machine and a port from 1024 on, such as --listen 127.0.0.1:8080 (COIR_LISTEN)"
    )]
    Listen(SocketAddr, io::Error),
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    #[error("cannot prepare the hashing of passwords: {0}")]
    Passwords(PasswordError),
    #[error("the HTTP server cannot start: {0}")]
    Http(io::Error),
}

impl StartError {
    /// Returns why the database is away, if time may mend that.
    pub(super) fn temporary_reason(&self) -> Option<String> {
        match self {
            Self::Connect(err) => err.temporary_reason(),
            // It went away again after it was found.
            Self::Migrate(MigrateError::Failed(err))
            | Self::Store(err)
            | Self::Setup(SetupError::Store(err))
                if err.may_pass() =>
            {
                Some(err.to_string())
            }
            Self::Log(err) if err.may_pass => Some(err.to_string()),
            _ => None,
        }
    }
}

/// Returns the address to propose instead of one that is in use.
fn next_port(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080))
}
