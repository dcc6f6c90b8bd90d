//! Why the database could not do what it was asked for.

use std::sync::Arc;

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::store::db::postgres::error::OpenError;

/// A failure of the database. Its cause is for the server's log, never for a caller.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Arc<Cause>);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the database failed: {0}")]
    Database(DbErr),
    #[error("the database can't be reached: {0}")]
    Open(OpenError),
    #[error("too many reads wait for a connection to the database")]
    Busy,
    #[error("the database does not answer")]
    NoAnswer,
    #[error("a read has panicked; the line before this one has the panic's message and place")]
    Panicked,
}

/// What is wrong with a database that can't do what it was asked for. The message is for clients and operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("the disk of the database is full; writes fail until there is room")]
    DiskFull,
    #[error(
        "the database is read-only; writes fail, and with PostgreSQL reads as well, until this user may write to it again, or the server is connected to the primary"
    )]
    ReadOnly,
    /// The process, or the system, has no file descriptor left. SQLite says only that it can't open a file.
    #[error("no file descriptors are left; raise the limit (LimitNOFILE= in systemd, `ulimit -n`)")]
    NoDescriptors,
    /// Others hold what is needed: the connections, or the lock for writing.
    #[error("the database is busy: others hold its connections, or its lock for writing")]
    Busy,
    /// It does not answer, or the connection broke.
    #[error("the database does not answer")]
    Away,
    /// It answers with an error that is none of these; the log has it.
    #[error("the database fails to write; the log of the server says why")]
    Failing,
}

/// The result of every function in this module.
pub type Result<T> = std::result::Result<T, StoreError>;

impl From<DbErr> for StoreError {
    fn from(err: DbErr) -> Self {
        match OpenError::find(&err) {
            Some(err) => err.clone().into(),
            None => Self(Arc::new(Cause::Database(err))),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(err: sqlx::Error) -> Self {
        of_driver(err).into()
    }
}

impl From<OpenError> for StoreError {
    fn from(err: OpenError) -> Self {
        Self(Arc::new(Cause::Open(err)))
    }
}

/// Wraps an error of the driver.
pub(in crate::store) fn of_driver(err: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(Arc::new(err)))
}

/// Whether the session is of no use any more, and the same statement may succeed on a new one.
pub(in crate::store) fn is_session_error(err: &sqlx::Error) -> bool {
    match err {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        sqlx::Error::Database(err) => {
            let code = err.code().unwrap_or_default();
            // 57P and 25P03: the server ended the session, or stops, has crashed, or is starting. 08: a pooler lost its server.
            ["57P", "25P03", "08"].iter().any(|class| code.starts_with(class))
                // The server became a standby, or was told to refuse writes. Another one has taken its place.
                || code == READ_ONLY
                // The session lacks what was prepared on it, or the table was altered since.
                || code == "26000"
                || (code == "0A000" && err.message().starts_with("cached plan"))
        }
        _ => false,
    }
}

/// PostgreSQL's read_only_sql_transaction.
const READ_ONLY: &str = "25006";

impl StoreError {
    /// Whether a unique index rejected a row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(&*self.0, Cause::Database(err) if matches!(err.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    /// Returns the name of the unique index that rejected a row, if the database tells it.
    pub fn violated_index(&self) -> Option<String> {
        let err = self.driver_error()?.as_database_error()?;
        if let Some(constraint) = err.constraint() {
            return Some(constraint.to_owned());
        }
        // SQLite names an index over expressions: UNIQUE constraint failed: index 'name'
        let (_, name) = err.message().split_once("index '")?;
        Some(name.strip_suffix('\'')?.to_owned())
    }

