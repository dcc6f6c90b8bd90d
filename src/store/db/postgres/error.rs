//! Why a session of PostgreSQL could not be opened.

use std::{fmt, sync::Arc};

use sea_orm::{DbErr, RuntimeErr};

use super::connections::ALL;

/// Why none of the servers of a `DATABASE_URL` can be used: one reason for each, in their order.
#[derive(Clone, Debug)]
pub struct OpenError(pub(super) Arc<[(Arc<str>, Reason)]>);

/// Why one server cannot be used.
#[derive(Debug)]
pub(super) enum Reason {
    /// It did not answer in time.
    Silent,
    Failed(sqlx::Error),
    Unfit(Unfit),
}

/// Why a session that was opened must not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is older than PostgreSQL 12, the first version that has all settings that Coir needs")]
    TooOld,
    #[error(
        "the encoding of the database is {0}, and documents hold any Unicode text; create a database with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    #[error(
        "it is read-only: a standby, or default_transaction_read_only is on; Coir needs the primary server, so name it, or all \
         of them as in postgres://user:password@host1,host2/database"
    )]
    ReadOnly,
    #[error(
        "a pooler stands before it that shares sessions between clients: what one client sets, another one finds; set the pooler \
         to session mode (pool_mode = session of PgBouncer), or connect directly"
    )]
    Pooled,
    #[error(
        "its setting {name} is `{found}` after Coir set `{asked}`; a pooler in transaction mode does that, so set it to session \
         mode (pool_mode = session of PgBouncer), or connect directly"
    )]
    NotInForce { name: &'static str, asked: String, found: String },
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
}

impl OpenError {
    /// Whether time may mend it, as when the server is starting. A wrong password or an unfit database is no such reason.
    pub fn is_temporary(&self) -> bool {
        self.0.iter().all(|(_, reason)| reason.is_temporary())
    }

    /// Whether one of the servers is there, and is read-only.
    pub fn is_read_only(&self) -> bool {
        self.0.iter().any(|(_, reason)| matches!(reason, Reason::Unfit(Unfit::ReadOnly)))
    }

    /// Whether one of the servers is there, and has no connection left.
    pub fn is_full(&self) -> bool {
        self.0.iter().any(|(_, reason)| reason.is_full())
    }

    /// Returns the reasons alone, without advice: `host:5432: connection refused`.
    pub fn reasons(&self) -> String {
        let reasons = self.0.iter().map(|(place, reason)| format!("{place}: {}", reason.brief()));
        reasons.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (place, reason)) in self.0.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}PostgreSQL at {place} {reason}")?;
        }
        let advice = match &*self.0 {
            [.., (_, Reason::Unfit(_))] => "",
            [.., (_, reason)] if reason.is_full() => "",
            [.., (_, Reason::Silent)] => {
                "; check that it runs there, and the host and port in DATABASE_URL (--database-url), or leave DATABASE_URL out \
                 to use a SQLite file"
            }
            _ => "; check DATABASE_URL (--database-url), or leave it out to use a SQLite file",
        };
        f.write_str(advice)
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for DbErr {
    /// Keeps the error, so that [`OpenError::find`] finds it.
    fn from(err: OpenError) -> Self {
        Self::Conn(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Configuration(Box::new(err)))))
    }
}

impl OpenError {
    /// Finds the error in one of the driver's.
    pub fn find(err: &DbErr) -> Option<&Self> {
        let DbErr::Conn(RuntimeErr::SqlxError(err)) = err else { return None };
        let sqlx::Error::Configuration(err) = &**err else { return None };
        err.downcast_ref()
    }
}

impl Reason {
    fn code(&self) -> Option<String> {
        let (Self::Failed(err) | Self::Unfit(Unfit::Failed(err))) = self else { return None };
        Some(err.as_database_error()?.code()?.into_owned())
    }

    /// Whether the server has no connection left, for everyone or for this role or database.
    fn is_full(&self) -> bool {
        self.code().is_some_and(|code| code == "53300")
    }

    fn is_temporary(&self) -> bool {
        match self {
            Self::Silent | Self::Unfit(Unfit::ReadOnly) => true,
            Self::Failed(err) | Self::Unfit(Unfit::Failed(err)) => match err {
                // Refused, unreachable, reset, or a name that is not known yet.
                sqlx::Error::Io(_) => true,
                err if is_closed_unanswered(err) => true,
                // 57P: it starts, stops or has crashed. 53: it has no connection or memory left. 08: a pooler found no server.
                sqlx::Error::Database(err) => {
                    let code = err.code().unwrap_or_default();
                    ["57P", "53", "08"].iter().any(|class| code.starts_with(class) && code != "08P01")
                }
                _ => false,
            },
            Self::Unfit(_) => false,
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Silent => "no answer".to_owned(),
            Self::Failed(err) | Self::Unfit(Unfit::Failed(err)) => describe(err),
            Self::Unfit(unfit) => unfit.to_string(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("does not answer"),
            reason if reason.is_full() => write!(
                f,
                "has no connection left: {}; a node of Coir opens up to {ALL} connections, so raise max_connections of \
                 the server, or the CONNECTION LIMIT of the role or the database",
                reason.brief()
            ),
            Self::Unfit(Unfit::Failed(_)) | Self::Failed(_) => {
                write!(f, "refused the connection: {}", self.brief())
            }
            Self::Unfit(unfit) => write!(f, "can't be used: {unfit}"),
        }
    }
}

/// Whether the connection was closed before the first answer, as by a proxy whose server is away. The driver then finds a zero
/// where the answer should be.
fn is_closed_unanswered(err: &sqlx::Error) -> bool {
    matches!(err, sqlx::Error::Protocol(text) if text.starts_with("unexpected response from SSLRequest: 0x00"))
}

/// Returns the cause without the driver's words around it.
fn describe(err: &sqlx::Error) -> String {
    match err {
        err if is_closed_unanswered(err) => "the connection was closed before it was answered".to_owned(),
        sqlx::Error::Io(err) => err.to_string(),
        sqlx::Error::Database(err) => err.message().to_owned(),
        err => err.to_string(),
    }
}
