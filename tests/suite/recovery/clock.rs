//! Clocks that jump: that of the machine, and on PostgreSQL that of the database.
//!
//! A debug build reads by how much its clock is ahead from a file; `src/domain/clock.rs` is how. The clock of PostgreSQL is a
//! function that comes before PostgreSQL's own in the search path.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::harness::{
    Answer, Database, SECRET_KEY, Sql, TestStream, fresh_database, on_each_database,
    process::{self, Process},
};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// How long a server may take to notice something.
const NOTICE: Duration = Duration::from_secs(20);

/// Lets a function of the database's own stand for PostgreSQL's clock.
const FAKE_CLOCK: &str = "CREATE SCHEMA faked; CREATE TABLE faked.clock (ahead bigint); INSERT INTO faked.clock VALUES (0); \
    CREATE FUNCTION faked.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS \
        $$ SELECT pg_catalog.clock_timestamp() + ahead * interval '1 millisecond' FROM faked.clock $$; \
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = faked, pg_catalog, public', current_database()); END $$";

/// A database, and a machine with a clock that a test can set.
struct Machine {
    database: String,
    files: TempDir,
    clock: PathBuf,
    /// The database's clock, if it has one.
    postgres: Option<Mutex<Sql>>,
    http: Client,
    _directory: Option<TempDir>,
}

/// A server on a machine.
struct Server {
    process: Process,
    log: PathBuf,
}

impl Machine {
    /// Makes a machine; `None` if the build has no clock that can be set, as a release.
    async fn find(database: Database) -> Option<Self> {
        match cfg!(debug_assertions) {
            true => Some(Self::new(database).await),
            false => None,
        }
    }

    async fn new(database: Database) -> Self {
        let (url, directory) = fresh_database(database).await;
        let files = tempfile::tempdir().unwrap();
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => {
                Sql::connect(&url).await.execute(FAKE_CLOCK).await;
                Some(Mutex::new(Sql::connect(&url).await))
            }
        };
        let clock = files.path().join("clock");
        Self { database: url, clock, files, postgres, http: Client::new(), _directory: directory }
    }

    /// Sets the clock: so many milliseconds ahead of the right time.
    async fn set(&self, ahead: i64) {
        // In one step, so that a server never reads half of it.
        let new = self.files.path().join("new");
        fs::write(&new, ahead.to_string()).unwrap();
        fs::rename(&new, &self.clock).unwrap();
        if let Some(sql) = &self.postgres {
            sql.lock().await.execute(&format!("UPDATE faked.clock SET ahead = {ahead}")).await;
        }
    }

    async fn start(&self, settings: &[(&str, &str)]) -> Server {
        let (database, log) = (self.database.clone(), self.files.path().join("log"));
        let mut command = process::command(&["serve"]);
        command.env("TEST_CLOCK_FILE", &self.clock).envs(settings.iter().copied());
        command.stderr(fs::File::create(&log).unwrap());
        let start = move || Process::spawn(command, &database, "127.0.0.1:0");
        Server { process: tokio::task::spawn_blocking(start).await.unwrap(), log }
    }

    /// Runs a command on the machine. Returns what it prints.
    async fn run(&self, arguments: &[&str]) -> String {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", &self.database).env("TEST_CLOCK_FILE", &self.clock);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn sql(&self) -> Sql {
        Sql::connect(&self.database).await
    }

    fn request(&self, server: &Server, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", server.process.url)).bearer_auth(SECRET_KEY)
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.json().await.unwrap() }
    }

    async fn get(&self, server: &Server, path: &str) -> Answer {
        self.send(self.request(server, Method::GET, path)).await
    }

    async fn post(&self, server: &Server) -> Answer {
        self.send(self.request(server, Method::POST, "/collections/posts").json(&json!({}))).await
    }

    /// Creates a document, and returns it.
    async fn create(&self, server: &Server) -> Value {
        let answer = self.post(server).await;
        assert_eq!(answer.status, 201, "{answer:?}\n{}", server.log());
        answer.data().clone()
    }

    /// Checks that a write is refused because of the clock.
    async fn is_refused(&self, server: &Server) {
        let answer = self.post(server).await;
        assert_eq!(answer.error(), (503, "OVERLOADED"));
        tells_of_the_clock(answer.body["error"]["message"].as_str().unwrap());
    }

    /// Waits until the server is ready, or is not ready because of the clock.
    async fn becomes_ready(&self, server: &Server, expected: bool) {
        let begun = Instant::now();
        loop {
            let answer = self.get(server, "/health/ready").await;
            if (answer.status == 200) == expected {
                if let Some(message) = answer.body["error"]["message"].as_str() {
                    tells_of_the_clock(message);
                }
                return;
            }
            assert!(begun.elapsed() < NOTICE, "{answer:?}");
        }
    }
}

