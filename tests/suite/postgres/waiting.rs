//! A start before the database is there, and a stop that refuses nobody.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::harness::{SECRET_KEY, Sql, postgres, postgres::Cluster, process, process::Process};

fn signal(id: u32, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(id.to_string()).status().unwrap().success());
}

/// Starts a server whose log can be read.
fn spawn(url: &str) -> std::process::Child {
    let mut command = process::command(&["serve"]);
    command.env("DATABASE_URL", url).env("COIR_LISTEN", "127.0.0.1:0").env("COIR_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_server_waits_for_its_database_and_says_so() {
    let cluster = Cluster::start();
    let place = cluster.url().split(['@', '/']).nth(3).unwrap().to_owned();
    cluster.stop();
    let mut server = spawn(&cluster.url());
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let waiting = format!("waiting for the database: {place}: ");
    for round in 0..2 {
        assert!(log.any(|line| line.contains(&waiting)), "round {round}");
    }
    cluster.start_again();
    assert!(log.any(|line| line.contains("serving on http://")), "it serves");
    signal(server.id(), "-TERM");
    log.for_each(drop);
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_server_that_waits_for_its_database_can_be_stopped() {
    // Nothing listens there.
    let place = format!("127.0.0.1:{}", postgres::find_free_port());
    let mut server = spawn(&format!("postgres://coir:hidden@{place}/coir"));
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let waiting = format!("waiting for the database: {place}: ");
    assert!(log.any(|line| line.contains(&waiting)));
    signal(server.id(), "-TERM");
    let rest: Vec<_> = log.collect();
    assert!(server.wait().unwrap().success(), "{rest:?}");
    assert!(!rest.concat().contains("hidden"), "{rest:?}");
}

/// A proxy accepts connections also while its server is away.
#[test]
fn a_server_waits_for_a_database_whose_proxy_closes_connections() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = proxy.local_addr().unwrap();
    // Reads the request for TLS, so that the end comes without a reset.
    let closing = move || {
        for connection in proxy.incoming() {
            let _ = connection.and_then(|mut connection| connection.read(&mut [0; 64]));
        }
    };
    std::thread::spawn(closing);
    let mut server = spawn(&format!("postgres://coir@{place}/coir"));
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
    let waiting =
        format!("waiting for the database: {place}: the connection was closed before it was answered");
    for round in 0..2 {
        assert!(log.any(|line| line.contains(&waiting)), "round {round}");
    }
    signal(server.id(), "-TERM");
    assert!(server.wait().unwrap().success());
}

/// The sessions are ended while the start reads a table, after it has found the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_goes_away_during_the_start_waits_for_it() {
    let start = || {
        let url = postgres::database_url();
        // The tables are there, so that the start has nothing to migrate.
        drop(Process::start(&url, "127.0.0.1:0"));
        url
    };
    let url = tokio::task::spawn_blocking(start).await.unwrap();
    for table in ["projects", "api_keys", "secrets", "heads"] {
        let (mut lock, mut sql) = (Sql::connect(&url).await, Sql::connect(&url).await);
        lock.execute(&format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await;
        let mut server = spawn(&url);
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        let is_waiting =
            std::thread::spawn(move || (log.any(|line| line.contains("waiting for the database: ")), log));
        while !is_waiting.is_finished() {
            let end = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND application_name = 'coir' AND wait_event_type = 'Lock'";
            sql.integers(end).await;
        }
        let (is_waiting, mut log) = is_waiting.join().unwrap();
        assert!(is_waiting, "{table}");
        lock.execute("ROLLBACK").await;
        assert!(log.any(|line| line.contains("serving on http://")), "{table}: it serves");
        signal(server.id(), "-TERM");
        log.for_each(drop);
        assert!(server.wait().unwrap().success());
    }
}

/// A person waits for the other commands.
#[test]
fn a_command_does_not_wait_for_the_database() {
    let place = format!("127.0.0.1:{}", postgres::find_free_port());
    let mut command = process::command(&["keys", "list"]);
    let output =
        command.env("DATABASE_URL", format!("postgres://coir:hidden@{place}/coir")).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&place) && said.contains("DATABASE_URL") && !said.contains("hidden"), "{said}");
}

#[test]
fn what_time_does_not_mend_is_not_waited_for() {
    let url = postgres::database_url();
    let (base, name) = url.rsplit_once('/').unwrap();
    for (why, url) in [
        ("an unknown database", format!("{base}/no_such_{name}")),
        ("an unknown role", url.replace("postgres@", "nobody_of_this_name@")),
        ("a URL that is none", format!("{base}:x/{name}")),
    ] {
        let server = spawn(&url);
        let output = server.wait_with_output().unwrap();
        assert!(!output.status.success(), "{why}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("waiting") && said.contains("DATABASE_URL"), "{why}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_to_stop_is_first_not_ready_and_serves_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("coir.db").display());
    let start = move || Process::start_with(&url, "127.0.0.1:0", &[("COIR_DRAIN_SECONDS", "3600")]);
    let server = Arc::new(std::sync::Mutex::new(tokio::task::spawn_blocking(start).await.unwrap()));
    let (url, id) = {
        let server = server.lock().unwrap();
        (server.url.clone(), server.id())
    };
    let status = async |path: &str| {
        // Each request has a connection of its own.
        let client = reqwest::Client::new();
        client.get(format!("{url}{path}")).bearer_auth(SECRET_KEY).send().await.unwrap().status()
    };
    assert_eq!(status("/health/ready").await, 200);
    signal(id, "-TERM");
    let begun = Instant::now();
    while status("/health/ready").await != 503 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server is still ready");
    }
    assert_eq!(status("/health/live").await, 200);
    assert_eq!(status("/collections").await, 200);
    // A second signal stops at once.
    let stopped = tokio::task::spawn_blocking(move || server.lock().unwrap().terminate()).await.unwrap();
    assert!(stopped, "the server ends in an orderly way");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_at_once() {
    let start = || {
        let settings = [("COIR_DRAIN_SECONDS", "3600")];
        Process::start_with(&postgres::database_url(), "127.0.0.1:0", &settings)
    };
    let mut server = tokio::task::spawn_blocking(start).await.unwrap();
    server.signal("-INT");
    let ended = tokio::task::spawn_blocking(move || server.wait(Duration::from_secs(15))).await.unwrap();
    assert!(ended.success());
}
