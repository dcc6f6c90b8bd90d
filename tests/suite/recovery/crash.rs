//! `kill -9` while 16 clients write. Every acknowledged write must be stored afterwards. A subscriber that resumes from its
//! cursor each time must have received exactly the stored changes, in order.
//!
//! `COIR_TEST_CRASH_ROUNDS` sets how often the server is killed; the default is four times.

use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{
    SECRET_KEY, Sql, TestStream, View, data_of, list_all,
    postgres::{self, find_free_port},
    process::Process,
};

const CLIENTS: usize = 16;

/// One client and its knowledge of its own documents.
#[derive(Default)]
struct Writer {
    number: usize,
    steps: usize,
    /// Each document as the server last acknowledged it.
    known: BTreeMap<String, Value>,
    /// The write that had no answer: the id of its document if that existed before, and the data that it may have now.
    in_doubt: Option<(Option<String>, Option<Value>)>,
    acknowledged: usize,
}

impl Writer {
    /// Writes until the server is down.
    async fn write(&mut self, http: &Client, url: &str, acknowledged: &impl Fn()) {
        loop {
            self.steps += 1;
            let data = json!({ "writer": self.number, "step": self.steps });
            let oldest = self.known.keys().next().cloned();
            let newest = self.known.keys().next_back().cloned();
            let (method, id, becomes) = match (self.steps % 7, oldest, newest) {
                (0, Some(id), _) => (Method::DELETE, Some(id), None),
                (1 | 2, _, Some(id)) => {
                    let mut merged = self.known[&id]["data"].clone();
                    merged["step"] = data["step"].clone();
                    (Method::PATCH, Some(id), Some(merged))
                }
                (3, Some(id), _) => (Method::PUT, Some(id), Some(data.clone())),
                (4, ..) => (Method::PUT, Some(format!("{}-{}", self.number, self.steps)), Some(data.clone())),
                _ => (Method::POST, None, Some(data.clone())),
            };
            let path =
                id.as_ref().map_or("/collections/crash".to_owned(), |id| format!("/collections/crash/{id}"));
            let body = if method == Method::PATCH { json!({ "step": self.steps }) } else { data };
            let sent =
                http.request(method, format!("{url}{path}")).bearer_auth(SECRET_KEY).json(&body).send().await;
            let answer = match sent {
                Ok(answer) => answer.text().await,
                Err(err) => Err(err),
            };
            let Ok(answer) = answer else {
                self.in_doubt = Some((id, becomes));
                return;
            };
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["success"], true, "{path}: {answer}");
            let id = answer["data"]["id"].as_str().unwrap().to_owned();
            match becomes {
                Some(data) => {
                    assert_eq!(answer["data"]["data"], data);
                    self.known.insert(id, answer["data"].clone());
                }
                None => {
                    self.known.remove(&id);
                }
            }
            self.acknowledged += 1;
            acknowledged();
        }
    }

    /// Compares its knowledge with the documents stored after a restart, and removes its own from `there`. A write without
    /// an answer may have committed or not; the stored state decides. Returns true if it committed.
    fn check(&mut self, there: &mut BTreeMap<String, Value>) -> bool {
        let mut was_done = false;
        if let Some((id, becomes)) = self.in_doubt.take() {
            let made = || there.iter().find(|(_, document)| Some(&document["data"]) == becomes.as_ref());
            let id = id.or_else(|| made().map(|(id, _)| id.clone()));
            if let Some(id) = id {
                let (before, now) = (self.known.get(&id), there.get(&id).cloned());
                was_done = now.as_ref() != before;
                if was_done {
                    let version = before.map_or(0, |before| before["version"].as_u64().unwrap()) + 1;
                    let data = now.as_ref().map(|now| (&now["data"], now["version"].as_u64().unwrap()));
                    assert_eq!(
                        data,
                        becomes.as_ref().map(|data| (data, version)),
                        "{id} has a content that nobody wrote"
                    );
                }
                match now {
                    Some(now) => self.known.insert(id, now),
                    None => self.known.remove(&id),
                };
            }
        }
        for (id, known) in &self.known {
            assert_eq!(there.remove(id).as_ref(), Some(known), "an acknowledged write is lost");
        }
        was_done
    }
}

