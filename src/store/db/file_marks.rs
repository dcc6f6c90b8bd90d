//! Recognises a file of SQLite without its write-ahead log, and a log that is not the file's.
//!
//! SQLite itself replays any log that lies beside a file, and takes a file without a log for whole. So the file has marks, in
//! the first hundred bytes, where they can be read before SQLite opens it:
//!
//! - **The journal mode.** A clean stop leaves the mode `delete`, in which all is in the file and there is no log. A start sets
//!   `wal`. Nobody else has the file open at these moments, or SQLite refuses.
//! - **`application_id` and the schema's version** get the same random number at each start. The schema's version grows by one with
//!   each change. SQLite's online backup sets it to a small number, so that such a copy, which is whole, differs from one that
//!   `cp` made of a file in use. The log has `application_id`, too, in its copies of the file's first page: one at its beginning,
//!   and one for most transactions that make the file longer.
//!
//! A companion, `coir.db-open`, is there from before the first to after the last moment at which the mode is `wal`. It has the
//! number of the file (its inode), and tells a file whose log another program has written back, which happens after a crash, from
//! a copy. SQLite deletes `coir.db-shm` before `coir.db-wal`, so a log that is missing alone was not written back.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::store::db::private_file::create_private;

/// Why a file must not be opened. The message is for the person who starts the server.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(
        "the SQLite file {0} is missing or empty, but its log {0}-wal is there, and would be lost; put the file beside its log, or \
         remove {0}-wal to begin with an empty database"
    )]
    LogAlone(String),
    #[error(
        "the log {0}-wal doesn't belong to the SQLite file {0}, and would damage it: the file is from a backup or from another \
         place; if the file is the one that you want, remove {0}-wal and {0}-shm, else put the file beside the log to which it \
         belongs"
    )]
    ForeignLog(String),
    #[error(
        "the SQLite file {0} was copied or moved without its log {0}-wal while it was in use, so that the last changes are missing \
         and it may be damaged; bring the log, too, or use a backup; `coir accept-copy` checks the file and accepts what is in it"
    )]
    NoLog(String),
    #[error("the SQLite file {0} is damaged: {1}; use a backup")]
    Damaged(String, String),
    #[error("the SQLite file {0} has a log, {0}-wal, so there is nothing to accept; start the server")]
    HasLog(String),
    #[error("`coir accept-copy` is for files of SQLite; this database is not one")]
    NoFile,
    #[error("the SQLite file {0} is in use by another process; stop it first")]
    InUse(String),
}

/// The bytes of the file that have the marks, those of a log before its first frame, and those of a frame before its page.
const HEADER: usize = 100;
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Where the first page has `application_id`.
const APPLICATION: usize = 68;
/// The random numbers of the marks, so that they differ from versions that grow from 0.
const NUMBERS: std::ops::Range<u32> = 1 << 16..1 << 30;
/// By how much the schema's version may have grown since the start.
const CHANGES: u32 = 1 << 16;
/// How often a file is looked at before it is refused, and the pause between two looks.
const LOOKS: (usize, Duration) = (3, Duration::from_millis(100));
/// How often the file is tried to be closed, and the pause between two tries.
const CLOSING: (usize, Duration) = (10, Duration::from_millis(10));
/// What the companion says to those who find it, before the number of the file.
const COMPANION: &str =
    "A process has this database open. If there is none, it ended before it could close the database.\nFile ";

/// The marks of a file.
struct Marks {
    is_closed: bool,
    schema: u32,
    application: u32,
}

/// A write-ahead log.
#[derive(PartialEq, Eq)]
enum Log {
    Missing,
    Empty,
    /// It has pages, and in the first copy of the first page this `application_id`; `None` if it has no such copy.
    Pages(Option<u32>),
}

