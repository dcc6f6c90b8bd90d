//! The reference: a plain SQLite file on the same disk, as durable as the server, without a server and without batching.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor};

use crate::report::Tally;

/// Printed below the figures: what they mean, and what they don't.
pub const DESCRIPTION: &str = "\
transactions of one row on a plain SQLite file (WAL, synchronous=FULL), one after the other on one
connection. Each is BEGIN IMMEDIATE, an INSERT into documents, an INSERT into changes, COMMIT, prepared once and run
through sqlx in one call. This is what a program gets that writes one document at a time. It is not the most that SQLite
can do: transactions with many rows are far faster, and that is how a server with many clients can exceed it. The
reference had the machine to itself; the server shared it with this generator.";

const SCHEMA: &str = "
CREATE TABLE documents (id TEXT PRIMARY KEY, collection TEXT NOT NULL, data TEXT NOT NULL, created_at INTEGER NOT NULL);
CREATE TABLE changes (sequence INTEGER PRIMARY KEY, document_id TEXT NOT NULL, collection TEXT NOT NULL,
    data TEXT NOT NULL, created_at INTEGER NOT NULL);";
// One text, because each call of sqlx is a hop to its worker thread. Four calls are a fifth slower, which would flatter
// the server.
const TRANSACTION: &str = "
BEGIN IMMEDIATE;
INSERT INTO documents (id, collection, data, created_at) VALUES (?1, ?2, ?3, ?4);
INSERT INTO changes (document_id, collection, data, created_at) VALUES (?1, ?2, ?3, ?4);
COMMIT";
const COLLECTION: &str = "bench";

/// A new database file. Dropping it removes the file and its companions.
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            // The companions no longer exist if the connection was closed properly.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Commits one-row transactions on a new file in `dir` for `duration`.
pub async fn measure(dir: &Path, document_bytes: usize, duration: Duration) -> Result<Tally, sqlx::Error> {
    let file = TemporaryFile(dir.join(format!("coir-bench-reference-{}.db", std::process::id())));
    let mut connection = SqliteConnectOptions::new()
        .filename(&file.0)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
        .connect()
        .await?;
    connection.execute(SCHEMA).await?;

    let data = format!("{{\"pad\":\"{}\"}}", "x".repeat(document_bytes.saturating_sub(10)));
    let mut tally = Tally::default();
    let start = Instant::now();
    for number in 0_u64.. {
        let begun = Instant::now();
        if begun - start >= duration {
            break;
        }
        insert_document(&mut connection, number, &data).await?;
        tally.record(begun.elapsed(), 0);
    }
    tally.elapsed = start.elapsed();
    connection.close().await?;
    Ok(tally)
}

/// On an error the transaction may stay open; the whole measurement ends then.
async fn insert_document(
    connection: &mut SqliteConnection,
    number: u64,
    data: &str,
) -> Result<(), sqlx::Error> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    // Ascending, and as long as the text of a UUIDv7.
    let id = format!("{at:012x}-{number:023x}");
    sqlx::query(TRANSACTION).bind(id).bind(COLLECTION).bind(data).bind(at).execute(connection).await?;
    Ok(())
}