async fn start(database_url: &str, port: u16) -> Process {
    let (database_url, listen) = (database_url.to_owned(), format!("127.0.0.1:{port}"));
    tokio::task::spawn_blocking(move || Process::start(&database_url, &listen)).await.unwrap()
}

async fn open_stream(url: &str, last_event_id: Option<String>) -> TestStream {
    let mut request = Client::new().get(format!("{url}/realtime/sse/crash")).bearer_auth(SECRET_KEY);
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id);
    }
    TestStream::open(request).await
}

async fn claim(database_url: String) {
    let rounds = env::var("COIR_TEST_CRASH_ROUNDS").map_or(4, |rounds| rounds.parse().unwrap());
    let port = find_free_port();
    let mut server = start(&database_url, port).await;
    let url = server.url.clone();
    let http = Client::new();
    let made =
        http.post(format!("{url}/collections")).bearer_auth(SECRET_KEY).json(&json!({ "name": "crash" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let mut stream = open_stream(&url, None).await;
    stream.opened().await;

    let mut writers: Vec<_> = (0..CLIENTS).map(|number| Writer { number, ..Writer::default() }).collect();
    let (mut view, mut unanswered, mut done_anyway) = (View::default(), 0, 0);
    for round in 0..rounds {
        // The kill comes 300 to 700 writes later, at a different count each round.
        let (count, target) = (AtomicUsize::new(0), 300 + round * 137 % 400);
        let (is_time, mut time_to_kill) = tokio::sync::mpsc::channel(1);
        let acknowledged = || {
            if count.fetch_add(1, Ordering::Relaxed) + 1 == target {
                is_time.try_send(()).unwrap();
            }
        };
        let writing =
            future::join_all(writers.iter_mut().map(|writer| writer.write(&http, &url, &acknowledged)));
        let reading = async {
            while let Some(block) = stream.try_next_block().await {
                view.take(&block);
            }
        };
        let killing = async {
            time_to_kill.recv().await.unwrap();
            server.kill();
        };
        tokio::join!(writing, reading, killing);
        unanswered += writers.iter().filter(|writer| writer.in_doubt.is_some()).count();

        server = start(&database_url, port).await;
        let mut there = list_all(&http, &url, "crash").await;
        done_anyway += writers.iter_mut().filter_map(|writer| writer.check(&mut there).then_some(())).count();
        assert_eq!(there, BTreeMap::new(), "documents that nobody wrote");
        stream = open_stream(&url, stream.last_event_id).await;
    }

    let put = http.put(format!("{url}/collections/crash/last")).bearer_auth(SECRET_KEY).json(&json!({}));
    assert_eq!(put.send().await.unwrap().status(), 201);
    while !view.contains("last") {
        view.take(&stream.next_block().await);
    }
    assert_eq!(view.documents(), data_of(&list_all(&http, &url, "crash").await));
    assert_eq!(view.sequences, Sql::connect(&database_url).await.document_sequences().await);
    let acknowledged: usize = writers.iter().map(|writer| writer.acknowledged).sum();
    assert_eq!(view.sequences.len(), acknowledged + done_anyway + 1);
    eprintln!(
        "{rounds} kills: {acknowledged} writes acknowledged and none lost; {unanswered} without an answer, of which \
         {done_anyway} were done; {} events in log order, {} documents at the end",
        view.sequences.len(),
        view.len(),
    );
    drop(stream);
    assert!(tokio::task::spawn_blocking(move || server.terminate()).await.unwrap());
}

mod a_killed_server_loses_nothing_that_it_acknowledged_and_shows_all_of_it_once {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn on_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        claim(format!("sqlite://{}", directory.path().join("coir.db").display())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_postgres() {
        claim(tokio::task::spawn_blocking(postgres::database_url).await.unwrap()).await;
    }
}
