//! Forty hostile clients that hold nothing but the publishable key, beside one honest writer and one honest subscriber.
//!
//! Each hostile client does one of the things in [`attacks`] again and again. Meanwhile every honest write must be acknowledged,
//! the subscriber must get each of them once and in order, and the process must stay small and stop in time.
//!
//! It takes the whole machine, so it is a campaign that runs alone: docs/internals/testing.md has the command.
//! `COIR_TEST_HOSTILE_SECONDS` sets how long it lasts.

mod attacks;

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use self::attacks::{Attack, Target};
use crate::harness::{SECRET_KEY, TestStream, dice::setting, postgres, process::Process};

const HOSTILE: usize = 40;
/// The time between the end of an honest write and the beginning of the next.
const PAUSE: Duration = Duration::from_millis(20);
/// Of a hundred honest writes, ninety-nine are faster than this.
const SLOWEST: Duration = Duration::from_millis(250);
/// The most memory that the process may ever have taken, in KiB.
const MEMORY: u64 = 512 * 1024;
/// The most time between SIGTERM and the end of the process.
const STOP: Duration = Duration::from_secs(10);

/// How long an honest client waits for an answer or an event.
const PATIENCE: Duration = Duration::from_secs(30);

struct Honest {
    http: Client,
    url: String,
}

impl Honest {
    fn new(url: &str) -> Self {
        let http = Client::builder().read_timeout(PATIENCE).build().unwrap();
        Self { http, url: url.to_owned() }
    }

    /// Writes documents one after the other until `end`, and returns how long each took.
    async fn write(&self, end: Instant) -> Vec<Duration> {
        let mut times = Vec::new();
        while Instant::now() < end {
            let path = format!("{}/collections/honest/{:06}", self.url, times.len());
            let begun = Instant::now();
            let answer =
                self.http.put(path).bearer_auth(SECRET_KEY).json(&json!({ "n": times.len() })).send().await;
            let answer = answer.expect("the server answers");
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
            times.push(begun.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        times
    }

    /// Opens a stream of what it writes.
    async fn subscribe(&self) -> TestStream {
        let created = self.http.post(format!("{}/collections", self.url)).bearer_auth(SECRET_KEY);
        let created = created.json(&json!({ "name": "honest" })).send().await.unwrap();
        assert_eq!(created.status(), 201);
        let request = self.http.get(format!("{}/realtime/sse/honest", self.url)).bearer_auth(SECRET_KEY);
        let mut stream = TestStream::open(request).await;
        stream.opened().await;
        stream
    }
}

/// Reads what is written, and fails if something is missing, repeated or out of order. Returns the stream once it has read as
/// many events as there were writes.
async fn read_all(mut stream: TestStream, mut writes: watch::Receiver<Option<usize>>) {
    for n in 0.. {
        let event = tokio::select! {
            event = stream.next_event() => event.json(),
            end = writes.wait_for(|count| count.is_some_and(|count| count == n)) => {
                assert!(end.is_ok(), "the writer failed");
                return;
            }
        };
        assert_eq!(event["document"]["data"], json!({ "n": n }), "{event}");
    }
}

/// Returns the most memory that a process has taken so far, in KiB.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn of_a_hundred(times: &mut [Duration], place: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * place / 100]
}

/// Writes and subscribes until `end`, on the calling thread alone: honest clients have machines of their own, and don't wait
/// until the hostile ones have taken their turn. Returns how long each write took.
fn write_and_read(url: &str, end: Instant) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let honest = Honest::new(url);
        let stream = honest.subscribe().await;
        let (count, counted) = watch::channel(None);
        let write = async {
            let times = honest.write(end).await;
            count.send_replace(Some(times.len()));
            times
        };
        tokio::join!(write, read_all(stream, counted)).0
    })
}

async fn claim(database_url: String) {
    let lasts = Duration::from_secs(setting("COIR_TEST_HOSTILE_SECONDS", 60) as u64);
    let start = move || Process::start(&database_url, "127.0.0.1:0");
    let mut server = tokio::task::spawn_blocking(start).await.unwrap();
    let end = Instant::now() + lasts;
    let honest = std::thread::spawn({
        let url = server.url.clone();
        move || write_and_read(&url, end)
    });
    let hostile: Vec<_> = (0..HOSTILE)
        .map(|number| {
            let target = Target::new(&server.url, number, end);
            tokio::spawn(async move { Attack::of(number).run(&target).await })
        })
        .collect();
    let mut times = tokio::task::spawn_blocking(|| honest.join().unwrap()).await.unwrap();

    let memory = peak_memory(server.id());
    let begun = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || (server.terminate(), begun.elapsed()));
    let (is_good, stop) = stopped.await.unwrap();
    hostile.iter().for_each(tokio::task::JoinHandle::abort);
    let (count, half, slowest) = (times.len(), of_a_hundred(&mut times, 50), of_a_hundred(&mut times, 99));
    println!(
        "{count} honest writes: half within {half:?}, 99 of 100 within {slowest:?}; {} MiB at most; stopped in {stop:?}",
        memory / 1024
    );
    assert!(is_good, "the process ended with an error");
    assert!(stop < STOP, "stopping took {stop:?}");
    assert!(memory < MEMORY, "the process took {memory} KiB");
    assert!(slowest < SLOWEST, "one of a hundred honest writes takes {slowest:?}");
}

#[ignore = "a campaign that takes the whole machine"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_neither_stop_nor_swell_the_server_on_sqlite() {
    let directory = TempDir::new().unwrap();
    claim(format!("sqlite://{}", directory.path().join("coir.db").display())).await;
}

#[ignore = "a campaign that takes the whole machine"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_neither_stop_nor_swell_the_server_on_postgres() {
    claim(tokio::task::spawn_blocking(postgres::database_url).await.unwrap()).await;
}
