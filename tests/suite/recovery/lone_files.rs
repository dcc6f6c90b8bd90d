//! Files of SQLite that lost their log, and logs that are not the file's: the start is refused before SQLite destroys anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::harness::{
    Dice, SECRET_KEY, Sql,
    dice::seed,
    list_all,
    process::{self, Process},
};

/// How long a server may take to say that it does not start.
const REFUSAL: Duration = Duration::from_secs(30);
/// How often a server is killed at a random moment.
const ROUNDS: usize = 12;

/// A directory with a database.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("coir.db")
    }

    fn companion(&self, ending: &str) -> PathBuf {
        self.0.path().join(format!("coir.db-{ending}"))
    }

    fn url(&self) -> String {
        url(&self.file())
    }

    async fn start(&self) -> Process {
        let url = self.url();
        tokio::task::spawn_blocking(move || Process::start(&url, "127.0.0.1:0")).await.unwrap()
    }

    /// Starts a server, which must be refused. Returns what it says.
    fn refuses(&self) -> String {
        let mut command = process::command(&["serve"]);
        command.env("DATABASE_URL", self.url()).env("COIR_LISTEN", "127.0.0.1:0");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > REFUSAL {
                child.kill().unwrap();
                panic!("the server has started: {:?}", child.wait_with_output().unwrap());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains("coir.db-wal"), "{said}");
        said
    }

    /// Runs a command on the database. Returns whether it succeeded, and what it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = process::command(arguments).env("DATABASE_URL", self.url()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// Takes the database of another place, without its log.
    fn take(&self, from: &Path) {
        fs::copy(from, self.file()).unwrap();
    }

    /// Checks that a server starts and has so many documents, and stops it.
    async fn has(&self, documents: usize) {
        let mut server = self.start().await;
        assert_eq!(list_all(&Client::new(), &server.url, "posts").await.len(), documents);
        assert!(server.terminate());
    }
}

fn url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

async fn create(server: &Process, count: usize) {
    for n in 0..count {
        let create = Client::new().post(format!("{}/collections/posts", server.url)).bearer_auth(SECRET_KEY);
        assert_eq!(create.json(&json!({ "n": n })).send().await.unwrap().status(), 201);
    }
}

/// Makes a copy with SQLite's `VACUUM INTO`.
async fn vacuum(from: &Path, into: &Path) {
    Sql::connect(&url(from)).await.execute(&format!("VACUUM INTO '{}'", into.display())).await;
}

/// Makes a copy with SQLite's online backup, through Python, as the guide does.
fn back_up(from: &Path, into: &Path) {
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))";
    let made =
        std::process::Command::new("python3").args(["-c", script]).args([from, into]).status().unwrap();
    assert!(made.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_in_use_is_refused_until_it_is_accepted() {
    let (place, copy) = (Place::new(), Place::new());
    let mut server = place.start().await;
    create(&server, 3).await;
    copy.take(&place.file());
    let said = copy.refuses();
    assert!(said.contains("coir accept-copy"), "{said}");
    let (succeeded, said) = copy.run(&["keys", "list"]);
    assert!(!succeeded && said.contains("coir accept-copy"), "{said}");
    assert!(!copy.companion("wal").exists(), "nothing was touched");
    let (succeeded, said) = copy.run(&["accept-copy"]);
    assert!(succeeded, "{said}");
    // The copy has none of the documents, whose changes are in the log.
    let mut started = copy.start().await;
    create(&started, 1).await;
    assert!(started.terminate());
    copy.has(1).await;

    // The same file put back over the original, after that was closed.
    copy.take(&place.file());
    assert!(server.terminate());
    fs::copy(copy.file(), place.file()).unwrap();
    place.refuses();
}

/// SQLite deletes its two companions together. A log that is missing alone was deleted or left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_log_was_deleted_after_a_crash_is_refused() {
    let place = Place::new();
    let mut server = place.start().await;
    create(&server, 3).await;
    server.kill();
    fs::remove_file(place.companion("wal")).unwrap();
    assert!(place.companion("open").exists() && place.companion("shm").exists());
    let said = place.refuses();
    assert!(said.contains("coir accept-copy"), "{said}");
    let (succeeded, said) = place.run(&["accept-copy"]);
    assert!(succeeded, "{said}");
    let mut started = place.start().await;
    create(&started, 1).await;
    assert!(started.terminate());
    place.has(1).await;
}