/// The connection that keeps the log, until another one is open.
pub(super) struct Opened(#[expect(dead_code, reason = "it is kept open")] Option<SqliteConnection>);

/// Checks that a file and its log belong together.
///
/// # Errors
/// [`FileError`], or that of the file.
pub(super) async fn check(options: &SqliteConnectOptions) -> Result<Result<(), FileError>, sqlx::Error> {
    let Some(path) = path_of(options) else { return Ok(Ok(())) };
    let mut looks = 0;
    while let Err(err) = inspect(path)? {
        looks += 1;
        if looks == LOOKS.0 {
            return Ok(Err(err));
        }
        // Another process may be opening or closing the file at this moment.
        tokio::time::sleep(LOOKS.1).await;
    }
    Ok(Ok(()))
}

/// Checks that a file and its log belong together, and marks the file as open.
///
/// # Errors
/// [`FileError`], or that of the file.
pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Result<Opened, FileError>, sqlx::Error> {
    if let Err(err) = check(options).await? {
        return Ok(Err(err));
    }
    let Some(path) = path_of(options) else { return Ok(Ok(Opened(None))) };
    // SQLite gives its log the mode of the file. Where there is a file it stays as it is, and SQLite tells of any trouble.
    drop(create_private(path));
    match mark_open(options, path).await {
        Ok(connection) => Ok(Ok(Opened(connection))),
        Err(err) if is_busy(&err) => Ok(Ok(Opened(None))),
        Err(err) => Err(err),
    }
}

/// Marks the file as closed, on the last connection, unless another process has it open.
pub(super) async fn close(connection: &mut SqliteConnection, path: &Path) -> Result<(), sqlx::Error> {
    if !is_plain(path) {
        return Ok(());
    }
    // Connections of this process may still be closing.
    for _ in 0..CLOSING.0 {
        if leave_log(connection).await? {
            return Ok(remove(&companion(path, "-open"))?);
        }
        tokio::time::sleep(CLOSING.1).await;
    }
    Ok(())
}

/// Checks a file that lacks its log, and accepts what is in it.
///
/// # Errors
/// [`FileError`], or that of the file.
pub(super) async fn accept_copy(
    options: &SqliteConnectOptions,
) -> Result<Result<(), FileError>, sqlx::Error> {
    let Some(path) = path_of(options) else { return Ok(Ok(())) };
    let name = path.display().to_string();
    if matches!(read_log(&companion(path, "-wal"))?, Log::Pages(_)) {
        return Ok(Err(FileError::HasLog(name)));
    }
    let mut connection = SqliteConnection::connect_with(&options.clone().create_if_missing(false)).await?;
    let found: String = connection.fetch_one(sqlx::raw_sql("PRAGMA integrity_check(1)")).await?.try_get(0)?;
    if found != "ok" {
        connection.close().await?;
        return Ok(Err(FileError::Damaged(name, found)));
    }
    let is_closed = leave_log(&mut connection).await?;
    connection.close().await?;
    Ok(if is_closed { Ok(()) } else { Err(FileError::InUse(name)) })
}

/// The path of the file; `None` for a database in memory.
fn path_of(options: &SqliteConnectOptions) -> Option<&Path> {
    Some(options.get_filename()).filter(|path| is_plain(path))
}

fn is_plain(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().starts_with(b"file:") && path != Path::new(":memory:")
}

pub(super) fn companion(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Reads the marks of the file and of the log, and compares them.
fn inspect(path: &Path) -> io::Result<Result<(), FileError>> {
    let name = || path.display().to_string();
    // SQLite undoes what this holds, and the file may be anything until then.
    if fs::metadata(companion(path, "-journal")).is_ok_and(|journal| journal.len() > 0) {
        return Ok(Ok(()));
    }
    let log = read_log(&companion(path, "-wal"))?;
    let Some(marks) = read_marks(path)? else {
        let is_alone =
            matches!(log, Log::Pages(_)) && fs::metadata(path).map_or(true, |file| file.len() == 0);
        return Ok(if is_alone { Err(FileError::LogAlone(name())) } else { Ok(()) });
    };
    Ok(match log {
        Log::Pages(application) if !marks.admits(application) => Err(FileError::ForeignLog(name())),
        Log::Missing if marks.lacks_log() => {
            if !may_be_written_back(path)? {
                return Ok(Err(FileError::NoLog(name())));
            }
            tracing::warn!(
                "the last process that had {0} open did not close it, and its log {0}-wal is gone: another program has written it \
                 back, or somebody has deleted it and {0}-shm, and with them the last changes",
                path.display()
            );
            Ok(())
        }
        _ => Ok(()),
    })
}

/// Whether another program may have written back the log that is missing.
fn may_be_written_back(path: &Path) -> io::Result<bool> {
    if companion(path, "-shm").exists() {
        return Ok(false);
    }
    let mark = match fs::read_to_string(companion(path, "-open")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        mark => mark?,
    };
    let own = mark.trim_end().rsplit_once(' ').and_then(|(_, number)| number.parse::<u64>().ok());
    // A mark without a number may be of an earlier version, or was cut short by a power cut.
    Ok(own.is_none_or(|number| fs::metadata(path).is_ok_and(|file| file.ino() == number)))
}

impl Marks {
    /// Whether a start has set the marks, and no backup of SQLite has changed them since.
    fn are_of_a_start(&self) -> bool {
        NUMBERS.contains(&self.application) && self.schema.wrapping_sub(self.application) < CHANGES
    }

    /// Whether a log with this `application_id` can be the file's.
    fn admits(&self, application: Option<u32>) -> bool {
        // A database of an earlier version has no number.
        let is_backup = NUMBERS.contains(&self.application) && !self.are_of_a_start();
        !self.is_closed && !is_backup && application.is_none_or(|application| application == self.application)
    }

    /// Whether the file was in use when it was copied as it is.
    fn lacks_log(&self) -> bool {
        !self.is_closed && self.are_of_a_start()
    }
}

/// Returns `None` for a file that is missing, or no database.
fn read_marks(path: &Path) -> io::Result<Option<Marks>> {
    let mut bytes = [0; HEADER];
    let mut file = match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let is_whole = reads(&mut file, &mut bytes);
    // Where a process closes a file, it loses all POSIX locks on it, also those of its connections.
    std::mem::forget(file);
    if !is_whole? {
        return Ok(None);
    }
    // https://www.sqlite.org/fileformat.html#the_database_header
    Ok(bytes.starts_with(b"SQLite format 3\0").then(|| Marks {
        is_closed: bytes[18] == 1,
        schema: number(&bytes, 40),
        application: number(&bytes, APPLICATION),
    }))
}

fn read_log(path: &Path) -> io::Result<Log> {
    let mut log = match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Log::Missing),
        opened => opened?,
    };
    // https://www.sqlite.org/fileformat.html#the_write_ahead_log
    let mut header = [0; LOG_HEADER];
    if !reads(&mut log, &mut header)? {
        return Ok(Log::Empty);
    }
    let (page, salts) = (number(&header, 8), &header[16..24]);
    let mut frame = [0; FRAME_HEADER];
    // What follows the last frame with these salts is from before the log began anew.
    while reads(&mut log, &mut frame)? && frame[8..16] == *salts {
        if number(&frame, 0) == 1 {
            let mut first = [0; HEADER];
            let is_whole = reads(&mut log, &mut first)?;
            return Ok(Log::Pages(is_whole.then(|| number(&first, APPLICATION))));
        }
        log.seek_relative(i64::from(page))?;
    }
    Ok(Log::Pages(None))
}