impl Server {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn stop(mut self) {
        let ended = tokio::task::spawn_blocking(move || self.process.terminate()).await.unwrap();
        assert!(ended);
    }
}

fn tells_of_the_clock(message: &str) {
    assert!(message.contains("clock") && message.contains("coir accept-clock"), "{message}");
}

/// By how many milliseconds a document's time is ahead of the right time.
fn ahead(document: &Value) -> i64 {
    let time = document["createdAt"].as_str().unwrap();
    let time = coir::domain::Timestamp::parse(time).unwrap().floor.0;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    time - now.as_millis() as i64
}

fn is_about(found: i64, expected: i64) {
    assert!((found - expected).abs() < MINUTE, "{found} ms ahead and not {expected}");
}

on_each_database! {
    async fn a_clock_that_jumps_stops_writes_until_it_is_set_right(database) {
        let Some(machine) = Machine::find(database).await else { return };
        let server = machine.start(&[]).await;
        machine.create(&server).await;
        for jump in [30 * DAY, -30 * DAY] {
            machine.set(jump).await;
            machine.becomes_ready(&server, false).await;
            machine.is_refused(&server).await;
            assert_eq!(machine.get(&server, "/collections/posts").await.status, 200, "reads go on");
            machine.set(0).await;
            is_about(ahead(&machine.create(&server).await), 0);
            machine.becomes_ready(&server, true).await;
        }
        let log = server.log();
        assert_eq!(log.matches("ERROR").count(), 2, "{log}");
        assert!(log.contains("coir accept-clock"), "{log}");
    }

    async fn a_jump_that_is_confirmed_counts(database) {
        let Some(machine) = Machine::find(database).await else { return };
        let server = machine.start(&[]).await;
        machine.create(&server).await;
        machine.set(30 * DAY).await;
        machine.is_refused(&server).await;
        machine.run(&["accept-clock"]).await;
        is_about(ahead(&machine.create(&server).await), 30 * DAY);
        machine.becomes_ready(&server, true).await;
    }

    async fn times_are_right_again_after_a_server_with_a_wrong_clock(database) {
        let Some(machine) = Machine::find(database).await else { return };
        machine.set(3650 * DAY).await;
        let server = machine.start(&[]).await;
        let wrong = machine.create(&server).await;
        is_about(ahead(&wrong), 3650 * DAY);
        let repeated = || {
            let request = machine.request(&server, Method::POST, "/collections/posts").json(&json!({}));
            request.header("Idempotency-Key", "once")
        };
        let once = machine.send(repeated()).await;
        server.stop().await;

        machine.set(0).await;
        let server = machine.start(&[]).await;
        machine.becomes_ready(&server, false).await;
        machine.is_refused(&server).await;
        let cursor = once.header("x-cursor").to_owned();
        let open = machine.request(&server, Method::GET, "/realtime/sse/posts");
        let mut stream = TestStream::open(open.header("Last-Event-ID", &cursor)).await;
        machine.run(&["accept-clock"]).await;
        let right = machine.create(&server).await;
        is_about(ahead(&right), 0);
        machine.becomes_ready(&server, true).await;
        assert_eq!(stream.next_event().await.json()["document"]["id"], right["id"], "no resync");
        let request = machine.request(&server, Method::POST, "/collections/posts").json(&json!({}));
        let again = machine.send(request.header("Idempotency-Key", "once")).await;
        assert_eq!(again.data()["id"], once.data()["id"], "a repetition is still known");
        // A document that has the wrong time can be deleted and made anew.
        let path = format!("/collections/posts/{}", wrong["id"].as_str().unwrap());
        assert_eq!(machine.send(machine.request(&server, Method::DELETE, &path)).await.status, 200);
        let anew = machine.send(machine.request(&server, Method::PUT, &path).json(&json!({}))).await;
        is_about(ahead(anew.data()), 0);
        drop(stream);
        server.stop().await;

        // What was written by the wrong clock grows old from the moment when the clock was confirmed.
        let mut sql = machine.sql().await;
        let corrected = sql.integers("SELECT corrected FROM heads").await[0];
        assert_eq!(corrected, 3, "the collection and two documents");
        sql.execute(&format!("UPDATE heads SET corrected_at = corrected_at - {}", 8 * DAY)).await;
        let _server = machine.start(&[]).await;
        let begun = Instant::now();
        loop {
            let floor = sql.integers("SELECT floor FROM heads").await[0];
            if floor > 0 {
                assert_eq!(floor, corrected);
                break;
            }
            assert!(begun.elapsed() < NOTICE, "nothing is pruned");
        }
        // So does the result that is kept for the idempotency key.
        let year = 366 * DAY;
        let wrong = format!("SELECT COUNT(*) FROM idempotency WHERE created_at > (SELECT head_at + {year} FROM heads)");
        while sql.integers(&wrong).await != [0] {
            assert!(begun.elapsed() < NOTICE, "a result is kept for ten years");
        }
    }

    async fn a_jump_of_minutes_is_logged_and_times_never_go_back(database) {
        let Some(machine) = Machine::find(database).await else { return };
        let server = machine.start(&[]).await;
        machine.create(&server).await;
        machine.set(5 * MINUTE).await;
        let ahead_of_time = machine.create(&server).await;
        is_about(ahead(&ahead_of_time), 5 * MINUTE);
        assert_eq!(server.log().matches("WARN").count(), 1, "{}", server.log());
        machine.set(0).await;
        let next = machine.create(&server).await;
        assert_eq!(next["createdAt"], ahead_of_time["createdAt"]);
        assert!(next["id"].as_str() > ahead_of_time["id"].as_str(), "{next} comes after {ahead_of_time}");
        assert!(server.log().matches("WARN").count() >= 2, "{}", server.log());
        machine.becomes_ready(&server, true).await;
    }

    async fn a_start_after_a_jump_prunes_nothing_by_age(database) {
        let Some(machine) = Machine::find(database).await else { return };
        let server = machine.start(&[]).await;
        for _ in 0..30 {
            machine.create(&server).await;
        }
        server.stop().await;
        machine.set(30 * DAY).await;
        let _server = machine.start(&[("COIR_LOG_RETENTION_CHANGES", "10")]).await;
        let mut sql = machine.sql().await;
        let begun = Instant::now();
        loop {
            let floor = sql.integers("SELECT floor FROM heads").await[0];
            if floor > 0 {
                // One transaction prunes by number and by age.
                assert_eq!(floor, 21);
                break;
            }
            assert!(begun.elapsed() < NOTICE, "nothing is pruned");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_first_is_the_order_of_the_log_also_of_nodes_whose_clocks_differ() {
    if !cfg!(debug_assertions) {
        return;
    }
    let mut machines = [Machine::new(Database::Postgres).await, Machine::new(Database::Postgres).await];
    machines[1].database = machines[0].database.clone();
    // The nodes differ, and their database has a clock of its own.
    for (machine, ahead) in machines.iter().zip([30_000_i64, -30_000]) {
        fs::write(&machine.clock, ahead.to_string()).unwrap();
    }
    let servers = [machines[0].start(&[]).await, machines[1].start(&[]).await];
    let nodes = [(&machines[0], &servers[0]), (&machines[1], &servers[1])];
    let mut created = Vec::new();
    for n in 0..20 {
        let (machine, server) = nodes[n % 2];
        let request = machine.request(server, Method::POST, "/collections/posts/batch");
        let documents = json!({ "documents": [{}, {}, {}] });
        assert_eq!(machine.send(request.json(&documents)).await.status, 201);
        created.push(machine.create(server).await["id"].as_str().unwrap().to_owned());
    }
    let mut sql = machines[0].sql().await;
    let in_order = "SELECT document_id FROM changes WHERE document_id IS NOT NULL ORDER BY sequence DESC";
    let expected = sql.texts(in_order).await;
    assert_eq!(expected.len(), 80);
    for order in ["", "&orderBy=-id"] {
        let list = machines[0].get(&servers[0], &format!("/collections/posts?limit=100{order}")).await;
        let found: Vec<_> =
            list.data().as_array().unwrap().iter().map(|each| each["id"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{order}");
    }
    created.sort();
    created.dedup();
    assert_eq!(created.len(), 20);
}
