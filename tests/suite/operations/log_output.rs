//! Whatever becomes of standard error and standard output, the server goes on.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{
    Database, SECRET_KEY, Sql, TestStream, fresh_database, on_each_database,
    process::{self, Process},
};

/// How long the server may take to go on after its database is well again.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(url: &str, log: impl Into<Stdio>) -> Process {
    let (url, log) = (url.to_owned(), log.into());
    tokio::task::spawn_blocking(move || Process::start_logged(&url, log)).await.unwrap()
}

async fn write(server: &Process) -> u16 {
    let create = reqwest::Client::new().post(format!("{}/collections/posts", server.url));
    let answer = create.bearer_auth(SECRET_KEY).json(&json!({})).send().await.unwrap();
    answer.status().as_u16()
}

/// Lets the writer and the relay fail, which both log, and checks that they go on afterwards.
async fn check_that_it_goes_on(server: &Process, database_url: &str) {
    assert_eq!(write(server).await, 201);
    let stream = reqwest::Client::new().get(format!("{}/realtime/sse/posts", server.url));
    let mut stream = TestStream::open(stream.bearer_auth(SECRET_KEY)).await;
    stream.opened().await;
    let mut sql = Sql::connect(database_url).await;
    sql.execute("ALTER TABLE heads RENAME TO lost").await;
    assert_eq!(write(server).await, 503);
    // The relay reads it four times a second, and logs its first failure.
    tokio::time::sleep(Duration::from_secs(1)).await;
    sql.execute("ALTER TABLE lost RENAME TO heads").await;
    let begun = Instant::now();
    while write(server).await != 201 {
        assert!(begun.elapsed() < PATIENCE, "the writer is gone");
    }
    let event = tokio::time::timeout(PATIENCE, stream.next_event()).await.expect("the relay is gone");
    assert_eq!(event.json()["event"], "created");
    let ready = reqwest::get(format!("{}/health/ready", server.url)).await.unwrap();
    assert_eq!(ready.status(), 200);
}

on_each_database! {
    async fn a_server_goes_on_when_nobody_holds_the_other_end_of_its_log(database) {
        let (url, _directory) = fresh_database(database).await;
        let (reader, log) = std::io::pipe().unwrap();
        let server = start(&url, log).await;
        drop(reader);
        check_that_it_goes_on(&server, &url).await;
    }

    async fn a_server_goes_on_when_the_disk_of_its_log_is_full(database) {
        let (url, _directory) = fresh_database(database).await;
        let log = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let server = start(&url, log).await;
        check_that_it_goes_on(&server, &url).await;
    }

    async fn the_server_says_at_its_start_which_collections_are_open(database) {
        let (url, _directory) = fresh_database(database).await;
        let server = start(&url, Stdio::null()).await;
        assert_eq!(write(&server).await, 201);
        tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
        let (reader, log) = std::io::pipe().unwrap();
        let server = tokio::task::spawn_blocking(move || {
            let mut command = process::command(&["serve"]);
            command.env("COIR_LOG", "info").stderr(log);
            Process::spawn(command, &url, "127.0.0.1:0")
        });
        let server = server.await.unwrap();
        let find = |line: &String| line.contains("is open") && line.contains("`posts`");
        let find = move || BufReader::new(reader).lines().map_while(Result::ok).find(find);
        let found = tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(find)).await.expect("no line says so");
        let line = found.unwrap().unwrap();
        assert!(line.contains("`default`") && line.contains("(1: `posts`)"), "{line}");
        drop(server);
    }

    async fn a_server_goes_on_when_nobody_reads_its_log(database) {
        let (url, _directory) = fresh_database(database).await;
        let (reader, log) = std::io::pipe().unwrap();
        let mut filler = log.try_clone().unwrap();
        let mut server = start(&url, log).await;
        // Fills the pipe and waits, as the server would.
        let filling = std::thread::spawn(move || filler.write_all(&vec![b'\n'; 1 << 21]));
        check_that_it_goes_on(&server, &url).await;
        // It ends in time, too.
        let begun = Instant::now();
        let server = tokio::task::spawn_blocking(move || {
            assert!(server.terminate());
            server
        });
        server.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(13), "it took {:?}", begun.elapsed());
        drop(reader);
        assert!(filling.join().unwrap().is_err(), "the pipe was not full");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_lost_are_counted_once_the_log_is_read_again() {
    let (url, _directory) = fresh_database(Database::Sqlite).await;
    let (reader, log) = std::io::pipe().unwrap();
    let server = tokio::task::spawn_blocking(move || {
        let mut command = process::command(&["serve"]);
        // Each request is many lines.
        command.env("COIR_LOG", "trace,coir=trace,actix_http=trace").stderr(log);
        Process::spawn(command, &url, "127.0.0.1:0")
    });
    let server = server.await.unwrap();
    // More lines than wait, so that some are lost.
    for _ in 0..1500 {
        assert_eq!(write(&server).await, 201);
    }
    let found = tokio::task::spawn_blocking(move || {
        let lines = BufReader::new(reader).lines().map_while(Result::ok);
        lines.into_iter().find(|line| line.contains("lines of the log are lost"))
    });
    let found = tokio::time::timeout(PATIENCE, found).await.expect("no line says so").unwrap();
    assert!(found.unwrap().contains("WARN"));
    drop(server);
}

#[test]
fn a_command_whose_output_can_not_be_written_fails_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = process::command(arguments);
        command.env("COIR_DATA_DIR", directory.path()).stderr(Stdio::piped());
        command
    };
    assert!(command(&["migrate"]).output().unwrap().status.success());
    for arguments in
        [&["migrate"][..], &["keys", "create", "secret"], &["keys", "list"], &["projects", "list"]]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        for stdout in [Stdio::from(full), Stdio::from(closed)] {
            let output = command(arguments).stdout(stdout).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
            assert!(stderr.contains("coir: standard output can't be written: "), "{arguments:?}: {stderr}");
        }
    }
    // Nobody hears why, and it is still a failure and no panic.
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = command(&["projects", "list"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
}