/// Fills the bytes from a file; returns false if it has fewer.
fn reads(file: &mut File, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Sets the marks and begins a log, unless another process has the file open, and has done so.
async fn mark_open(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<Option<SqliteConnection>, sqlx::Error> {
    // Whoever has the file open keeps it open for long.
    let mut connection =
        SqliteConnection::connect_with(&options.clone().busy_timeout(Duration::ZERO)).await?;
    if !leave_log(&mut connection).await? {
        return Ok(None);
    }
    let found: i64 = connection.fetch_one(sqlx::raw_sql("PRAGMA application_id")).await?.try_get(0)?;
    if found != 0 && !u32::try_from(found).is_ok_and(|found| NUMBERS.contains(&found)) {
        // Another program has made the file.
        return Ok(None);
    }
    let number = random_number()?;
    let marks = format!(
        "BEGIN EXCLUSIVE; PRAGMA application_id = {number}; PRAGMA schema_version = {number}; COMMIT"
    );
    run(&mut connection, marks).await?;
    create(&companion(path, "-open"), &format!("{COMPANION}{}\n", fs::metadata(path)?.ino()))?;
    // Writes the first page into the log, with what it has already.
    run(&mut connection, format!("PRAGMA journal_mode = WAL; PRAGMA application_id = {number}")).await?;
    Ok(Some(connection))
}

/// Has all of the log written back, and removes it. Returns whether that was possible.
async fn leave_log(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let left = connection.fetch_one(sqlx::raw_sql("PRAGMA journal_mode = DELETE")).await;
    match left {
        Ok(row) => Ok(row.try_get::<String, _>(0)? == "delete"),
        Err(err) if is_busy(&err) => Ok(false),
        Err(err) => Err(err),
    }
}

async fn run(connection: &mut SqliteConnection, text: String) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.map(drop)
}

fn is_busy(err: &sqlx::Error) -> bool {
    // SQLITE_BUSY and SQLITE_LOCKED, with their extended codes.
    let code = err.as_database_error().and_then(|err| err.code());
    code.and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| matches!(code & 0xff, 5 | 6))
}

fn random_number() -> io::Result<u32> {
    let random = getrandom::u32().map_err(|err| io::Error::other(err.to_string()))?;
    Ok(NUMBERS.start + random % (NUMBERS.end - NUMBERS.start))
}

/// Creates a file that is still there after a power cut.
fn create(path: &Path, text: &str) -> io::Result<()> {
    remove(path)?;
    let mut file = create_private(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}
