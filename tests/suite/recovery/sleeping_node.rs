//! A node that sleeps for seconds, as a virtual machine that is moved: the others go on without it, and what it knew before it
//! slept no longer counts when it wakes up.

use std::time::{Duration, Instant};

use futures_util::future;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::{SECRET_KEY, Sql, TestStream, postgres, process, process::Process};

/// How long a write of another node may take while one sleeps in the middle of a write: two seconds, and a margin for a busy
/// machine.
const LIMIT: Duration = Duration::from_secs(6);

/// Two nodes on one PostgreSQL.
struct Nodes {
    database: String,
    sleeper: Process,
    other: Process,
    http: Client,
}

impl Nodes {
    async fn start() -> Self {
        let start = || {
            let database = postgres::database_url();
            let sleeper = Process::start(&database, "127.0.0.1:0");
            let other = Process::start(&database, "127.0.0.1:0");
            (database, sleeper, other)
        };
        let (database, sleeper, other) = tokio::task::spawn_blocking(start).await.unwrap();
        Self { database, sleeper, other, http: Client::new() }
    }

    fn put(&self, node: &Process, key: &str, path: &str, data: &Value) -> RequestBuilder {
        let url = format!("{}/collections/{path}", node.url);
        self.http.request(Method::PUT, url).bearer_auth(key).json(data)
    }

    /// Runs a command beside the nodes, and returns the first line that it prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = process::command(arguments).env("DATABASE_URL", &self.database).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sleeps_in_the_middle_of_a_write_holds_up_the_others_for_two_seconds() {
    let nodes = Nodes::start().await;
    let mut sql = Sql::connect(&nodes.database).await;
    let (done, text) = (std::sync::atomic::AtomicBool::new(false), "x".repeat(20_000));
    let write = async |writer: usize| {
        let mut n = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            n += 1;
            let data = json!({ "n": n, "text": text });
            // A write that was cut off is answered 503.
            let _ = nodes.put(&nodes.sleeper, SECRET_KEY, &format!("posts/{writer}"), &data).send().await;
        }
    };
    let watch = async {
        let holds = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND state = 'idle in transaction' AND application_name LIKE 'coir%'";
        loop {
            nodes.sleeper.fall_asleep();
            if sql.integers(holds).await[0] > 0 {
                break;
            }
            nodes.sleeper.wake_up();
        }
        let begun = Instant::now();
        let answer =
            nodes.put(&nodes.other, SECRET_KEY, "posts/other", &json!({})).send().await.unwrap().status();
        let took = begun.elapsed();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        nodes.sleeper.wake_up();
        assert!(answer.is_success(), "{answer} after {took:?}");
        assert!(took < LIMIT, "the other node's write took {took:?}");
    };
    future::join(future::join_all((0..4).map(write)), watch).await;
    let again = nodes.put(&nodes.sleeper, SECRET_KEY, "posts/again", &json!({})).send().await.unwrap();
    assert_eq!(again.status(), 201, "the node goes on with a new connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_slept_obeys_no_key_that_was_revoked_meanwhile() {
    let nodes = Nodes::start().await;
    let first = nodes.put(&nodes.sleeper, SECRET_KEY, "posts/first", &json!({})).send().await.unwrap();
    assert_eq!(first.status(), 201);
    for round in 0..5 {
        let key = nodes.run(&["keys", "create", "secret"]);
        let known = nodes.put(&nodes.sleeper, &key, "posts/known", &json!({ "round": round })).send().await;
        assert!(known.unwrap().status().is_success());
        let open = nodes.http.get(format!("{}/realtime/sse/posts", nodes.sleeper.url)).bearer_auth(&key);
        let mut stream = TestStream::open(open).await;
        stream.opened().await;

        nodes.sleeper.fall_asleep();
        let writes = (0..4).map(|n| {
            let path = format!("posts/revoked-{round}-{n}");
            nodes.put(&nodes.sleeper, &key, &path, &json!({ "by": "revoked" })).send()
        });
        let meanwhile = async {
            nodes.run(&["keys", "revoke", &key]);
            for n in 0..20 {
                let data = json!({ "later": n });
                let path = format!("posts/later-{round}-{n}");
                let later = nodes.put(&nodes.other, SECRET_KEY, &path, &data).send().await.unwrap();
                assert_eq!(later.status(), 201);
            }
            nodes.sleeper.wake_up();
        };
        let (answers, ()) = future::join(future::join_all(writes), meanwhile).await;
        for answer in answers {
            assert_eq!(answer.unwrap().status(), 401, "in round {round}");
        }
        loop {
            let Some(block) = stream.try_next_block().await else { break };
            let Some(data) = &block.data else { continue };
            assert!(!data.contains("later"), "in round {round} the stream was told {data}");
        }
    }
    let mut sql = Sql::connect(&nodes.database).await;
    assert_eq!(sql.integers("SELECT COUNT(*) FROM documents WHERE id LIKE 'revoked-%'").await, [0]);
}
