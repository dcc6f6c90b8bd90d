//! The seam between a snapshot and live events. A change that commits during the snapshot is either in it or follows as
//! an event; it is never in both and never missing.
//!
//! Readers subscribe again and again with a snapshot while writers write without pause, and follow each subscription for
//! a while. The documents that a reader holds at `ready`, and at its last cursor, must equal the collection at exactly that
//! position, as the acknowledged writes define it. `COIR_TEST_SEAM_TRIALS` sets the number of trials; the default is 300.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Dice, Replica, TestApp, dice, indexes::declare, on_both_databases, replica::shown, sequence_of,
};

const DOCUMENTS: usize = 500;
const GROUPS: usize = 3;
const WRITERS: usize = 6;
const READERS: usize = 8;

/// The acknowledged writes: for each sequence, the document's id and its new content (`None` if it was deleted).
type History = Mutex<BTreeMap<i64, (String, Option<Value>)>>;

/// The documents that a reader held at one position.
struct Held {
    sequence: i64,
    group: Option<usize>,
    documents: BTreeMap<String, Value>,
}

/// Counts of the messages that a reader received.
#[derive(Default)]
struct Counts {
    events: u64,
    /// The events among them that arrived between the first page and `ready`.
    seam: u64,
}

/// Creates, updates and deletes random documents until `is_over` is set.
async fn write(app: &TestApp, mut dice: Dice, history: &History, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("{:04}", dice.under(DOCUMENTS));
        let group = dice.under(GROUPS);
        let body = json!({ "group": group, "also": group, "n": dice.under(1000) });
        let method = [Method::PUT, Method::PUT, Method::PATCH, Method::DELETE][dice.under(4)].clone();
        let request = app.request(method.clone(), &format!("/collections/posts/{id}")).json(&body);
        let answer = app.send(request).await;
        if answer.status == StatusCode::NOT_FOUND {
            continue;
        }
        assert!(answer.status.is_success(), "{answer:?}");
        let becomes = (method != Method::DELETE).then(|| shown(answer.data()).1);
        history.lock().unwrap().insert(sequence_of(answer.header("x-cursor")), (id, becomes));
    }
}

/// Subscribes with a snapshot again and again, and records the documents held each time.
async fn read(app: &TestApp, mut dice: Dice, trials: &AtomicUsize, held: &Mutex<Vec<Held>>) -> Counts {
    let (mut socket, mut counts) = (app.socket().await, Counts::default());
    while trials.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let group = Some(dice.under(GROUPS + 1)).filter(|group| *group < GROUPS);
        // `group` has an index and `also` has none, so both ways to read a snapshot are used.
        let field = ["group", "also"][dice.under(2)];
        let filters = group.map_or(json!({}), |group| json!({ field: group }));
        let mut replica = Replica::default();
        replica.take(
            &socket.subscribe_named("s", "posts", json!({ "filters": filters, "snapshot": true })).await,
        );
        let note = |replica: &Replica| {
            let sequence = replica.sequence().unwrap();
            held.lock().unwrap().push(Held { sequence, group, documents: replica.documents() });
        };
        while replica.cursor().is_none() {
            replica.take(&socket.next().await);
        }
        counts.seam += replica.counts().events;
        note(&replica);
        let until = replica.counts().events + 1 + dice.under(30) as u64;
        while replica.counts().events < until {
            replica.take(&socket.next().await);
        }
        note(&replica);
        counts.events += replica.counts().events;
        assert_eq!((replica.counts().snapshots, replica.counts().resyncs), (1, 0));
        socket.send(json!({ "type": "unsubscribe", "id": "s" })).await;
        socket.send(json!({ "type": "ping" })).await;
        while socket.next().await["type"] != "pong" {}
    }
    counts
}

/// Replays the writes and asserts that readers held exactly the documents at each position. Returns how many it compared.
fn compare(history: &BTreeMap<i64, (String, Option<Value>)>, held: &mut [Held]) -> usize {
    held.sort_by_key(|held| held.sequence);
    let (mut now, mut writes) = (BTreeMap::new(), history.iter().peekable());
    for held in held.iter() {
        while let Some((_, (id, becomes))) = writes.next_if(|(sequence, _)| **sequence <= held.sequence) {
            match becomes {
                Some(document) => now.insert(id.clone(), document.clone()),
                None => now.remove(id),
            };
        }
        let mut expected = now.clone();
        expected.retain(|_, document| held.group.is_none_or(|group| document["data"]["group"] == group));
        assert_eq!(held.documents, expected, "at {} for group {:?}", held.sequence, held.group);
    }
    held.len()
}

async fn try_seam(app: &TestApp) {
    let trials = dice::setting("COIR_TEST_SEAM_TRIALS", 300);
    let mut dice = Dice::new(dice::seed("seam"));
    app.post("/collections", json!({ "name": "posts" })).await;
    declare(app, "posts", json!([{ "fields": ["group"] }])).await;
    let (history, left, held) = (History::default(), AtomicUsize::new(trials), Mutex::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let writing =
        join_all((0..WRITERS).map(|_| write(app, dice.split(), &history, &is_over)).collect::<Vec<_>>());
    let mut dice = dice.clone();
    let readers: Vec<_> = (0..READERS).map(|_| read(app, dice.split(), &left, &held)).collect();
    let reading = async {
        let counts = join_all(readers).await;
        is_over.store(true, Ordering::Relaxed);
        counts.iter().fold((0, 0), |(events, seam), counts| (events + counts.events, seam + counts.seam))
    };
    let (_, (events, seam)) = tokio::join!(writing, reading);
    let history = history.into_inner().unwrap();
    let comparisons = compare(&history, &mut held.into_inner().unwrap());
    assert_eq!(comparisons, 2 * trials);
    eprintln!(
        "{trials} subscriptions with a snapshot while {} changes were written: {events} events, {seam} of them before \
         `ready`, {comparisons} views compared",
        history.len()
    );
}

on_both_databases! {
    async fn a_write_during_a_snapshot_is_in_it_or_comes_as_an_event(app: &TestApp) {
        try_seam(app).await;
    }
}