    /// Whether the database rejected a statement because of its content, and is not in trouble itself.
    pub fn is_statement_error(&self) -> bool {
        let Some(err) = self.driver_error().and_then(sqlx::Error::as_database_error) else { return false };
        let code = err.code().unwrap_or_default();
        if err.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            // PostgreSQL's classes of data exceptions, integrity violations and program limits.
            return ["22", "23", "54"].iter().any(|class| code.starts_with(class));
        }
        // SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH. The primary code is the low byte of an extended one.
        code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20))
    }

    /// Whether the database ended a statement because it took too long.
    pub fn is_timeout(&self) -> bool {
        let err = self.driver_error().and_then(sqlx::Error::as_database_error);
        // PostgreSQL's query_canceled, and SQLITE_INTERRUPT.
        err.and_then(|err| err.code()).is_some_and(|code| code == "57014" || code == "9")
    }

    /// Whether others hold a lock, so that a later try may succeed.
    pub fn is_lock_timeout(&self) -> bool {
        let err = self.driver_error().and_then(sqlx::Error::as_database_error);
        // PostgreSQL's lock_not_available, and SQLITE_BUSY with its extended codes.
        err.and_then(|err| err.code())
            .is_some_and(|code| code == "55P03" || code.parse::<u32>().is_ok_and(|code| code & 0xff == 5))
    }

    /// Whether the connection is of no use any more, and a new one may succeed. A timeout or a held lock is no such error.
    pub fn is_session_error(&self) -> bool {
        matches!(&*self.0, Cause::NoAnswer) || self.driver_error().is_some_and(is_session_error)
    }

    /// Whether time may mend it: the database is away, busy, or can't be connected to.
    pub fn may_pass(&self) -> bool {
        let cannot_connect = matches!(
            &*self.0,
            Cause::Open(_) | Cause::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_))
        );
        cannot_connect
            || self.is_session_error()
            || self.is_busy()
            || self.is_timeout()
            || self.is_lock_timeout()
    }

    /// Whether the database refuses what it should do, and not because of what it was asked for or of how much.
    pub fn is_outage(&self) -> bool {
        !(self.is_statement_error() || self.is_panic() || self.is_timeout() || self.is_busy())
    }

    /// Returns what is wrong with the database, as far as an operator can tell and mend it.
    pub fn trouble(&self) -> Trouble {
        let io = |err: &std::io::Error| match err.raw_os_error() {
            Some(23 | 24) => Trouble::NoDescriptors,
            Some(28) => Trouble::DiskFull,
            _ => Trouble::Away,
        };
        if let Cause::Open(err) = &*self.0 {
            return match err {
                err if err.is_read_only() => Trouble::ReadOnly,
                err if err.is_full() => Trouble::Busy,
                _ => Trouble::Away,
            };
        }
        match self.driver_error() {
            Some(sqlx::Error::Io(err)) => io(err),
            Some(sqlx::Error::Database(err)) => {
                let code = err.code().unwrap_or_default();
                if err.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                    return match &*code {
                        // disk_full, and read_only_sql_transaction.
                        "53100" => Trouble::DiskFull,
                        "25006" => Trouble::ReadOnly,
                        // lock_not_available, too_many_connections, and query_canceled: a write that takes ten seconds waits
                        // for somebody's lock.
                        "55P03" | "53300" | "57014" => Trouble::Busy,
                        code if code.starts_with("57P") => Trouble::Away,
                        _ => Trouble::Failing,
                    };
                }
                // SQLITE_BUSY, LOCKED, READONLY, FULL, CANTOPEN. The primary code is the low byte of an extended one.
                match code.parse::<u32>().map(|code| code & 0xff) {
                    Ok(5 | 6) => Trouble::Busy,
                    Ok(8) => Trouble::ReadOnly,
                    Ok(13) => Trouble::DiskFull,
                    Ok(14) => Trouble::NoDescriptors,
                    _ => Trouble::Failing,
                }
            }
            // A row has what this version can't read.
            Some(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => Trouble::Failing,
            None if matches!(
                &*self.0,
                Cause::Database(DbErr::Type(_) | DbErr::Custom(_)) | Cause::Panicked
            ) =>
            {
                Trouble::Failing
            }
            _ if self.is_busy() => Trouble::Busy,
            _ => Trouble::Away,
        }
    }

    /// Makes the error for a read that found no free connection in time, although the database is there.
    pub fn busy() -> Self {
        Self(Arc::new(Cause::Busy))
    }

    /// Makes the error for a read whose task has panicked.
    pub(in crate::store) fn panicked() -> Self {
        Self(Arc::new(Cause::Panicked))
    }

    /// Whether the read has panicked, which is a fault of the server.
    pub fn is_panic(&self) -> bool {
        matches!(&*self.0, Cause::Panicked)
    }

    /// Whether all connections were in use, so that a later try may succeed.
    pub fn is_busy(&self) -> bool {
        matches!(&*self.0, Cause::Busy)
    }

    /// Makes the error for a database that does not answer.
    pub fn no_answer() -> Self {
        Self(Arc::new(Cause::NoAnswer))
    }

    /// Makes an error with a text for the server's log.
    pub(crate) fn custom(message: impl Into<String>) -> Self {
        DbErr::Custom(message.into()).into()
    }

    fn driver_error(&self) -> Option<&sqlx::Error> {
        match &*self.0 {
            Cause::Database(
                DbErr::Exec(RuntimeErr::SqlxError(err)) | DbErr::Query(RuntimeErr::SqlxError(err)),
            ) => Some(err),
            _ => None,
        }
    }
}