/// A backup program that leaves `-wal` and `-shm` out takes the mark along that says that the file was in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_the_mark_and_without_the_log_is_refused() {
    let (place, copy) = (Place::new(), Place::new());
    let mut server = place.start().await;
    create(&server, 3).await;
    for running in [true, false] {
        if !running {
            server.kill();
        }
        copy.take(&place.file());
        fs::copy(place.companion("open"), copy.companion("open")).unwrap();
        copy.refuses();
    }
    place.has(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_at_any_moment_starts_again() {
    let place = Place::new();
    let mut dice = Dice::new(seed("kills"));
    let mut server = place.start().await;
    create(&server, 1).await;
    for round in 0..ROUNDS {
        // At any moment of the stop, and of what follows.
        server.signal("-TERM");
        thread::sleep(Duration::from_micros(dice.under(60_000) as u64));
        server.kill();
        // At any moment of the start. A database is closed and opened by commands, too.
        for arguments in [&["serve"][..], &["keys", "list"], &["serve"]] {
            let mut command = process::command(arguments);
            command.env("DATABASE_URL", place.url()).env("COIR_LISTEN", "127.0.0.1:0");
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_micros(dice.under(400_000) as u64));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let url = place.url();
        let start = move || Process::spawn(process::command(&["serve"]), &url, "127.0.0.1:0");
        server = tokio::task::spawn_blocking(start).await.unwrap_or_else(|_| panic!("in round {round}"));
        create(&server, 1).await;
    }
    server.kill();
    place.has(1 + ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_not_accepted() {
    let (place, copy) = (Place::new(), Place::new());
    let mut server = place.start().await;
    create(&server, 300).await;
    copy.take(&place.file());
    assert!(server.terminate());
    // Pages of another moment, as a copy has that was made during a checkpoint.
    let (mut bytes, whole) = (fs::read(copy.file()).unwrap(), fs::read(place.file()).unwrap());
    bytes.truncate(12 * 4096);
    bytes.extend_from_slice(&whole[12 * 4096..]);
    fs::write(copy.file(), bytes).unwrap();
    copy.refuses();
    let (succeeded, said) = copy.run(&["accept-copy"]);
    assert!(!succeeded && said.contains("damaged"), "{said}");
    copy.refuses();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_file_is_refused() {
    let place = Place::new();
    let mut server = place.start().await;
    create(&server, 3).await;
    server.kill();
    let moved = place.0.path().join("moved");
    fs::rename(place.file(), &moved).unwrap();
    place.refuses();
    fs::write(place.file(), "").unwrap();
    place.refuses();
    assert!(fs::metadata(place.companion("wal")).unwrap().len() > 0, "the log is still there");
    fs::rename(moved, place.file()).unwrap();
    place.has(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_beside_a_restored_backup_is_refused() {
    let place = Place::new();
    let mut server = place.start().await;
    create(&server, 2).await;
    let copies = [place.0.path().join("backup"), place.0.path().join("vacuumed")];
    back_up(&place.file(), &copies[0]);
    vacuum(&place.file(), &copies[1]).await;
    create(&server, 3).await;
    server.kill();
    let log = fs::read(place.companion("wal")).unwrap();
    for copy in copies {
        fs::write(place.companion("wal"), &log).unwrap();
        place.take(&copy);
        let said = place.refuses();
        assert!(said.contains("coir.db-shm"), "{said}");
        // As the message says.
        fs::remove_file(place.companion("wal")).unwrap();
        fs::remove_file(place.companion("shm")).ok();
        place.has(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_database_is_refused() {
    let (one, other) = (Place::new(), Place::new());
    let (mut server, mut second) = (one.start().await, other.start().await);
    create(&server, 2).await;
    create(&second, 3).await;
    second.kill();
    // Beside a file that was closed, and beside one that was not.
    server.kill();
    let own = fs::read(one.companion("wal")).unwrap();
    fs::copy(other.companion("wal"), one.companion("wal")).unwrap();
    one.refuses();
    fs::write(one.companion("wal"), own).unwrap();
    one.has(2).await;
    fs::copy(other.companion("wal"), one.companion("wal")).unwrap();
    one.refuses();
    fs::remove_file(one.companion("wal")).unwrap();
    one.has(2).await;
    other.has(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_files_start() {
    let place = Place::new();
    // Killed, with its log, also as a whole directory at another place.
    for killed in 1..=2 {
        let mut server = place.start().await;
        create(&server, 1).await;
        // Commands beside the server, and connections that stay open longer, change nothing.
        assert!(place.run(&["keys", "list"]).0);
        server.kill();
        let moved = Place::new();
        for ending in ["", "-wal", "-open"] {
            let name = format!("coir.db{ending}");
            fs::copy(place.0.path().join(&name), moved.0.path().join(&name)).unwrap();
        }
        moved.has(killed).await;
        fs::remove_file(moved.companion("open")).ok();
    }
    // Another program writes the log back after a crash.
    let mut connection = SqliteConnection::connect(&place.url()).await.unwrap();
    connection.execute("SELECT COUNT(*) FROM documents").await.unwrap();
    connection.close().await.unwrap();
    assert!(!place.companion("wal").exists());
    place.has(2).await;
    assert!(!place.companion("open").exists(), "a clean stop leaves one file");
    // A command after a crash does the same, and closes the file.
    let mut server = place.start().await;
    create(&server, 1).await;
    server.kill();
    assert!(place.run(&["keys", "list"]).0);
    let moved = Place::new();
    moved.take(&place.file());
    moved.has(3).await;
    // A file of an earlier version, which closed it without marks.
    let mut old = SqliteConnection::connect(&place.url()).await.unwrap();
    old.execute(sqlx::raw_sql(
        "PRAGMA application_id = 0; PRAGMA user_version = 0; PRAGMA schema_version = 40; PRAGMA journal_mode = WAL;",
    ))
    .await
    .unwrap();
    old.close().await.unwrap();
    assert!(!place.companion("open").exists());
    place.has(3).await;
    // A backup of a database that was itself a backup.
    let mut from = place;
    for _ in 0..2 {
        let server = from.start().await;
        let to = Place::new();
        back_up(&from.file(), &to.file());
        drop(server);
        to.has(3).await;
        from = to;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_beside_a_server_and_crashes_are_never_taken_for_foreign_logs() {
    let place = Place::new();
    for round in 1..=6 {
        let mut server = place.start().await;
        // Each command writes the log back, so that the server begins it anew with other salts.
        for _ in 0..3 {
            create(&server, 1).await;
            let (succeeded, said) = place.run(&["keys", "create", "secret"]);
            assert!(succeeded, "in round {round}: {said}");
        }
        create(&server, 1).await;
        server.kill();
    }
    place.has(24).await;
}
